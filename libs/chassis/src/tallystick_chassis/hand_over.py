"""Handing events to the ledger over HTTP, while NATS has been away for long.

The relay goes on trying. Until it succeeds, the numbered events go to the ledger's own API, in source order, and come
back as receipts, which are verified like any other. A row that JetStream has not taken stays in the outbox: the other
consumers get their events when NATS is back, and the ledger then drops what it has.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Protocol, TypeVar

import msgspec
import structlog
from msgspec import Meta
from sqlalchemy import and_, func, or_, select
from tallystick_contracts.topology import ServiceName
from tallystick_tlog.errors import ReceiptError

from tallystick_chassis.http.service_client import ServiceCallError
from tallystick_chassis.ids import TenantId
from tallystick_chassis.metric_catalogue import RECEIPTS_REFUSED
from tallystick_chassis.metrics import count
from tallystick_chassis.tables import events, feed, outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement, Table

    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.receipts import ReceiptReader
    from tallystick_chassis.relay import Relay

HAND_OVER_PATH: Final = "/api/v1/ledger/hand-over"
MAX_EVENTS: Final = 500
"""Events in one request."""
_MAX_TEXT_BYTES: Final = 900_000  # as JSON texts in a JSON body, which may have 1 MiB
_MAX_SOURCE_SEQ: Final = 10**15 - 1  # as in the header of the NATS path
_STUCK_S: Final = 30.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class HandedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One numbered event; ``body`` is the event's JSON text, verbatim."""

    source_seq: Annotated[int, Meta(ge=1, le=_MAX_SOURCE_SEQ)]
    body: str


class HandedOver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events of one tenant, of the service that calls and no other."""

    events: Annotated[tuple[HandedEvent, ...], Meta(min_length=1, max_length=MAX_EVENTS)]


class HandOverAnswer(msgspec.Struct, frozen=True):
    """What became of them: receipts, and the last number that the ledger now has of each aggregate named.

    A number below what was handed over means that the ledger lacks what follows it, or refused it.
    """

    receipts: tuple[msgspec.Raw, ...]
    heads: dict[str, int]


class Caller(Protocol):
    """What is needed of the HTTP client (``ServiceClient`` has it)."""

    async def call(
        self,
        method: str,
        service: str,
        path: str,
        *,
        answer: type[T],
        body: msgspec.Struct | None = None,
        tenant: UUID | None = None,
        repeatable: bool = False,
    ) -> T:
        """Call a service, or raise ``ServiceCallError``."""


@dataclass(frozen=True, slots=True)
class _Row:
    aggregate: str
    source_seq: int
    body: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Numbers of one aggregate in the outbox: the first and the last that are not confirmed."""

    first: int
    last: int


