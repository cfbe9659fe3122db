"""One transaction in one scope: statements, and the event store.

Events are appended to streams with optimistic concurrency; their canonical bytes are stored once and published as they
are. Each stored event has its outbox row in the same transaction, so no effect commits without its record.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry.trace import SpanKind
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError
from tallystick_contracts.envelope import Event, decode_event, encode_event
from tallystick_contracts.registry import REGISTRY

from tallystick_chassis.ids import EventId, OrgUnitId, PersonRef, new_id
from tallystick_chassis.spans import current_traceparent, span, working_for
from tallystick_chassis.tables import events as events_table
from tallystick_chassis.tables import outbox as outbox_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import CursorResult, Executable
    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_contracts.message import EventData

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.scope import Scope

_UNIQUE_VIOLATION = "23505"
_SET_UNITS = text("select set_config('app.org_units', :units, true)")
_ALL_UNITS = "*"


class ConcurrencyError(Exception):
    """Another transaction has appended to the stream since it was read; load it again and decide anew."""


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event to append. ``id`` is made here so that a sealed box can name it before the event is stored.

    ``org_unit`` is where the row belongs (the root unit unless said); ``subject`` the person whom the event is about.
    """

    data: EventData
    id: UUID = field(default_factory=new_id)
    subject: PersonRef | None = None
    org_unit: OrgUnitId | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it stands in the store: ``body`` is its canonical bytes."""

    id: EventId
    stream: str
    stream_version: int
    type: str
    aggregate: str
    body: bytes


class Transaction:
    """An open transaction. It never commits by itself: leaving ``database.transaction`` does."""

    def __init__(self, *, scope: Scope, connection: AsyncConnection, service: str, clock: Clock) -> None:
        self.scope = scope
        self.connection = connection
        self.service = service
        self.clock = clock

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> CursorResult[Any]:
        """Run one statement (or one for each parameter set) in this transaction's scope."""
        return await self.connection.execute(statement, parameters)

    @asynccontextmanager
    async def whole_tenant(self) -> AsyncIterator[None]:
        """Reach the tenant's rows of every unit inside the block, then those of the scope again.

        For a rule over the whole tenant whose answer is yes or no; what is read must not get into an answer. An error
        of the database inside spends the transaction, so the scope never stays wide.
        """
        await self.connection.execute(_SET_UNITS, {"units": _ALL_UNITS})
        yield
        await self.connection.execute(_SET_UNITS, {"units": self.scope.units_setting})

    async def append(self, stream: str, expected_version: int, drafts: Sequence[EventDraft]) -> list[StoredEvent]:
        """Append events to ``stream``, each with its outbox row.

        ``expected_version`` is the version that the stream has now; 0: the stream is new.

        Raises:
            ConcurrencyError: if the stream has another version by now, or has not come to this one (as far as the
                scope reaches). The transaction is spent.
            ContractError: if an event breaks its contract (an unsealed personal value, a float, too many bytes).
        """
        if current_traceparent() is None and self.scope.traceparent is None:
            # A job's doing: its trace begins here, so that whoever handles the event has something to follow.
            with working_for(self.scope.correlation), span("create", kind=SpanKind.PRODUCER):
                return await self._append(stream, expected_version, drafts)
        return await self._append(stream, expected_version, drafts)

    async def _append(self, stream: str, expected_version: int, drafts: Sequence[EventDraft]) -> list[StoredEvent]:
        now = self.clock()
        stored = [
            self._encode(stream, version, draft, now)
            for version, draft in enumerate(drafts, start=expected_version + 1)
        ]
        scope = self.scope
        rows = [
            {
                "tenant_id": scope.tenant,
                "stream": stream,
                "stream_version": one.stream_version,
                "event_id": one.id,
                "type": one.type,
                "aggregate": one.aggregate,
                "org_unit_id": draft.org_unit or scope.root_unit,
                "idempotency_key": scope.idempotency_key,
                "correlation": scope.correlation,
                "client_correlation": scope.client_correlation,
                "body": one.body,
                "stored_at": now,
            }
            for one, draft in zip(stored, drafts, strict=True)
        ]
        if not rows:
            return stored
        if expected_version and not await self._has(stream, expected_version):
            msg = f"stream {stream} has no version {expected_version}"
            raise ConcurrencyError(msg)
        try:
            await self.connection.execute(insert(events_table), rows)
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) == _UNIQUE_VIOLATION:
                msg = f"stream {stream} is past version {expected_version}"
                raise ConcurrencyError(msg) from error
            raise
        await self.connection.execute(
            insert(outbox_table),
            [{"tenant_id": scope.tenant, "event_id": one.id, "aggregate": one.aggregate} for one in stored],
        )
        return stored

    async def _has(self, stream: str, version: int) -> bool:
        # Events are never deleted, so what is seen here is still there when the insert runs.
        found = await self.connection.execute(
            select(events_table.c.stream_version).where(
                events_table.c.tenant_id == self.scope.tenant,
                events_table.c.stream == stream,
                events_table.c.stream_version == version,
            )
        )
        return found.first() is not None

    def _encode(self, stream: str, version: int, draft: EventDraft, now: datetime) -> StoredEvent:
        kind = REGISTRY.by_struct(type(draft.data))
        scope = self.scope
        private: dict[str, Any] = {}
        if not kind.public:
            private = {
                "causation": scope.causation,
                "correlation": scope.correlation,
                "org_unit": draft.org_unit or scope.root_unit,
                "subject": draft.subject,
                "trace": current_traceparent() or scope.traceparent,
            }
        body = encode_event(
            draft.data,
            actor=self.service if kind.public else scope.actor,
            id=draft.id,
            source=self.service,
            stream=stream,
            stream_version=version,
            time=draft.time or now,
            **private,
        )
        return StoredEvent(EventId(draft.id), stream, version, kind.type, kind.aggregate, body)

    async def load(self, stream: str, *, after: int = 0) -> list[Event]:
        """Return the stream's events after version ``after``, oldest first, each upcast to its newest version."""
        rows = await self.connection.execute(
            select(events_table.c.body)
            .where(
                events_table.c.tenant_id == self.scope.tenant,
                events_table.c.stream == stream,
                events_table.c.stream_version > after,
            )
            .order_by(events_table.c.stream_version)
        )
        return [decode_event(bytes(body)) for body in rows.scalars()]
