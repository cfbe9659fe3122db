"""The relay: from the outbox to JetStream, with a number for every event that never changes.

One relay at a time serves a tenant (a row lock that others skip). It numbers what has *committed*, so a transaction
that commits late gets a later number and none is lost; it commits the numbers; only then it publishes, in source order
and within a time limit, so that a frozen NATS does not hold the lock. What the ledger has not confirmed is published
again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy import and_, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from tallystick_contracts.envelope import decode_envelope
from tallystick_contracts.topology import EVENT_STREAM, cloud_event_type, event_subject

from tallystick_chassis.bus import MAX_BATCH, BusMessage, BusUnavailableError
from tallystick_chassis.metric_catalogue import SENT
from tallystick_chassis.metrics import count
from tallystick_chassis.spans import batch_span
from tallystick_chassis.tables import events, feed, feed_heads, feed_locks, outbox

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase

SEQUENCE_HEADER: Final = "ce-sequence"
_MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
_MAX_DOUBLINGS: Final = 5  # unconfirmed rows: after 30 s, 1 min, … 16 min
_LOCK_IDLE_LIMIT_MS: Final = "20000"

log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """What the relay needs of the bus."""

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:
        """Store the messages in order, all or none, or raise ``BusUnavailableError``."""


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """Limits of the relay."""

    publish_timeout_s: float = 5.0
    republish_after_s: float = 30.0
    batch: int = MAX_BATCH


@dataclass(frozen=True, slots=True)
class _Due:
    event_id: UUID
    source_seq: int
    body: bytes


class Relay:
    """Numbers and publishes one service's events, as its duty role."""

    def __init__(
        self, *, duty: DutyDatabase, bus: Publisher, service: str, clock: Clock, settings: RelaySettings | None = None
    ) -> None:
        """Connect the parts; nothing is read or sent yet."""
        self._duty = duty
        self._bus = bus
        self._service = service
        self._clock = clock
        self._settings = settings or RelaySettings()
        self._failing_since: float | None = None

    @property
    def failing_for_s(self) -> float | None:
        """For how long nothing could be published; ``None`` if the last try succeeded."""
        return None if self._failing_since is None else time.monotonic() - self._failing_since

    async def step(self) -> bool:
        """Send one batch for each tenant that has events waiting: number, then publish. Say whether there may be more.

        Raises:
            BusUnavailableError: if NATS did not confirm in time. Everything numbered stays so; the next step sends it.

        """
        tenants = await self._waiting()
        more = False
        # Numbers first, for all: they let consumers catch up over HTTP also while NATS is away.
        for tenant in tenants:
            more |= await self.number(tenant) >= self._settings.batch
        for tenant in tenants:
            more |= await self.publish(tenant) >= self._settings.batch
        return more

    async def number(self, tenant: UUID) -> int:
        """Number the tenant's committed events that have no number; return how many (0 also where another relay is)."""
        async with self._duty.duty() as connection:
            if not await _lock(connection, tenant):
                return 0
            fresh = (
                select(
                    outbox.c.tenant_id,
                    outbox.c.aggregate,
                    (
                        func.coalesce(feed_heads.c.last_seq, 0)
                        + func.row_number().over(partition_by=outbox.c.aggregate, order_by=outbox.c.position)
                    ).label("source_seq"),
                    outbox.c.event_id,
                )
                .select_from(
                    outbox.outerjoin(
                        feed, and_(feed.c.tenant_id == outbox.c.tenant_id, feed.c.event_id == outbox.c.event_id)
                    ).outerjoin(
                        feed_heads,
                        and_(
                            feed_heads.c.tenant_id == outbox.c.tenant_id, feed_heads.c.aggregate == outbox.c.aggregate
                        ),
                    )
                )
                .where(outbox.c.tenant_id == tenant, outbox.c.published_at.is_(None), feed.c.event_id.is_(None))
                .order_by(outbox.c.position)
                .limit(self._settings.batch)
            )
            numbered = (
                await connection.execute(
                    insert(feed)
                    .from_select(["tenant_id", "aggregate", "source_seq", "event_id"], fresh)
                    .returning(feed.c.aggregate, feed.c.source_seq)
                )
            ).all()
            if not numbered:
                return 0
            last: dict[str, int] = {}
            for aggregate, source_seq in numbered:
                last[aggregate] = max(source_seq, last.get(aggregate, 0))
            raised = insert(feed_heads).values(
                [{"tenant_id": tenant, "aggregate": aggregate, "last_seq": seq} for aggregate, seq in last.items()]
            )
            await connection.execute(
                raised.on_conflict_do_update(
                    index_elements=["tenant_id", "aggregate"], set_={"last_seq": raised.excluded.last_seq}
                )
            )
            return len(numbered)

    async def publish(self, tenant: UUID) -> int:
        """Publish one batch of the tenant's numbered events in source order and mark them; return how many.

        Raises:
            BusUnavailableError: if NATS did not confirm in time; nothing is marked.

        """
        async with self._duty.duty() as connection:
            if not await _lock(connection, tenant):
                return 0
            due = await self._due(connection, tenant)
            if not due:
                return 0
            try:
                await self._send([self._message(tenant, one) for one in due])
            except BusUnavailableError as error:
                self._failing_since = self._failing_since or time.monotonic()
                count(SENT, len(due), {"messaging.system": "nats", "error.type": type(error).__name__})
                raise
            self._failing_since = None
            count(SENT, len(due), {"messaging.system": "nats"})
            await connection.execute(
                update(outbox)
                .where(outbox.c.tenant_id == tenant, outbox.c.event_id.in_([one.event_id for one in due]))
                .values(published_at=self._clock(), attempts=outbox.c.attempts + 1)
            )
            return len(due)

    async def _send(self, messages: Sequence[BusMessage]) -> None:
        def causes() -> Iterable[tuple[str | None, str | None]]:
            return ((one.headers.get("traceparent"), one.headers.get("ce-correlationid")) for one in messages)

        about: dict[str, str | int] = {
            "messaging.system": "nats",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": EVENT_STREAM,
            "messaging.batch.message_count": len(messages),
        }
        with batch_span(f"publish {EVENT_STREAM}", kind=SpanKind.PRODUCER, causes=causes, attributes=about):
            await self._bus.publish_batch(messages, timeout_s=self._settings.publish_timeout_s)

    async def _waiting(self) -> list[UUID]:
        async with self._duty.glance() as connection:
            rows = await connection.execute(select(outbox.c.tenant_id).where(self._is_due()).distinct())
            return list(rows.scalars())

    async def _due(self, connection: AsyncConnection, tenant: UUID) -> list[_Due]:
        # In source order within an aggregate; across aggregates as they were written, as far as that agrees.
        written = func.max(outbox.c.position).over(partition_by=feed.c.aggregate, order_by=feed.c.source_seq)
        rows = await connection.execute(
            select(outbox.c.event_id, feed.c.source_seq, events.c.body)
            .select_from(
                outbox.join(
                    feed, and_(feed.c.tenant_id == outbox.c.tenant_id, feed.c.event_id == outbox.c.event_id)
                ).join(events, and_(events.c.tenant_id == outbox.c.tenant_id, events.c.event_id == outbox.c.event_id))
            )
            .where(outbox.c.tenant_id == tenant, self._is_due())
            .order_by(written, feed.c.source_seq)
            .limit(self._settings.batch)
        )
        due: list[_Due] = []
        size_bytes = 0
        for event_id, source_seq, body in rows:
            size_bytes += len(body)
            if due and size_bytes > _MAX_BATCH_BYTES:
                break
            due.append(_Due(event_id, source_seq, bytes(body)))
        return due

    def _is_due(self) -> Any:  # noqa: ANN401 - SQLAlchemy's boolean clause
        now = self._clock()
        wait = timedelta(seconds=self._settings.republish_after_s)
        oldest_first = now - wait
        # Each time that the ledger stays silent the wait doubles, so that its long absence does not fill the stream.
        doublings = func.power(2, func.greatest(0, func.least(outbox.c.attempts - 1, _MAX_DOUBLINGS)))
        waited_s = func.extract("epoch", literal(now) - outbox.c.published_at)
        return or_(
            outbox.c.published_at.is_(None),
            and_(outbox.c.published_at <= oldest_first, waited_s >= self._settings.republish_after_s * doublings),
            outbox.c.published_at > now + wait,  # the clock has been set back: that moment may be days away
        )

    def _message(self, tenant: UUID, one: _Due) -> BusMessage:
        envelope = decode_envelope(one.body)
        _, aggregate, verb = envelope.type.split(".")
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(envelope.id),
            "ce-source": f"/{self._service}",
            "ce-type": cloud_event_type(envelope.type, envelope.v),
            "ce-time": envelope.time,
            "ce-datacontenttype": "application/json",
            "ce-partitionkey": str(tenant),
            SEQUENCE_HEADER: str(one.source_seq),
            "source-seq": str(one.source_seq),
        }
        if envelope.correlation:
            headers["ce-correlationid"] = envelope.correlation
        if envelope.causation:
            headers["ce-causationid"] = envelope.causation
        if envelope.trace:
            headers["traceparent"] = envelope.trace
        return BusMessage(event_subject(tenant, self._service, aggregate, verb), one.body, headers)


async def _lock(connection: AsyncConnection, tenant: UUID) -> bool:
    """Take the tenant's feed for this transaction; say no if another relay has it."""
    # A relay that freezes with the lock in hand loses its transaction instead of stopping the tenant.
    limit = func.set_config("idle_in_transaction_session_timeout", _LOCK_IDLE_LIMIT_MS, literal(value=True))
    wanted = (
        select(feed_locks.c.tenant_id, limit).where(feed_locks.c.tenant_id == tenant).with_for_update(skip_locked=True)
    )
    if (await connection.execute(wanted)).first() is not None:
        return True
    made = await connection.execute(
        insert(feed_locks).values(tenant_id=tenant).on_conflict_do_nothing().returning(feed_locks.c.tenant_id)
    )
    return made.first() is not None
