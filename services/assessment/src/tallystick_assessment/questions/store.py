"""Question versions at rest: item, key and salt encrypted under the tenant's content key."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import insert, select, tuple_
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.domain import Snapshot
from tallystick_assessment.questions.domain import QuestionVersion
from tallystick_assessment.questions.items import Item, item_type
from tallystick_assessment.tables import question_versions


class _Content(msgspec.Struct, frozen=True):
    item: Item
    salt: bytes


def _place(question_id: UUID, version: int) -> str:
    return f"question/{question_id}/{version}"


async def insert_questions(
    tx: Transaction, cipher: Cipher, questions: Iterable[QuestionVersion], now: datetime
) -> None:
    """Store new question versions; they belong to the root unit, where no candidate's scope reaches."""
    questions = list(questions)
    if not questions:
        return
    key = await cipher.content(tx.scope.tenant)
    rows = [
        {
            "tenant_id": tx.scope.tenant,
            "question_id": question.question_id,
            "version": question.version,
            "org_unit_id": tx.scope.root_unit,
            "item_type": item_type(question.item),
            "content_hash": question.content_hash,
            "content": key.encrypt(
                canonical_json(_Content(question.item, question.salt)),
                place=_place(question.question_id, question.version),
            ),
            "published_at": now,
        }
        for question in questions
    ]
    await tx.execute(insert(question_versions), rows)


async def load_questions(
    tx: Transaction, cipher: Cipher, wanted: Sequence[tuple[UUID, int]]
) -> dict[tuple[UUID, int], QuestionVersion]:
    """Return these question versions with their keys; what is not in scope is not in the result."""
    columns = question_versions.c
    rows = await tx.execute(
        select(columns.question_id, columns.version, columns.content).where(
            columns.tenant_id == tx.scope.tenant, tuple_(columns.question_id, columns.version).in_(list(wanted))
        )
    )
    found: dict[tuple[UUID, int], QuestionVersion] = {}
    key = await cipher.content(tx.scope.tenant)
    for row in rows.all():
        plain = key.decrypt(row.content, place=_place(row.question_id, row.version))
        content = msgspec.json.decode(plain, type=_Content)
        question = QuestionVersion(row.question_id, row.version, content.item, content.salt)
        found[question.question_id, question.version] = question
    return found


async def questions_of(tx: Transaction, cipher: Cipher, snapshot: Snapshot) -> tuple[QuestionVersion, ...]:
    """Return a snapshot's questions in its order; raises KeyError when the scope does not hold them."""
    wanted = [(item.question_id, item.question_version) for item in snapshot.items]
    found = await load_questions(tx, cipher, wanted)
    return tuple(found[one] for one in wanted)