class HandOver:
    """Serves one service's outbox while its relay cannot publish; ``after_s`` is how long that is borne."""

    def __init__(
        self,
        *,
        duty: DutyDatabase,
        relay: Relay,
        receipts: ReceiptReader,
        client: Caller,
        after_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect the parts; nothing is read or sent yet."""
        self._duty = duty
        self._relay = relay
        self._receipts = receipts
        self._client = client
        self._after_s = after_s
        self._monotonic = monotonic
        self._begun = False
        # By tenant and aggregate. Forgotten at the end: handing over again is answered with receipts again.
        self._reached: dict[tuple[TenantId, str], int] = {}
        self._stuck_until: dict[tuple[TenantId, str], float] = {}

    async def step(self) -> bool:
        """Hand over one batch for each tenant that has something waiting; say whether there is more."""
        silent_s = self._relay.failing_for_s
        if silent_s is None or silent_s < self._after_s:
            if self._begun:
                log.info("hand_over_ended")
                self._begun = False
                self._reached.clear()
                self._stuck_until.clear()
            return False
        if not self._begun:
            log.warning("hand_over_begun", delay_s=round(silent_s, 1))
            self._begun = True
        more = False
        for tenant in await self._unnumbered():
            more |= await self._relay.number(tenant) > 0
        for tenant, waiting in (await self._waiting()).items():
            after = self._to_send(tenant, waiting)
            if not after:
                continue
            try:
                more |= await self._send(tenant, after)
            except ServiceCallError as error:
                log.warning("hand_over_refused", tenant=str(tenant), status=error.status, code=error.code)
                return False
        return more

    def _to_send(self, tenant: TenantId, waiting: Mapping[str, _Waiting]) -> dict[str, int]:
        """Return the number after which each aggregate is to be sent."""
        after = {}
        now = self._monotonic()
        for aggregate, numbers in waiting.items():
            key = (tenant, aggregate)
            reached = self._reached.get(key, numbers.first - 1)
            if reached < numbers.last and self._stuck_until.get(key, now) <= now:
                after[aggregate] = reached
        return after

    async def _send(self, tenant: TenantId, after: Mapping[str, int]) -> bool:
        page = await self._page(tenant, after)
        if not page:
            return False
        answer = await self._client.call(
            "POST",
            ServiceName.LEDGER,
            HAND_OVER_PATH,
            answer=HandOverAnswer,
            body=HandedOver(tuple(HandedEvent(row.source_seq, row.body) for row in page)),
            tenant=tenant,
            repeatable=True,  # numbers make it so
        )
        confirmed = 0
        try:
            for receipt in answer.receipts:
                confirmed += await self._receipts.confirm(bytes(receipt), keep_unpublished=True)
        except ReceiptError as error:
            log.error("receipt_refused", reason=str(error))  # noqa: TRY400 - the trace would add nothing
            count(RECEIPTS_REFUSED)
            self._hold_back(tenant, {row.aggregate for row in page})
            return False
        moved = False
        for aggregate in {row.aggregate for row in page}:
            head = answer.heads.get(aggregate)
            if head is None or head == after[aggregate]:
                self._hold_back(tenant, {aggregate})
            else:
                # Lower than what was sent: the ledger lacks what follows, and gets it from the feed.
                self._reached[tenant, aggregate] = head
                moved = True
        log.info("handed_over", tenant=str(tenant), count=len(page), confirmed=confirmed)
        return moved

    def _hold_back(self, tenant: TenantId, aggregates: set[str]) -> None:
        for aggregate in aggregates:
            self._stuck_until[tenant, aggregate] = self._monotonic() + _STUCK_S
        log.warning("hand_over_stands_still", tenant=str(tenant), aggregates=sorted(aggregates))

    async def _unnumbered(self) -> Sequence[UUID]:
        async with self._duty.duty() as connection:
            rows = await connection.execute(
                select(outbox.c.tenant_id)
                .select_from(outbox.outerjoin(feed, _same_event(outbox)))
                .where(outbox.c.published_at.is_(None), feed.c.event_id.is_(None))
                .distinct()
            )
            return rows.scalars().all()

    async def _waiting(self) -> dict[TenantId, dict[str, _Waiting]]:
        async with self._duty.duty() as connection:
            rows = await connection.execute(
                select(feed.c.tenant_id, feed.c.aggregate, func.min(feed.c.source_seq), func.max(feed.c.source_seq))
                .select_from(outbox.join(feed, _same_event(outbox)))
                .group_by(feed.c.tenant_id, feed.c.aggregate)
            )
            found: defaultdict[TenantId, dict[str, _Waiting]] = defaultdict(dict)
            for tenant, aggregate, first, last in rows:
                found[TenantId(tenant)][aggregate] = _Waiting(first, last)
            return found

    async def _page(self, tenant: TenantId, after: Mapping[str, int]) -> list[_Row]:
        # From the feed, not the outbox: the ledger may lack what it once confirmed. In source order within an
        # aggregate; across aggregates as they were written, as far as that agrees and is still known.
        written = func.max(outbox.c.position).over(partition_by=feed.c.aggregate, order_by=feed.c.source_seq)
        wanted = or_(
            *(
                and_(
                    feed.c.aggregate == aggregate,
                    feed.c.source_seq > reached,
                    feed.c.source_seq <= reached + MAX_EVENTS,
                )
                for aggregate, reached in after.items()
            )
        )
        async with self._duty.duty() as connection:
            rows = await connection.execute(
                select(feed.c.aggregate, feed.c.source_seq, events.c.body)
                .select_from(feed.join(events, _same_event(events)).outerjoin(outbox, _same_event(outbox)))
                .where(feed.c.tenant_id == tenant, wanted)
                .order_by(written.nulls_first(), feed.c.source_seq)
                .limit(MAX_EVENTS)
            )
            page: list[_Row] = []
            size_bytes = 0
            for aggregate, source_seq, body in rows:
                text = bytes(body).decode()
                size_bytes += len(msgspec.json.encode(text))
                if page and size_bytes > _MAX_TEXT_BYTES:
                    break
                page.append(_Row(aggregate, source_seq, text))
            return page


def _same_event(table: Table) -> ColumnElement[bool]:
    return and_(feed.c.tenant_id == table.c.tenant_id, feed.c.event_id == table.c.event_id)
