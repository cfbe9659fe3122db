"""The inbox: an event that arrives any number of times, in any order, has one effect, in source order.

``apply`` is one transaction: first the inbox rows, then the cursors (compare and set), then the effects. A cursor is
the last ``source_seq`` that a consumer has handled of one aggregate of one source; it only goes on by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Uuid, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from tallystick_contracts.envelope import decode_envelope, decode_event
from tallystick_contracts.errors import MalformedEventError

from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import inbox, source_cursors
from tallystick_chassis.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement

    from tallystick_chassis.database import Database
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.service import Handler

_TYPE_PARTS = 3  # service.aggregate.verb


class FeedKey(NamedTuple):
    """One gapless sequence of a tenant."""

    source: str
    aggregate: str


@dataclass(frozen=True, slots=True)
class Received:
    """An event as it arrived, not yet decoded. ``event_id`` is the envelope's, ``type`` unknown types included."""

    tenant: TenantId
    key: FeedKey
    source_seq: int
    event_id: UUID
    type: str
    body: bytes


class CursorMovedError(Exception):
    """Another process has gone on with the same cursor; read the cursors again."""


def read_received(tenant: TenantId, key: FeedKey, source_seq: int, body: bytes) -> Received:
    """Return the event that arrived for ``key`` under ``source_seq``.

    Raises:
        ContractError: if the bytes are no event, or one of another source or aggregate than it arrived for.

    """
    envelope = decode_envelope(body)
    parts = envelope.type.split(".")
    if envelope.source != key.source or len(parts) != _TYPE_PARTS or parts[1] != key.aggregate:
        msg = "an event of another source or aggregate than its subject says"
        raise MalformedEventError(msg)
    return Received(tenant, key, source_seq, envelope.id, envelope.type, body)


class Inbox:
    """One consumer's inbox and cursors."""

    def __init__(self, *, database: Database, consumer: str, handlers: Mapping[str, Handler]) -> None:
        """``consumer`` is the durable's name; ``handlers`` are by event type."""
        self._database = database
        self._consumer = consumer
        self._handlers = handlers

    async def cursors(self, tenant: TenantId) -> dict[FeedKey, int]:
        """Return the tenant's cursors; a sequence that is not there stands at 0."""
        async with self._database.transaction(Scope.for_duty(tenant, self._database.service)) as tx:
            rows = await tx.execute(
                select(source_cursors.c.source, source_cursors.c.aggregate, source_cursors.c.last_seq).where(
                    source_cursors.c.tenant_id == tenant, source_cursors.c.consumer == self._consumer
                )
            )
            return {FeedKey(row.source, row.aggregate): row.last_seq for row in rows}

    async def apply(self, tenant: TenantId, batch: Sequence[Received], cursors: Mapping[FeedKey, int]) -> None:
        """Handle ``batch`` in one transaction: of each sequence the events right after its cursor, without a gap.

        Raises:
            CursorMovedError: if ``cursors`` is out of date; nothing happened.
            Exception: whatever a handler raised; nothing happened.

        """
        if not batch:
            return
        async with self._database.transaction(Scope.for_duty(tenant, self._database.service)) as tx:
            fresh = await self._enter(tx, [one.event_id for one in batch])
            await self._advance(tx, batch, cursors)
            for one in batch:
                if one.event_id in fresh and one.type in self._handlers:
                    await self.handle(tx, one)

    async def pass_over(self, tx: Transaction, one: Received) -> None:
        """Move the cursor past ``one`` without an effect (it became a dead letter in this transaction).

        Raises:
            CursorMovedError: if another process was first.

        """
        await self._advance(tx, [one], {one.key: one.source_seq - 1})

    async def retry(self, tx: Transaction, one: Received) -> None:
        """Handle a dead letter after all, once."""
        if one.event_id in await self._enter(tx, [one.event_id]):
            await self.handle(tx, one)

    async def handle(self, tx: Transaction, one: Received) -> None:
        """Call the event's handler in its own scope: the event's correlation, and the event as causation."""
        event = decode_event(one.body, tenant=one.tenant, source_seq=one.source_seq)
        scoped = Transaction(
            scope=Scope.for_duty(
                one.tenant, self._database.service, correlation=event.correlation, causation=str(event.id)
            ),
            connection=tx.connection,
            service=tx.service,
            clock=tx.clock,
        )
        await self._handlers[one.type](scoped, event)

    async def confirm(self, tenant: TenantId, heads: Mapping[FeedKey, int], at: datetime) -> None:
        """Say that the cursors that have reached ``heads`` held all there was at ``at`` (column ``as_of``)."""
        async with self._database.transaction(Scope.for_duty(tenant, self._database.service)) as tx:
            for key, head in sorted(heads.items()):
                await tx.execute(
                    update(source_cursors)
                    .where(
                        *self._row(tenant, key),
                        source_cursors.c.last_seq >= head,
                        or_(source_cursors.c.as_of.is_(None), source_cursors.c.as_of < at),
                    )
                    .values(as_of=at)
                )

    async def _enter(self, tx: Transaction, event_ids: Sequence[UUID]) -> set[UUID]:
        # Sorted, so that two processes with the same events wait for each other in one order.
        ids = func.unnest(literal(sorted(event_ids), ARRAY(Uuid)))
        rows = select(literal(tx.scope.tenant), literal(self._consumer), ids, literal(tx.clock()))
        entered = await tx.execute(
            insert(inbox)
            .from_select(["tenant_id", "consumer", "event_id", "handled_at"], rows)
            .on_conflict_do_nothing()
            .returning(inbox.c.event_id)
        )
        return set(entered.scalars())

    async def _advance(self, tx: Transaction, batch: Sequence[Received], cursors: Mapping[FeedKey, int]) -> None:
        reached: dict[FeedKey, int] = {}
        for one in batch:
            if one.source_seq != reached.get(one.key, cursors.get(one.key, 0)) + 1:
                raise CursorMovedError
            reached[one.key] = one.source_seq
        for key, last_seq in sorted(reached.items()):
            before = cursors.get(key, 0)
            if before:
                moved = await tx.execute(
                    update(source_cursors)
                    .where(*self._row(tx.scope.tenant, key), source_cursors.c.last_seq == before)
                    .values(last_seq=last_seq)
                )
            else:
                moved = await tx.execute(
                    insert(source_cursors)
                    .values(
                        tenant_id=tx.scope.tenant,
                        consumer=self._consumer,
                        source=key.source,
                        aggregate=key.aggregate,
                        last_seq=last_seq,
                    )
                    .on_conflict_do_nothing()
                )
            if moved.rowcount != 1:
                raise CursorMovedError

    def _row(self, tenant: UUID, key: FeedKey) -> tuple[ColumnElement[bool], ...]:
        return (
            source_cursors.c.tenant_id == tenant,
            source_cursors.c.consumer == self._consumer,
            source_cursors.c.source == key.source,
            source_cursors.c.aggregate == key.aggregate,
        )
