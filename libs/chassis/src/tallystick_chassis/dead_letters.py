"""Dead letters: events whose handler failed ten times. They wait for an operator; none is dropped silently.

States: ``open`` → ``retrying`` (asked for; the worker does it) → ``retried``, or ``open`` again;
``open`` → ``discarded``, which is an event of the tenant's compliance log, with a reason sealed to the tenant.
"""

from __future__ import annotations

import enum
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from tallystick_contracts.envelope import decode_envelope
from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.generated.ops import DeadLetterDiscarded

from tallystick_chassis.ids import TenantId, new_id
from tallystick_chassis.inbox import FeedKey, Received
from tallystick_chassis.tables import dead_letters
from tallystick_chassis.transaction import EventDraft, Transaction

if TYPE_CHECKING:
    from sqlalchemy import Select

    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.sealing import Sealer

MAX_REASON_CHARS: Final = 500
_COLUMNS = (
    dead_letters.c.tenant_id.label("tenant"),
    dead_letters.c.consumer,
    dead_letters.c.event_id,
    dead_letters.c.source,
    dead_letters.c.aggregate,
    dead_letters.c.source_seq,
    dead_letters.c.body,
    dead_letters.c.error,
    dead_letters.c.attempts,
    dead_letters.c.first_at,
    dead_letters.c.last_at,
    dead_letters.c.state,
    dead_letters.c.reason,
)


class DeadLetterState(enum.StrEnum):
    """What has become of a dead letter."""

    OPEN = "open"
    RETRYING = "retrying"
    RETRIED = "retried"
    DISCARDED = "discarded"


class DeadLetter(msgspec.Struct, frozen=True):
    """One event that one consumer could not handle. ``error`` is the exception's type: its text may be personal.

    ``reason`` is the box in the event that says it was discarded: only the privacy worker can open it.
    """

    tenant: UUID
    consumer: str
    event_id: UUID
    source: str
    aggregate: str
    source_seq: int
    body: bytes
    error: str
    attempts: int
    first_at: datetime
    last_at: datetime
    state: str
    reason: Sealed | None


class NoSuchDeadLetterError(LookupError):
    """There is no such dead letter in the state that the operation needs."""


async def bury(tx: Transaction, one: Received, *, consumer: str, error: str, attempts: int, first_at: datetime) -> None:
    """Store ``one`` as an open dead letter."""
    row = insert(dead_letters).values(
        tenant_id=one.tenant,
        consumer=consumer,
        event_id=one.event_id,
        source=one.key.source,
        aggregate=one.key.aggregate,
        source_seq=one.source_seq,
        body=one.body,
        error=error,
        attempts=attempts,
        first_at=first_at,
        last_at=tx.clock(),
        state=DeadLetterState.OPEN,
    )
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["tenant_id", "consumer", "event_id"],
            set_={"error": row.excluded.error, "attempts": row.excluded.attempts, "last_at": row.excluded.last_at},
        )
    )


async def list_dead_letters(
    tx: Transaction, *, event_id: UUID | None = None, waiting_only: bool = True
) -> list[DeadLetter]:
    """Return the tenant's dead letters, oldest first; ``waiting_only`` those that are neither retried nor discarded."""
    query = _query(event_id=event_id, waiting_only=waiting_only).where(dead_letters.c.tenant_id == tx.scope.tenant)
    return [_letter(row) for row in await tx.execute(query)]


async def list_all_tenants_dead_letters(
    duty: DutyDatabase, *, event_id: UUID | None = None, waiting_only: bool = True
) -> list[DeadLetter]:
    """Return the same of all tenants, for the platform's operator."""
    async with duty.duty() as connection:
        rows = await connection.execute(_query(event_id=event_id, waiting_only=waiting_only))
        return [_letter(row) for row in rows]


async def show_dead_letter(tx: Transaction, consumer: str, event_id: UUID) -> DeadLetter:
    """Return one dead letter.

    Raises:
        NoSuchDeadLetterError: if there is none.

    """
    rows = await tx.execute(
        select(*_COLUMNS).where(
            dead_letters.c.tenant_id == tx.scope.tenant,
            dead_letters.c.consumer == consumer,
            dead_letters.c.event_id == event_id,
        )
    )
    row = rows.first()
    if row is None:
        raise NoSuchDeadLetterError(str(event_id))
    return _letter(row)


async def request_retry(tx: Transaction, consumer: str, event_id: UUID) -> None:
    """Ask the worker to handle an open dead letter once more.

    Raises:
        NoSuchDeadLetterError: if there is no open one.

    """
    await _move(tx, consumer, event_id, DeadLetterState.OPEN, DeadLetterState.RETRYING)


