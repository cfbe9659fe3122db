"""The writer: one transaction for each batch and log, with one writer at a time for each log.

Whatever happens between two statements, the transaction either stands with its checkpoint or has not been. What it
knows of the feeds is what is recorded, so nothing has to be remembered outside the database.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog
from opentelemetry.trace import SpanKind
from tallystick_chassis.catch_up import FeedUnavailableError
from tallystick_chassis.metric_catalogue import LEDGER_RECORDED
from tallystick_chassis.metrics import count
from tallystick_chassis.spans import batch_span
from tallystick_contracts.registry import REGISTRY

from tallystick_ledger.errors import RefusedEventError
from tallystick_ledger.writing import store
from tallystick_ledger.writing.appender import Appender
from tallystick_ledger.writing.arrival import read_event
from tallystick_ledger.writing.connection import raw_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from tallystick_chassis.catch_up import FeedClient
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.ids import TenantId
    from tallystick_contracts.message import LogKind

    from tallystick_ledger.high_water.guard import HighWaterGuard
    from tallystick_ledger.keys.signing import CheckpointKeys
    from tallystick_ledger.logs.domain import LogId
    from tallystick_ledger.writing.arrival import Arrival, Feed
    from tallystick_ledger.writing.plan import Plan
    from tallystick_ledger.writing.receipts import Committed

MAX_BATCH: Final = 1_000
"""Entries in one transaction, and so in one receipt: that stays well below the broker's 1 MB a message."""

