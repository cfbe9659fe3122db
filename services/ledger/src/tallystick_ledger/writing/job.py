"""The writer's loop: fetch from the durable, record, acknowledge, give receipts, in this order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

import structlog
from tallystick_chassis.bus import MAX_BATCH, BusUnavailableError
from tallystick_chassis.ids import TenantId

from tallystick_ledger.errors import Refusal, RefusedEventError
from tallystick_ledger.writing.arrival import read_message, tenant_of
from tallystick_ledger.writing.receipts import Committed, receipt_messages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallystick_chassis.bus import BusMessage
    from tallystick_contracts.message import LogKind

    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter, Outcome

FETCH_WAIT_S: Final = 1.0
PLATFORM_TENANT: Final = TenantId(UUID(int=0))
"""Where a message is quarantined whose subject names no tenant."""

_RETRY_S: Final = 1.0
_RETRY_MAX_S: Final = 30.0
_TRIES_FOR_A_GAP: Final = 5
_RECEIPT_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


class Message(Protocol):
    """One delivery of the durable (``tallystick_chassis.bus.Delivery``)."""

    @property
    def subject(self) -> str: ...  # noqa: D102 - as in `bus.Delivery`
    @property
    def payload(self) -> bytes: ...  # noqa: D102 - as in `bus.Delivery`
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102 - as in `bus.Delivery`
    @property
    def delivered(self) -> int: ...  # noqa: D102 - as in `bus.Delivery`
    async def ack(self) -> None: ...  # noqa: D102 - as in `bus.Delivery`
    async def nak(self, delay_s: float) -> None: ...  # noqa: D102 - as in `bus.Delivery`


class Source(Protocol):
    """The durable ``ledger``."""

    async def fetch(self, limit: int, wait_s: float) -> Sequence[Message]:
        """Return what there is, or what comes within ``wait_s``."""


class ReceiptPublisher(Protocol):
    """Where receipts go."""

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:
        """Store all or none, or raise ``BusUnavailableError``."""


class WriterJob:
    """Takes what the sources publish into the logs."""

    def __init__(self, *, writer: LedgerWriter, source: Source, receipts: ReceiptPublisher) -> None:
        self._writer = writer
        self._source = source
        self._receipts = receipts

    async def step(self) -> bool:
        """Record one fetch; say whether there was anything."""
        messages = await self._source.fetch(MAX_BATCH, FETCH_WAIT_S)
        groups: defaultdict[tuple[TenantId, LogKind], list[tuple[Arrival, Message]]] = defaultdict(list)
        for message in messages:
            try:
                arrival = read_message(message.subject, message.headers, message.payload)
            except RefusedEventError as error:
                await self._refuse(message, error)
                continue
            groups[arrival.tenant, arrival.log_kind].append((arrival, message))
        for (tenant, kind), group in groups.items():
            await self._record(tenant, kind, group)
        return bool(messages)

    async def _record(self, tenant: TenantId, kind: LogKind, group: Sequence[tuple[Arrival, Message]]) -> None:
        try:
            outcome = await self._writer.record(tenant, kind, [arrival for arrival, _ in group])
            await self._quarantine(outcome, {id(arrival): message for arrival, message in group})
        except Exception as error:
            # The consumer loop: other tenants' logs go on, and this one is tried again.
            log.exception("ledger_batch_failed", tenant=str(tenant), kind=kind.value, error=type(error).__name__)
            for _, message in group:
                await message.nak(_backoff_s(message))
            return
        held = {id(arrival) for arrival in outcome.held}
        for arrival, message in group:
            if id(arrival) in held and message.delivered < _TRIES_FOR_A_GAP:
                await message.nak(_backoff_s(message))
            else:
                # What stays behind a gap is let go at last: without a receipt its outbox row publishes it again.
                await message.ack()
        await self._give_receipts(outcome.committed)

    async def _quarantine(self, outcome: Outcome, messages: Mapping[int, Message]) -> None:
        for arrival in outcome.conflicts:
            error = RefusedEventError(Refusal.CONFLICT, "another event has this number or this id")
            message = messages.get(id(arrival))
            await self._writer.quarantine(
                arrival.tenant,
                error,
                subject=message.subject if message else "",
                source_seq=arrival.source_seq,
                body=arrival.body,
            )

    async def _refuse(self, message: Message, error: RefusedEventError) -> None:
        tenant = tenant_of(message.subject) or PLATFORM_TENANT
        try:
            await self._writer.quarantine(tenant, error, subject=message.subject, source_seq=None, body=message.payload)
        except Exception as failure:
            # The consumer loop: the broker keeps it until it can be kept here.
            log.exception("ledger_quarantine_failed", tenant=str(tenant), error=type(failure).__name__)
            await message.nak(_backoff_s(message))
            return
        await message.ack()

    async def _give_receipts(self, committed: Sequence[Committed]) -> None:
        messages = receipt_messages(committed)
        for start in range(0, len(messages), MAX_BATCH):
            try:
                await self._receipts.publish_batch(messages[start : start + MAX_BATCH], timeout_s=_RECEIPT_TIMEOUT_S)
            except BusUnavailableError as error:
                # The sources publish again what has no receipt, and get it then.
                log.warning("ledger_receipts_not_sent", error=str(error))
                return


def _backoff_s(message: Message) -> float:
    return min(_RETRY_S * message.delivered**2, _RETRY_MAX_S)
