"""A candidate's commands: start, answer, submit; and what they see of it. All for the owner alone."""

import secrets
from datetime import datetime
from uuid import UUID

import msgspec
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import OrgUnitId, PersonRef, new_id
from tallystick_chassis.keystore import KeyDestroyed
from tallystick_chassis.sealing import Sealer
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.assessment import AttemptStarted

from tallystick_assessment.assignments import store as assignments
from tallystick_assessment.attempts import domain, store
from tallystick_assessment.canonical import SALT_BYTES, canonical_json, salted_hash
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.store import Paper, load_paper
from tallystick_assessment.questions.items import ItemId
from tallystick_assessment.questions.paper import PaperItem
from tallystick_assessment.questions.responses import Response, checked
from tallystick_assessment.refusals import AlreadyStarted, AssignmentRevoked
from tallystick_assessment.submissions.store import insert_submission


class Started(msgspec.Struct, frozen=True):
    """A new attempt and when its clock runs out."""

    attempt_id: UUID
    expires_at: datetime


class Answered(msgspec.Struct, frozen=True):
    """A saved answer; ``revision`` counts from 1."""

    attempt_id: UUID
    item_id: str
    revision: int


class Submitted(msgspec.Struct, frozen=True):
    """What was handed in, by its hashes (SHA-256, hexadecimal)."""

    submission_id: UUID
    snapshot_hash: str
    response_root: str


class AttemptView(msgspec.Struct, frozen=True):
    """An attempt as its candidate sees it; ``responses`` are the newest saved ones, by item id."""

    attempt_id: UUID
    assignment_id: UUID
    title: str
    language: str
    started_at: datetime
    expires_at: datetime
    submitted_at: datetime | None
    items: tuple[PaperItem, ...]
    responses: dict[str, Response]


async def start_attempt(
    tx: Transaction, cipher: Cipher, sealer: Sealer, assignment_id: UUID, *, ip: str, user_agent: str
) -> Started:
    """Start the one attempt of an assignment, and its clock.

    Event: attempt.started, with address and user agent sealed to the candidate's key.
    """
    person = PersonRef(tx.scope.actor)
    await assignments.lock(tx, assignment_id)
    assignment = await assignments.assignment_of(tx, assignment_id, person=person)
    if assignment is None:
        raise NotFound
    if assignment.revoked_at is not None:
        raise AssignmentRevoked
    paper = await _paper(tx, cipher, assignment.org_unit_id, assignment.evaluation_id, assignment.version)
    now = tx.clock()
    row = store.AttemptRow(
        id=new_id(),
        org_unit_id=assignment.org_unit_id,
        assignment_id=assignment_id,
        person=person,
        evaluation_id=assignment.evaluation_id,
        version=assignment.version,
        started_at=now,
        expires_at=domain.expires_at(now, paper.snapshot),
        submitted_at=None,
    )
    if not await store.insert_attempt(tx, row):
        raise AlreadyStarted
    event_id = new_id()
    event = AttemptStarted(
        attempt_id=str(row.id),
        assignment_id=str(assignment_id),
        ip=await sealer.for_person(tx, person, event_id=event_id, field="ip", value=ip),
        user_agent=await sealer.for_person(tx, person, event_id=event_id, field="user_agent", value=user_agent),
    )
    await tx.append(_stream(row.id), 0, [EventDraft(event, event_id, person, OrgUnitId(row.org_unit_id))])
    return Started(row.id, row.expires_at)


async def answer_item(tx: Transaction, cipher: Cipher, attempt_id: UUID, item_id: ItemId, response: object) -> Answered:
    """Save an answer. Event: attempt.answered, with a salted hash of the response."""
    attempt = await _own(tx, attempt_id, for_update=True)
    paper = await _paper(tx, cipher, attempt.org_unit_id, attempt.evaluation_id, attempt.version)
    item = next((item for item in paper.items if item.id == item_id), None)
    if item is None:
        raise NotFound
    canonical = checked(item, response)
    salt = secrets.token_bytes(SALT_BYTES)
    answer_hash = salted_hash(salt, canonical_json(canonical))
    state = await _state(tx, attempt_id)
    event = domain.answer(
        state,
        attempt_id=attempt_id,
        item_id=item_id,
        answer_hash=answer_hash,
        now=tx.clock(),
        deadline=attempt.expires_at,
    )
    await store.insert_answer(
        tx,
        cipher,
        attempt,
        item_id=item_id,
        revision=event.revision,
        response=canonical,
        salt=salt,
        answer_hash=answer_hash,
    )
    draft = EventDraft(event, subject=attempt.person, org_unit=OrgUnitId(attempt.org_unit_id))
    await tx.append(_stream(attempt_id), state.version, [draft])
    return Answered(attempt_id, item_id, event.revision)


async def submit_attempt(tx: Transaction, cipher: Cipher, attempt_id: UUID) -> Submitted:
    """Hand an attempt in; the version's snapshot is frozen with it. Event: submission.finalised."""
    attempt = await _own(tx, attempt_id, for_update=True)
    paper = await _paper(tx, cipher, attempt.org_unit_id, attempt.evaluation_id, attempt.version)
    state = await _state(tx, attempt_id)
    submission_id = new_id()
    event = domain.submit(
        state,
        attempt_id=attempt_id,
        submission_id=submission_id,
        person=attempt.person,
        snapshot=paper.snapshot,
    )
    now = tx.clock()
    await insert_submission(tx, attempt, event, paper.snapshot, now)
    await store.mark_submitted(tx, attempt_id, now)
    draft = EventDraft(event, subject=attempt.person, org_unit=OrgUnitId(attempt.org_unit_id))
    await tx.append(_stream(attempt_id), state.version, [draft])
    return Submitted(submission_id, event.snapshot_hash, event.response_root)


async def view_attempt(tx: Transaction, cipher: Cipher, attempt_id: UUID) -> AttemptView:
    """Return the candidate's own attempt with paper and saved responses."""
    attempt = await _own(tx, attempt_id)
    paper = await _paper(tx, cipher, attempt.org_unit_id, attempt.evaluation_id, attempt.version)
    try:
        saved = await store.newest_answers(tx, cipher, attempt_id, attempt.person)
    except KeyDestroyed:
        raise NotFound from None
    return AttemptView(
        attempt_id=attempt_id,
        assignment_id=attempt.assignment_id,
        title=paper.snapshot.title,
        language=paper.snapshot.language,
        started_at=attempt.started_at,
        expires_at=attempt.expires_at,
        submitted_at=attempt.submitted_at,
        items=paper.items,
        responses={item_id: answer.response for item_id, answer in saved.items()},
    )


async def _own(tx: Transaction, attempt_id: UUID, *, for_update: bool = False) -> store.AttemptRow:
    attempt = await store.own_attempt(tx, attempt_id, tx.scope.actor, for_update=for_update)
    if attempt is None:
        raise NotFound
    return attempt


async def _paper(tx: Transaction, cipher: Cipher, unit: UUID, evaluation_id: UUID, version: int) -> Paper:
    paper = await load_paper(tx, cipher, unit, evaluation_id, version)
    if paper is None:
        raise NotFound
    return paper


async def _state(tx: Transaction, attempt_id: UUID) -> domain.Attempt:
    return domain.fold([event.data for event in await tx.load(_stream(attempt_id))])


def _stream(attempt_id: UUID) -> str:
    return f"attempt-{attempt_id}"
