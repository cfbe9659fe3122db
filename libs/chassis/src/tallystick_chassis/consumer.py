"""The consumer: events of one durable, handled once each and in source order, whatever network and processes do.

JetStream is the fast path. An event right after the cursor: handle, commit, acknowledge. Before it: a duplicate,
acknowledge. After it: a gap; wait a moment for reordering, then ask the source. Heads tell of what never arrived.
A handler that fails holds up its own sequence only: the event is tried ten times with back-off, then it becomes a dead
letter and the cursor goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import structlog
from tallystick_contracts.envelope import decode_envelope
from tallystick_contracts.errors import ContractError

from tallystick_chassis.bus import BusUnavailableError
from tallystick_chassis.catch_up import FeedUnavailableError
from tallystick_chassis.database import is_away
from tallystick_chassis.dead_letters import bury, mark_retried, received_of, reopen, retries_asked
from tallystick_chassis.heads import MalformedHeadsError, read_heads
from tallystick_chassis.ids import TenantId
from tallystick_chassis.inbox import CursorMovedError, FeedKey, Inbox, Received, read_received
from tallystick_chassis.relay import SEQUENCE_HEADER
from tallystick_chassis.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from tallystick_contracts.topology import Durable

    from tallystick_chassis.bus import Delivery
    from tallystick_chassis.catch_up import FeedClient
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.service import Handler

log = structlog.get_logger(__name__)


class RetryLaterError(Exception):
    """A handler cannot work now and it is not the event's fault; try again without counting."""


class PullSource(Protocol):
    """What the consumer needs of ``bus.Pull``."""

    async def fetch(self, limit: int, wait_s: float) -> list[Delivery]:
        """Return messages, or raise ``BusUnavailableError``."""


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """Limits of a consumer."""

    batch: int = 200
    wait_s: float = 0.5
    reorder_wait_s: float = 0.2
    head_lag_s: float = 2.0
    feed_retry_s: float = 2.0
    max_attempts: int = 10
    first_retry_s: float = 0.1
    longest_retry_s: float = 5.0
    track_as_of: bool = False  # keep ``source_cursors.as_of``; only for consumers that say how fresh they are


@dataclass(slots=True)
class _Failure:
    source_seq: int
    first_at: datetime
    attempts: int = 0
    retry_at: float = 0.0


@dataclass(slots=True)
class _Lag:
    cursor: int
    since: float


@dataclass(slots=True)
class _TenantState:
    """What this process knows of one tenant; the database knows better and is asked when in doubt."""

    cursors: dict[FeedKey, int] | None = None
    gaps: dict[FeedKey, float] = field(default_factory=dict)
    failures: dict[FeedKey, _Failure] = field(default_factory=dict)
    heads: dict[FeedKey, tuple[int, datetime]] = field(default_factory=dict)
    lags: dict[FeedKey, _Lag] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one of this process's tasks at a time


