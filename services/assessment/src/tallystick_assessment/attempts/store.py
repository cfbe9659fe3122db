"""Attempts and answers at rest; answers are encrypted under the person's own data key."""

from base64 import b64encode
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from tallystick_chassis.ids import PersonRef
from tallystick_chassis.keystore import KeyDestroyed
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.questions.items import ItemId
from tallystick_assessment.questions.responses import Response
from tallystick_assessment.tables import answers, attempts


class AttemptRow(NamedTuple):
    """One attempt; ``submitted_at`` is None while it is open."""

    id: UUID
    org_unit_id: UUID
    assignment_id: UUID
    person: PersonRef
    evaluation_id: UUID
    version: int
    started_at: datetime
    expires_at: datetime
    submitted_at: datetime | None


class SavedAnswer(NamedTuple):
    """The newest answer to one item."""

    item_id: ItemId
    revision: int
    response: Response


class _Content(msgspec.Struct, frozen=True):
    response: Response
    salt: str


_COLUMNS = tuple(attempts.c[name] for name in AttemptRow._fields)


async def insert_attempt(tx: Transaction, row: AttemptRow) -> bool:
    """Store a new attempt; False when the assignment has one already."""
    made = await tx.execute(
        insert_or_skip(attempts)
        .values(tenant_id=tx.scope.tenant, **row._asdict())
        .on_conflict_do_nothing()
        .returning(attempts.c.id)
    )
    return made.first() is not None


async def own_attempt(tx: Transaction, attempt_id: UUID, person: str, *, for_update: bool = False) -> AttemptRow | None:
    """Return the person's attempt; with ``for_update`` its row is held, so that its commands come one by one."""
    query = select(*_COLUMNS).where(
        attempts.c.tenant_id == tx.scope.tenant, attempts.c.id == attempt_id, attempts.c.person == person
    )
    row = (await tx.execute(query.with_for_update() if for_update else query)).first()
    return AttemptRow._make(row) if row else None


async def mark_submitted(tx: Transaction, attempt_id: UUID, now: datetime) -> None:
    """Close an attempt."""
    await tx.execute(
        update(attempts)
        .where(attempts.c.tenant_id == tx.scope.tenant, attempts.c.id == attempt_id)
        .values(submitted_at=now)
    )


def _place(attempt_id: UUID, item_id: str, revision: int) -> str:
    return f"answer/{attempt_id}/{item_id}/{revision}"


async def insert_answer(
    tx: Transaction,
    cipher: Cipher,
    attempt: AttemptRow,
    *,
    item_id: ItemId,
    revision: int,
    response: Response,
    salt: bytes,
    answer_hash: str,
) -> None:
    """Store an answer; the salt lies with it under the person's key, so both are lost with that key."""
    plain = canonical_json(_Content(response, b64encode(salt).decode()))
    key = await cipher.person(tx.scope.tenant, attempt.person)
    await tx.execute(
        insert(answers).values(
            tenant_id=tx.scope.tenant,
            attempt_id=attempt.id,
            item_id=item_id,
            revision=revision,
            org_unit_id=attempt.org_unit_id,
            person=attempt.person,
            answer_hash=answer_hash,
            content=key.encrypt(plain, place=_place(attempt.id, item_id, revision)),
            answered_at=tx.clock(),
        )
    )


async def newest_answers(
    tx: Transaction, cipher: Cipher, attempt_id: UUID, person: PersonRef, *, item_id: str | None = None
) -> dict[ItemId, SavedAnswer]:
    """Return the newest answer to each item, or to one item.

    Raises KeyDestroyed where there were answers and erasure has taken them.
    """
    columns = answers.c
    query = (
        select(columns.item_id, columns.revision, columns.content)
        .ext(distinct_on(columns.item_id))
        .where(columns.tenant_id == tx.scope.tenant, columns.attempt_id == attempt_id)
        .order_by(columns.item_id, columns.revision.desc())
    )
    rows = (await tx.execute(query if item_id is None else query.where(columns.item_id == item_id))).all()
    if not rows:
        return {}
    if any(row.content is None for row in rows):
        raise KeyDestroyed
    key = await cipher.person(tx.scope.tenant, person)
    found = {}
    for row in rows:
        plain = key.decrypt(row.content, place=_place(attempt_id, row.item_id, row.revision))
        content = msgspec.json.decode(plain, type=_Content)
        found[ItemId(row.item_id)] = SavedAnswer(ItemId(row.item_id), row.revision, content.response)
    return found
