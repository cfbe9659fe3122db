"""An attempt's life: started, answered, submitted. Time comes in as an argument."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from tallystick_contracts.generated.assessment import AttemptAnswered, AttemptStarted, SubmissionFinalised
from tallystick_contracts.message import EventData

from tallystick_assessment.canonical import canonical_json, content_hash
from tallystick_assessment.evaluations.domain import Snapshot
from tallystick_assessment.questions.items import ItemId
from tallystick_assessment.refusals import AttemptExpired, AttemptSubmitted


@dataclass(frozen=True, slots=True)
class Answer:
    """The newest answer to one item: its revision, from 1, and its salted hash."""

    revision: int
    answer_hash: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the events of an attempt add up to; ``version`` is the stream's."""

    version: int = 0
    answers: dict[ItemId, Answer] = field(default_factory=dict)
    submission_id: UUID | None = None


def evolve(attempt: Attempt, event: EventData) -> Attempt:
    """Return the attempt after one more of its events."""
    attempt = replace(attempt, version=attempt.version + 1)
    match event:
        case AttemptStarted():
            return attempt
        case AttemptAnswered(item_id=item_id, revision=revision, answer_hash=answer_hash):
            return replace(attempt, answers=attempt.answers | {ItemId(item_id): Answer(revision, answer_hash)})
        case SubmissionFinalised(submission_id=submission_id):
            return replace(attempt, submission_id=UUID(submission_id))
        case _:
            msg = f"an attempt has no event {type(event).__name__}"
            raise TypeError(msg)


def fold(events: Iterable[EventData]) -> Attempt:
    """Return the attempt that these events make, in order."""
    attempt = Attempt()
    for event in events:
        attempt = evolve(attempt, event)
    return attempt


def expires_at(started_at: datetime, snapshot: Snapshot) -> datetime:
    """Return when the clock of an attempt runs out."""
    return started_at + timedelta(seconds=snapshot.time_limit_s)


def answer(
    attempt: Attempt, *, attempt_id: UUID, item_id: ItemId, answer_hash: str, now: datetime, deadline: datetime
) -> AttemptAnswered:
    """Return the event that saves an answer; raises AttemptSubmitted or AttemptExpired."""
    if attempt.submission_id is not None:
        raise AttemptSubmitted
    if now >= deadline:
        raise AttemptExpired
    before = attempt.answers.get(item_id)
    return AttemptAnswered(
        attempt_id=str(attempt_id),
        item_id=item_id,
        revision=before.revision + 1 if before else 1,
        answer_hash=answer_hash,
    )


def submit(
    attempt: Attempt, *, attempt_id: UUID, submission_id: UUID, person: str, snapshot: Snapshot
) -> SubmissionFinalised:
    """Return the event that hands an attempt in; raises AttemptSubmitted.

    The clock does not stand in its way: what was saved in time may be handed in late, since nothing can be added.
    """
    if attempt.submission_id is not None:
        raise AttemptSubmitted
    return SubmissionFinalised(
        submission_id=str(submission_id),
        attempt_id=str(attempt_id),
        person=person,
        evaluation_id=str(snapshot.evaluation_id),
        version=snapshot.version,
        snapshot_hash=content_hash(canonical_json(snapshot)),
        response_root=response_root(attempt),
    )


def response_root(attempt: Attempt) -> str:
    """Return one SHA-256 over revision and salted hash of every newest answer, hexadecimal.

    The hashed text is the canonical JSON ``{"<item id>":{"hash":"<hex>","revision":<n>},…}``.
    """
    rows = {
        item_id: {"hash": saved.answer_hash, "revision": saved.revision} for item_id, saved in attempt.answers.items()
    }
    return content_hash(canonical_json(rows))