class EventConsumer:
    """Handles the events of ``durable``; one task per process calls ``step`` again and again."""

    def __init__(
        self,
        *,
        durable: Durable,
        handlers: Mapping[str, Handler],
        database: Database,
        duty: DutyDatabase,
        pull: PullSource,
        feeds: FeedClient,
        settings: ConsumerSettings | None = None,
    ) -> None:
        """Connect the parts; nothing is read yet."""
        self._durable = durable
        self._handlers = handlers
        self._database = database
        self._duty = duty
        self._pull = pull
        self._feeds = feeds
        self._settings = settings or ConsumerSettings()
        self._inbox = Inbox(database=database, consumer=durable.name, handlers=handlers)
        self._tenants: defaultdict[TenantId, _TenantState] = defaultdict(_TenantState)
        self._feed_retry_at: dict[str, float] = {}
        self._log = log.bind(consumer=durable.name)

    async def step(self) -> bool:
        """Take one batch from the durable and see to its effects; wait a moment when there is none.

        Raises:
            BusUnavailableError: if NATS is away. What is not acknowledged comes again.

        """
        deliveries = await self._pull.fetch(self._settings.batch, self._settings.wait_s)
        by_tenant: defaultdict[TenantId, list[tuple[Delivery, Received]]] = defaultdict(list)
        for delivery in deliveries:
            received = self._read(delivery)
            if received is None:
                await delivery.term()
            else:
                by_tenant[received.tenant].append((delivery, received))
        for tenant, arrived in by_tenant.items():
            async with self._tenants[tenant].turn:
                await self._take(tenant, arrived)
        return True

    async def hear(self, subject: str, payload: bytes) -> None:
        """Note a source's announced heads (subject ``head.<service>``); ``follow_heads`` acts on them."""
        source = subject.removeprefix("head.")
        try:
            at, heads = read_heads(payload)
        except MalformedHeadsError:
            self._log.warning("heads_malformed", source=source)
            return
        for head in heads:
            if self._durable.matches(source, head.aggregate):
                key = FeedKey(source, head.aggregate)
                self._tenants[TenantId(head.tenant)].heads[key] = (head.last_seq, at)

    async def follow_heads(self) -> bool:
        """Compare the cursors with the announced heads: note what is up to date, fetch what stands still behind."""
        for tenant, state in list(self._tenants.items()):
            if state.heads:
                async with state.turn:
                    await self._follow(tenant, state)
        return False

    async def retry_dead_letters(self) -> bool:
        """Handle the dead letters that an operator wants retried, once each."""
        for letter in await retries_asked(self._duty, self._durable.name):
            tenant = TenantId(letter.tenant)
            scope = Scope.for_duty(tenant, self._database.service)
            try:
                async with self._database.transaction(scope) as tx:
                    await self._inbox.retry(tx, received_of(letter, decode_envelope(letter.body).type))
                    await mark_retried(tx, letter)
            except Exception as error:
                if is_passing(error):
                    raise
                self._log.exception("dead_letter_retry_failed", event_id=str(letter.event_id), exc_info=False)
                async with self._database.transaction(scope) as tx:
                    await reopen(tx, letter, error=type(error).__name__)
        return False

    def _read(self, delivery: Delivery) -> Received | None:
        """Return what was delivered; nothing, and an ERROR log, if it is no event: the feed has the true one."""
        parts = delivery.subject.split(".")
        try:
            _, tenant, source, aggregate, _ = parts  # any other number of parts is a ValueError
            seq = int(delivery.headers.get(SEQUENCE_HEADER, ""))
            return read_received(TenantId(UUID(tenant)), FeedKey(source, aggregate), seq, delivery.payload)
        except (ValueError, ContractError) as error:
            self._log.error("event_malformed", route=".".join(parts[2:]), error=type(error).__name__)
            return None

    async def _follow(self, tenant: TenantId, state: _TenantState) -> None:
        heads, state.heads = state.heads, {}
        cursors = await self._cursors(tenant)
        if any(cursors.get(key, 0) < seq for key, (seq, _) in heads.items()):
            cursors = await self._cursors(tenant, again=True)  # another replica may have gone on
        reached: defaultdict[datetime, dict[FeedKey, int]] = defaultdict(dict)
        now = time.monotonic()
        for key, (seq, at) in heads.items():
            cursor = cursors.get(key, 0)
            if cursor >= seq:
                state.lags.pop(key, None)
                reached[at][key] = seq
                continue
            lag = state.lags.get(key)
            if lag is None or lag.cursor != cursor:
                state.lags[key] = _Lag(cursor, now)
            elif now - lag.since >= self._settings.head_lag_s:
                self._log.info("head_lag", source=key.source, aggregate=key.aggregate, last=cursor, head=seq)
                await self._catch_up(tenant, key)
        if self._settings.track_as_of:
            for at, keys in reached.items():
                await self._inbox.confirm(tenant, keys, at)

    async def _take(self, tenant: TenantId, arrived: Sequence[tuple[Delivery, Received]]) -> None:
        try:
            await self._handle(tenant, [received for _, received in arrived])
            for key in {received.key for _, received in arrived}:
                await self._close_gap(tenant, key, [one for _, one in arrived if one.key == key])
            cursors = await self._cursors(tenant)
        except Exception as error:
            if not is_passing(error):
                raise
            self._log.warning("effects_postponed", error=type(error).__name__)
            self._tenants[tenant].cursors = None
            for delivery, _ in arrived:
                await delivery.nak(1.0)
            await asyncio.sleep(self._settings.wait_s)
            return
        for delivery, received in arrived:
            if received.source_seq <= cursors.get(received.key, 0):
                await delivery.ack()
            else:
                await delivery.nak(self._delay_s(tenant, received.key))

    def _delay_s(self, tenant: TenantId, key: FeedKey) -> float:
        failure = self._tenants[tenant].failures.get(key)
        if failure is not None:
            return max(failure.retry_at - time.monotonic(), 0.05)
        if self._feed_retry_at.get(key.source, 0.0) > time.monotonic():
            return self._settings.feed_retry_s
        return self._settings.reorder_wait_s

    async def _close_gap(self, tenant: TenantId, key: FeedKey, arrived: Sequence[Received]) -> None:
        """See whether what arrived lies beyond a gap; give reordering a moment, then fetch what is missing."""
        state = self._tenants[tenant]
        cursor = (await self._cursors(tenant)).get(key, 0)
        if self._is_blocked(tenant, key) or all(one.source_seq <= cursor for one in arrived):
            state.gaps.pop(key, None)
            return
        now = time.monotonic()
        since = state.gaps.setdefault(key, now)
        if now - since >= self._settings.reorder_wait_s * 0.9:
            state.gaps.pop(key)
            self._log.info("feed_gap", source=key.source, aggregate=key.aggregate, last=cursor)
            await self._catch_up(tenant, key)

    async def _catch_up(self, tenant: TenantId, key: FeedKey) -> None:
        """Handle what the source's feed has after our cursor, until its end or an event that fails."""
        if self._feed_retry_at.get(key.source, 0.0) > time.monotonic():
            return
        cursor = (await self._cursors(tenant, again=True)).get(key, 0)
        while not self._is_blocked(tenant, key):
            try:
                page = await self._feeds.read(tenant, key.source, key.aggregate, cursor)
                events = [read_received(tenant, key, one.source_seq, one.body.encode()) for one in page.events]
            except FeedUnavailableError:
                self._log.warning("feed_unavailable", source=key.source, aggregate=key.aggregate)
                self._feed_retry_at[key.source] = time.monotonic() + self._settings.feed_retry_s
                return
            except ContractError as error:
                self._log.error(
                    "feed_malformed", source=key.source, aggregate=key.aggregate, error=type(error).__name__
                )
                self._feed_retry_at[key.source] = time.monotonic() + self._settings.feed_retry_s
                return
            if not events:
                return
            await self._handle(tenant, events)
            before, cursor = cursor, (await self._cursors(tenant)).get(key, 0)
            if cursor == before:
                return

    async def _handle(self, tenant: TenantId, arrived: Iterable[Received]) -> None:
        """Handle all that can be handled now, in one transaction; one by one where that fails."""
        moved = 0
        arrived = list(arrived)
        while ready := self._ready(tenant, arrived, await self._cursors(tenant)):
            try:
                await self._apply(tenant, ready)
            except CursorMovedError:
                moved += 1
                if moved > self._settings.max_attempts:
                    raise
                await self._cursors(tenant, again=True)
            except Exception as error:
                self._tenants[tenant].cursors = None
                if is_passing(error):
                    raise
                if len(ready) == 1:
                    await self._count_failure(ready[0], error)
                else:
                    await self._handle_singly(tenant, ready)

    async def _handle_singly(self, tenant: TenantId, ready: Sequence[Received]) -> None:
        for one in ready:
            cursors = await self._cursors(tenant)
            if self._ready(tenant, [one], cursors) != [one]:
                continue
            try:
                await self._apply(tenant, [one])
            except CursorMovedError:
                await self._cursors(tenant, again=True)
            except Exception as error:
                self._tenants[tenant].cursors = None
                if is_passing(error):
                    raise
                await self._count_failure(one, error)

    async def _apply(self, tenant: TenantId, ready: Sequence[Received]) -> None:
        state = self._tenants[tenant]
        cursors = await self._cursors(tenant)
        await self._inbox.apply(tenant, ready, cursors)
        for one in ready:
            cursors[one.key] = one.source_seq
            state.failures.pop(one.key, None)

    async def _count_failure(self, one: Received, error: Exception) -> None:
        settings, failures = self._settings, self._tenants[one.tenant].failures
        failure = failures.get(one.key)
        if failure is None or failure.source_seq != one.source_seq:
            failure = failures[one.key] = _Failure(one.source_seq, self._database.clock())
        failure.attempts += 1
        failure.retry_at = time.monotonic() + min(
            settings.first_retry_s * 2 ** (failure.attempts - 1), settings.longest_retry_s
        )
        # The exception's text stays out: it may quote the event.
        told = {"event_id": str(one.event_id), "event_type": one.type, "error": type(error).__name__}
        if failure.attempts < settings.max_attempts:
            self._log.warning("event_failed", attempts=failure.attempts, **told)
            return
        scope = Scope.for_duty(one.tenant, self._database.service)
        async with self._database.transaction(scope) as tx:
            await bury(
                tx,
                one,
                consumer=self._durable.name,
                error=type(error).__name__,
                attempts=failure.attempts,
                first_at=failure.first_at,
            )
            await self._inbox.pass_over(tx, one)
        failures.pop(one.key)
        self._log.error("event_dead", attempts=failure.attempts, **told)

    def _is_blocked(self, tenant: TenantId, key: FeedKey) -> bool:
        """Say whether an event of the sequence has failed and its next try is still to come."""
        failure = self._tenants[tenant].failures.get(key)
        return failure is not None and failure.retry_at > time.monotonic()

    def _ready(self, tenant: TenantId, arrived: Sequence[Received], cursors: Mapping[FeedKey, int]) -> list[Received]:
        """Return what follows the cursors without a gap: in source order, and across sequences in order of arrival."""
        waiting: defaultdict[FeedKey, dict[int, Received]] = defaultdict(dict)
        for one in arrived:
            waiting[one.key][one.source_seq] = one
        reached = dict(cursors)
        ready: list[Received] = []
        for slot in arrived:
            after = reached.get(slot.key, 0) + 1
            if after in waiting[slot.key] and not self._is_blocked(tenant, slot.key):
                ready.append(waiting[slot.key][after])
                reached[slot.key] = after
        return ready

    async def _cursors(self, tenant: TenantId, *, again: bool = False) -> dict[FeedKey, int]:
        state = self._tenants[tenant]
        if state.cursors is None or again:
            state.cursors = await self._inbox.cursors(tenant)
        return state.cursors


def is_passing(error: Exception) -> bool:
    """Say whether the failure is the surroundings' (database, network, another writer) and not the event's."""
    return isinstance(error, (OSError, RetryLaterError, CursorMovedError, BusUnavailableError)) or is_away(error)