async def discard(tx: Transaction, sealer: Sealer, consumer: str, event_id: UUID, *, reason: str) -> UUID:
    """Give up on an open dead letter, for ``reason`` (1 to 500 characters); return the id of the event that says so.

    The event is appended in ``tx``, in the correlation of what was discarded and with it as causation.

    Raises:
        NoSuchDeadLetterError: if there is no open one.
        TenantKeyMissing: if the reason cannot be sealed yet; nothing was discarded.
        ValueError: if there is no reason, or it is too long.

    """
    if not 0 < len(reason.strip()) <= MAX_REASON_CHARS:
        msg = f"a reason of 1 to {MAX_REASON_CHARS} characters is needed"
        raise ValueError(msg)
    letter = await show_dead_letter(tx, consumer, event_id)
    draft_id = new_id()
    sealed = await sealer.for_tenant(tx, event_id=draft_id, field="reason", value=reason.strip())
    await _move(tx, consumer, event_id, DeadLetterState.OPEN, DeadLetterState.DISCARDED, reason=sealed)
    discarded = DeadLetterDiscarded(
        consumer=consumer,
        event_id=str(event_id),
        source=letter.source,
        aggregate=letter.aggregate,
        source_seq=letter.source_seq,
        reason=sealed,
    )
    correlation = decode_envelope(letter.body).correlation or tx.scope.correlation
    following = Transaction(
        scope=replace(tx.scope, correlation=correlation, causation=str(event_id)),
        connection=tx.connection,
        service=tx.service,
        clock=tx.clock,
    )
    await following.append(f"dead_letter-{consumer}-{event_id}", 0, [EventDraft(discarded, id=draft_id)])
    return draft_id


async def mark_retried(tx: Transaction, letter: DeadLetter) -> None:
    """Close a dead letter whose retry succeeded, in the transaction of its effect."""
    await _move(tx, letter.consumer, letter.event_id, DeadLetterState.RETRYING, DeadLetterState.RETRIED)


async def reopen(tx: Transaction, letter: DeadLetter, *, error: str) -> None:
    """Open a dead letter again whose retry failed."""
    await tx.execute(
        update(dead_letters)
        .where(
            dead_letters.c.tenant_id == letter.tenant,
            dead_letters.c.consumer == letter.consumer,
            dead_letters.c.event_id == letter.event_id,
        )
        .values(state=DeadLetterState.OPEN, error=error, attempts=dead_letters.c.attempts + 1, last_at=tx.clock())
    )


async def retries_asked(duty: DutyDatabase, consumer: str) -> list[DeadLetter]:
    """Return the dead letters of all tenants that an operator wants retried."""
    async with duty.duty() as connection:
        rows = await connection.execute(
            select(*_COLUMNS).where(
                dead_letters.c.state == DeadLetterState.RETRYING, dead_letters.c.consumer == consumer
            )
        )
        return [_letter(row) for row in rows]


def _query(*, event_id: UUID | None, waiting_only: bool) -> Select[Any]:
    query = select(*_COLUMNS).order_by(dead_letters.c.first_at, dead_letters.c.event_id)
    if event_id is not None:
        query = query.where(dead_letters.c.event_id == event_id)
    if waiting_only:
        query = query.where(dead_letters.c.state.in_([DeadLetterState.OPEN, DeadLetterState.RETRYING]))
    return query


def _letter(row: Any) -> DeadLetter:  # noqa: ANN401 - SQLAlchemy's Row, whose columns mypy cannot follow
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's documented name for the row as a mapping
    reason = None if row.reason is None else msgspec.json.decode(row.reason, type=Sealed)
    return msgspec.convert({**{str(name): value for name, value in columns.items()}, "reason": reason}, DeadLetter)


def received_of(letter: DeadLetter, event_type: str) -> Received:
    """Return the event of a dead letter as it arrived."""
    return Received(
        TenantId(letter.tenant),
        FeedKey(letter.source, letter.aggregate),
        letter.source_seq,
        letter.event_id,
        event_type,
        letter.body,
    )


async def _move(
    tx: Transaction,
    consumer: str,
    event_id: UUID,
    before: DeadLetterState,
    after: DeadLetterState,
    *,
    reason: Sealed | None = None,
) -> None:
    moved = await tx.execute(
        update(dead_letters)
        .where(
            dead_letters.c.tenant_id == tx.scope.tenant,
            dead_letters.c.consumer == consumer,
            dead_letters.c.event_id == event_id,
            dead_letters.c.state == before,
        )
        .values(
            state=after, reason=None if reason is None else msgspec.json.encode(reason).decode(), last_at=tx.clock()
        )
    )
    if moved.rowcount != 1:
        raise NoSuchDeadLetterError(str(event_id))