_ATTEMPTS: Final = 3
_LOOK_S: Final = 0.02
_LOOKS_WITHOUT_PROGRESS: Final = 10

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What became of the arrivals: batches to give receipts for, arrivals in conflict, arrivals behind a gap."""

    committed: list[Committed] = field(default_factory=list)
    conflicts: list[Arrival] = field(default_factory=list)
    held: list[Arrival] = field(default_factory=list)


class LedgerWriter:
    """Records the events of any tenant, as the service's duty role."""

    def __init__(
        self,
        *,
        duty: DutyDatabase,
        feeds: FeedClient,
        prefix: str,
        keys: CheckpointKeys,
        clock: Clock,
        high_water: HighWaterGuard,
    ) -> None:
        self._duty = duty
        self._feeds = feeds
        self._keys = keys
        self._clock = clock
        self._appender = Appender(duty=duty, prefix=prefix, keys=keys, clock=clock, high_water=high_water)

    async def record(
        self, tenant: TenantId, kind: LogKind, arrivals: Sequence[Arrival], *, patience_s: float = 0.0
    ) -> Outcome:
        """Record arrivals of one tenant and one kind of log; ask their sources for what is missing before them.

        ``patience_s`` is how long to wait for it before asking: another replica may have it in hand.

        Raises:
            LogBusyError: another process holds the log. What was recorded before is; the rest is not.
            LogFrozenError: the log does not continue what was signed. Nothing is recorded, and no receipt may be given.
        """
        outcome = Outcome()
        waits, stalled = False, 0
        reached: dict[Feed, int] = {}
        waiting = list(arrivals)
        while waiting:
            batch, later = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
            done = await self._record_batch(tenant, kind, batch, outcome)
            if done.gaps and patience_s:
                await asyncio.sleep(patience_s)
                patience_s, waits = 0.0, True
                waiting = [*done.held, *later]
                continue
            gaps = {feed: last for feed, last in done.gaps.items() if last > reached.get(feed, -1)}
            reached |= gaps
            missing = await self._ask_sources(tenant, gaps)
            asked = {arrival.feed for arrival in missing}
            behind = [arrival for arrival in done.held if arrival.feed not in asked]
            stalled = 0 if done.fresh else stalled + 1
            if behind and waits and stalled < _LOOKS_WITHOUT_PROGRESS:
                # The broker deals a feed's messages out to the replicas in turn, so each waits for the others' commits.
                await asyncio.sleep(_LOOK_S)
                waiting = [*missing, *done.held, *later]
                continue
            outcome.held += behind
            waiting = [*missing, *(arrival for arrival in done.held if arrival.feed in asked), *later]
        return outcome

    async def catch_up(self, tenant: TenantId, kind: LogKind, feeds: Collection[Feed]) -> Outcome:
        """Record what the sources of ``feeds`` have beyond what is recorded; a source that is away is left for later.

        Raises:
            LogBusyError: another process holds the log.
        """
        outcome = Outcome()
        heads = await self._appender.heads(tenant, kind, feeds)
        while heads and (missing := await self._ask_sources(tenant, heads)):
            done = await self.record(tenant, kind, missing)
            outcome.committed += done.committed
            outcome.conflicts += done.conflicts
            last = {arrival.feed: arrival.source_seq for arrival in missing}
            heads = {feed: seq for feed, seq in last.items() if seq > heads[feed]}
        return outcome

    async def quarantine(
        self, tenant: TenantId, error: RefusedEventError, *, subject: str, source_seq: int | None, body: bytes
    ) -> None:
        """Keep an event that cannot be recorded, and raise the alarm when it comes for the first time."""
        async with raw_transaction(self._duty) as connection:
            seen = await store.quarantine(
                connection,
                tenant,
                reason=error.reason.value,
                detail=error.detail,
                subject=subject,
                source_seq=source_seq,
                body=body,
                now=self._clock(),
            )
        if seen == 1:
            log.error("ledger_event_quarantined", tenant=str(tenant), reason=error.reason.value)

    async def _record_batch(
        self, tenant: TenantId, kind: LogKind, arrivals: Sequence[Arrival], outcome: Outcome
    ) -> Plan:
        taken: frozenset[UUID] | None = None
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with _recording(kind, arrivals):
                    done, committed = await self._appender.append(tenant, kind, arrivals, taken)
                break
            except asyncpg.UniqueViolationError as error:
                # An event id under a second number. Looking for ids first would cost every batch an index scan each.
                if error.constraint_name != "entries_event_once" or attempt == _ATTEMPTS:
                    raise
                async with raw_transaction(self._duty) as connection:
                    taken = await store.find_ids(connection, tenant, kind, [one.event.id for one in arrivals])
        for event_type, number in Counter(one.event.type for one in done.fresh).items():
            count(LEDGER_RECORDED, number, {"tallystick.event.type": event_type})
        outcome.committed += committed
        outcome.conflicts += done.conflicts
        if done.known:
            await self._recognise(tenant, kind, done.known, outcome)
        return done

    async def _recognise(self, tenant: TenantId, kind: LogKind, known: Sequence[Arrival], outcome: Outcome) -> None:
        """Tell what was recorded before from what only bears its number."""
        async with raw_transaction(self._duty) as connection:
            recorded = await store.find_recorded(connection, tenant, kind, known)
            positions: dict[LogId, list[int]] = {}
            for arrival in known:
                place = recorded.get((arrival.feed, arrival.source_seq))
                if place is None:
                    continue  # its log was dropped after its retention
                log_id, seq, body = place
                if body == arrival.body:
                    positions.setdefault(log_id, []).append(seq)
                else:
                    outcome.conflicts.append(arrival)
            sources = {arrival.feed.source for arrival in known}
            for log_id, found in positions.items():
                for committed in await store.find_committed(connection, tenant, log_id, sorted(found)):
                    note, keys = await self._keys.sign_again(connection, committed.note)
                    outcome.committed.append(replace(committed.only_for(sources), note=note, keys=keys))

    async def _ask_sources(self, tenant: TenantId, gaps: Mapping[Feed, int]) -> list[Arrival]:
        missing: list[Arrival] = []
        for feed, last in gaps.items():
            try:
                page = await self._feeds.read(tenant, feed.source, feed.aggregate, last)
            except FeedUnavailableError:
                log.warning("ledger_source_unavailable", source=feed.source, aggregate=feed.aggregate)
                continue
            found = [(one.source_seq, one.body.encode()) for one in page.events]
            missing += [arrival for arrival in await self._read_all(tenant, found) if arrival.feed == feed]
        return missing

    async def _read_all(self, tenant: TenantId, numbered: Iterable[tuple[int, bytes]]) -> list[Arrival]:
        arrivals = []
        for source_seq, body in numbered:
            try:
                arrivals.append(read_event(tenant, source_seq, body))
            except RefusedEventError as error:
                await self.quarantine(tenant, error, subject="", source_seq=source_seq, body=body)
        return arrivals


def _recording(kind: LogKind, arrivals: Sequence[Arrival]) -> AbstractContextManager[None]:
    def causes() -> Iterable[tuple[str | None, str | None]]:
        return ((arrival.event.trace, arrival.event.correlation) for arrival in arrivals)

    about: dict[str, str | int] = {
        "messaging.system": "nats",
        "messaging.operation.name": "record",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": len(arrivals),
        "tallystick.log.kind": kind.value,
    }
    return batch_span("record", kind=SpanKind.CONSUMER, causes=causes, attributes=about)


def count_from_nothing() -> None:
    """Let the counter of every event type begin at 0: the first of a rare one is then an increase, and not a gap."""
    for event_type in {kind.type for kind in REGISTRY}:
        count(LEDGER_RECORDED, 0, {"tallystick.event.type": event_type})
