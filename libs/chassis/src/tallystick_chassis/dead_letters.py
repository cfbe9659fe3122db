"""Dead letters: events whose handler failed ten times. They wait for an operator; none is dropped silently.

States: ``open`` → ``retrying`` (asked for; the worker does it) → ``retried``, or ``open`` again;
``open`` → ``discarded``, with a reason.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from tallystick_chassis.ids import TenantId
from tallystick_chassis.inbox import FeedKey, Received
from tallystick_chassis.tables import dead_letters

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.transaction import Transaction

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
    """One event that one consumer could not handle. ``error`` is the exception's type: its text may be personal."""

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
    reason: str | None


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


async def list_dead_letters(tx: Transaction, state: DeadLetterState | None = DeadLetterState.OPEN) -> list[DeadLetter]:
    """Return the tenant's dead letters in ``state`` (``None``: all), oldest first."""
    query = select(*_COLUMNS).where(dead_letters.c.tenant_id == tx.scope.tenant)
    if state is not None:
        query = query.where(dead_letters.c.state == state)
    return [_letter(row) for row in await tx.execute(query.order_by(dead_letters.c.first_at))]


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


async def discard(tx: Transaction, consumer: str, event_id: UUID, *, reason: str) -> None:
    """Give up on an open dead letter, for ``reason`` (1 to 500 characters; no personal data).

    Raises:
        NoSuchDeadLetterError: if there is no open one.
        ValueError: if there is no reason, or it is too long.

    """
    if not 0 < len(reason.strip()) <= MAX_REASON_CHARS:
        msg = f"a reason of 1 to {MAX_REASON_CHARS} characters is needed"
        raise ValueError(msg)
    await _move(tx, consumer, event_id, DeadLetterState.OPEN, DeadLetterState.DISCARDED, reason=reason.strip())


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


def _letter(row: Any) -> DeadLetter:  # noqa: ANN401 - SQLAlchemy's Row, whose columns mypy cannot follow
    return msgspec.convert(row._mapping, DeadLetter)  # noqa: SLF001 - SQLAlchemy's documented name for the row as a mapping


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
    reason: str | None = None,
) -> None:
    moved = await tx.execute(
        update(dead_letters)
        .where(
            dead_letters.c.tenant_id == tx.scope.tenant,
            dead_letters.c.consumer == consumer,
            dead_letters.c.event_id == event_id,
            dead_letters.c.state == before,
        )
        .values(state=after, reason=reason, last_at=tx.clock())
    )
    if moved.rowcount != 1:
        raise NoSuchDeadLetterError(str(event_id))
