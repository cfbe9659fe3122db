"""Events that their source brings over HTTP while NATS is away: recorded by the same writer, answered with receipts."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
import structlog
from tallystick_chassis.catch_up import FeedPage
from tallystick_chassis.hand_over import HandOverAnswer

from tallystick_ledger.errors import Refusal, RefusedEventError
from tallystick_ledger.writing import store
from tallystick_ledger.writing.arrival import read_event
from tallystick_ledger.writing.connection import raw_transaction
from tallystick_ledger.writing.receipts import receipt_messages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.hand_over import HandedEvent
    from tallystick_chassis.ids import TenantId
    from tallystick_contracts.message import LogKind

    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter, Outcome

log = structlog.get_logger(__name__)


class AskNobody:
    """The writer's feeds where the source is asking us: it hears what is missing in the answer, and sends that."""

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:  # noqa: ARG002 - as in `FeedClient`
        """Return nothing."""
        return FeedPage(events=(), head=0)


class HandOverDesk:
    """Takes the events of one source and tenant at a time; ``writer`` asks nobody for what is missing."""

    def __init__(self, *, writer: LedgerWriter, duty: DutyDatabase) -> None:
        self._writer = writer
        self._duty = duty

    async def take(self, tenant: TenantId, source: str, handed: Sequence[HandedEvent]) -> HandOverAnswer:
        """Record what continues ``source``'s sequences; say how far they have come, and prove what is recorded.

        What breaks its contract, or is another source's, is quarantined as on the way over NATS. Whatever is handed
        over twice gets its receipt again.
        """
        groups: defaultdict[LogKind, list[Arrival]] = defaultdict(list)
        for one in handed:
            try:
                arrival = _read(tenant, source, one)
            except RefusedEventError as error:
                await self._quarantine(tenant, source, one.source_seq, one.body.encode(), error)
                continue
            groups[arrival.log_kind].append(arrival)
        receipts: list[msgspec.Raw] = []
        for kind, arrivals in groups.items():
            try:
                outcome = await self._record(tenant, source, kind, arrivals)
            except Exception as error:
                # As in the writer's loop: a log in trouble does not hold the other one back.
                log.exception("ledger_batch_failed", tenant=str(tenant), kind=kind.value, error=type(error).__name__)
                continue
            receipts += [msgspec.Raw(message.payload) for message in receipt_messages(outcome.committed)]
        aggregates = {arrival.feed.aggregate for arrivals in groups.values() for arrival in arrivals}
        async with raw_transaction(self._duty) as connection:
            heads = await store.read_heads(connection, tenant, source, aggregates)
        log.info("ledger_took_over_http", tenant=str(tenant), source=source, count=len(handed), receipts=len(receipts))
        return HandOverAnswer(receipts=tuple(receipts), heads=heads)

    async def _record(self, tenant: TenantId, source: str, kind: LogKind, arrivals: Sequence[Arrival]) -> Outcome:
        outcome = await self._writer.record(tenant, kind, arrivals)
        for arrival in outcome.conflicts:
            error = RefusedEventError(Refusal.CONFLICT, "another event has this number or this id")
            await self._quarantine(tenant, source, arrival.source_seq, arrival.body, error)
        return outcome

    async def _quarantine(
        self, tenant: TenantId, source: str, source_seq: int, body: bytes, error: RefusedEventError
    ) -> None:
        await self._writer.quarantine(tenant, error, subject=f"hand-over.{source}", source_seq=source_seq, body=body)


def _read(tenant: TenantId, source: str, one: HandedEvent) -> Arrival:
    arrival = read_event(tenant, one.source_seq, one.body.encode())
    if arrival.feed.source != source:
        raise RefusedEventError(Refusal.WRONG_SOURCE, f"{source} hands over another source's event")
    return arrival
