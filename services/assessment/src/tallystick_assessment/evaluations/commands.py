"""Publishing a version of an evaluation, and releasing its paper to org units."""

import secrets
from collections.abc import Sequence
from uuid import UUID

import msgspec
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import OrgUnitId, new_id
from tallystick_chassis.transaction import ConcurrencyError, EventDraft, Transaction
from tallystick_contracts.generated.assessment import (
    EvaluationReleased,
    EvaluationVersionPublished,
    ItemType,
    QuestionRef,
    QuestionVersionPublished,
)

from tallystick_assessment.canonical import SALT_BYTES
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations import store
from tallystick_assessment.evaluations.document import EvaluationDocument
from tallystick_assessment.evaluations.domain import Publication, Snapshot, publish
from tallystick_assessment.questions.domain import QuestionVersion
from tallystick_assessment.questions.items import item_type
from tallystick_assessment.questions.paper import without_key
from tallystick_assessment.questions.store import insert_questions, questions_of
from tallystick_assessment.reach import reaches, require_root
from tallystick_assessment.refusals import Fault, UnitsUnknown


class PublishedQuestion(msgspec.Struct, frozen=True):
    """Which version of which question an item has."""

    item_id: str
    question_id: UUID
    version: int


class Published(msgspec.Struct, frozen=True):
    """A published version; ``content_hash`` is the SHA-256 of its snapshot, hexadecimal."""

    evaluation_id: UUID
    version: int
    content_hash: str
    questions: tuple[PublishedQuestion, ...]


class Released(msgspec.Struct, frozen=True):
    """Units that got the paper now; units that had it already are not in it."""

    evaluation_id: UUID
    version: int
    released: tuple[UUID, ...]


async def publish_evaluation(tx: Transaction, cipher: Cipher, document: EvaluationDocument) -> Published:
    """Publish a document as the next version of the evaluation with its short name, the first if there is none.

    Events: question.version_published for each question that is new or changed, evaluation.version_published.
    """
    require_root(tx.scope)
    evaluation_id = await store.id_of(tx, document.slug)
    newest = await store.snapshot_of(tx, evaluation_id) if evaluation_id else None
    questions = await questions_of(tx, cipher, newest) if newest else ()
    publication = publish(
        document,
        evaluation_id=evaluation_id or new_id(),
        newest=newest,
        questions={question.item.id: question for question in questions},
        new_id=new_id,
        new_salt=lambda: secrets.token_bytes(SALT_BYTES),
    )
    snapshot = publication.snapshot
    if evaluation_id is None and not await store.insert_evaluation(tx, snapshot.evaluation_id, snapshot.slug):
        raise ConcurrencyError
    now = tx.clock()
    for question in publication.fresh:
        await tx.append(
            f"question-{question.question_id}", question.version - 1, [EventDraft(_question_published(question))]
        )
    await tx.append(
        f"evaluation-{snapshot.evaluation_id}", snapshot.version - 1, [EventDraft(_version_published(publication))]
    )
    await insert_questions(tx, cipher, publication.fresh, now)
    await store.insert_version(tx, publication, now)
    return Published(
        snapshot.evaluation_id,
        snapshot.version,
        publication.content_hash,
        tuple(
            PublishedQuestion(question.item.id, question.question_id, question.version)
            for question in publication.questions
        ),
    )


async def release_evaluation(
    tx: Transaction, cipher: Cipher, evaluation_id: UUID, version: int, units: Sequence[UUID]
) -> Released:
    """Release a version to units: each gets a copy of the paper without its keys.

    Events: evaluation.released for each unit that had no paper yet.
    """
    require_root(tx.scope)
    snapshot = await store.snapshot_of(tx, evaluation_id, version)
    if snapshot is None:
        raise NotFound
    faults = [
        Fault(f"/unit_ids/{index}", "is not an org unit that you can release to")
        for index, unit in enumerate(units)
        if not reaches(tx.scope, unit)
    ]
    if faults:
        raise UnitsUnknown(faults=faults)
    return Released(evaluation_id, version, tuple(await _release(tx, cipher, snapshot, units)))


async def _release(tx: Transaction, cipher: Cipher, snapshot: Snapshot, units: Sequence[UUID]) -> list[UUID]:
    items = [without_key(question.item) for question in await questions_of(tx, cipher, snapshot)]
    released = []
    for unit in dict.fromkeys(units):
        if not await store.insert_paper(tx, cipher, unit=unit, snapshot=snapshot, items=items, now=tx.clock()):
            continue
        event = EvaluationReleased(
            evaluation_id=str(snapshot.evaluation_id), version=snapshot.version, unit_id=str(unit)
        )
        stream = f"release-{snapshot.evaluation_id}-{snapshot.version}-{unit}"
        await tx.append(stream, 0, [EventDraft(event, org_unit=OrgUnitId(unit))])
        released.append(unit)
    return released


def _question_published(question: QuestionVersion) -> QuestionVersionPublished:
    return QuestionVersionPublished(
        question_id=str(question.question_id),
        version=question.version,
        item_type=ItemType[item_type(question.item).upper()],
        content_hash=question.content_hash,
    )


def _version_published(publication: Publication) -> EvaluationVersionPublished:
    snapshot = publication.snapshot
    return EvaluationVersionPublished(
        evaluation_id=str(snapshot.evaluation_id),
        version=snapshot.version,
        slug=snapshot.slug,
        content_hash=publication.content_hash,
        question_refs=tuple(
            QuestionRef(question_id=str(item.question_id), version=item.question_version) for item in snapshot.items
        ),
        pass_mark_percent=snapshot.pass_mark_percent,
    )
