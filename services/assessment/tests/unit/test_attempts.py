"""An attempt: given these events, when a command comes, then this event or this refusal."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tallystick_assessment.attempts import domain
from tallystick_assessment.canonical import canonical_json, content_hash
from tallystick_assessment.evaluations.domain import Snapshot
from tallystick_assessment.questions.items import ItemId
from tallystick_assessment.refusals import AttemptExpired, AttemptSubmitted
from tallystick_contracts.generated.assessment import AttemptAnswered, AttemptStarted, SubmissionFinalised

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ATTEMPT = UUID(int=1)
STARTED = AttemptStarted(attempt_id=str(ATTEMPT), assignment_id="x")
HASH = "a" * 64
SNAPSHOT = Snapshot(UUID(int=9), 3, "slug", "Title", "en", 60, 2400, (), ())


def answered(item_id: str = "q1", revision: int = 1, answer_hash: str = HASH) -> AttemptAnswered:
    return AttemptAnswered(attempt_id=str(ATTEMPT), item_id=item_id, revision=revision, answer_hash=answer_hash)


def answer(attempt: domain.Attempt, now: datetime = NOW) -> AttemptAnswered:
    deadline = NOW + timedelta(minutes=1)
    return domain.answer(
        attempt, attempt_id=ATTEMPT, item_id=ItemId("q1"), answer_hash=HASH, now=now, deadline=deadline
    )


def submit(attempt: domain.Attempt) -> SubmissionFinalised:
    return domain.submit(attempt, attempt_id=ATTEMPT, submission_id=UUID(int=2), person="p_x", snapshot=SNAPSHOT)


def test_given_a_start_when_answered_then_revision_one() -> None:
    assert answer(domain.fold([STARTED])) == answered(revision=1)


def test_given_an_answer_when_answered_again_then_the_next_revision() -> None:
    assert answer(domain.fold([STARTED, answered(), answered("q2")])) == answered(revision=2)


def test_given_the_clock_ran_out_when_answered_then_refused() -> None:
    with pytest.raises(AttemptExpired):
        answer(domain.fold([STARTED]), now=NOW + timedelta(minutes=1))


def test_given_a_submission_when_answered_or_submitted_again_then_refused() -> None:
    done = domain.fold([STARTED, submit(domain.fold([STARTED]))])
    with pytest.raises(AttemptSubmitted):
        answer(done)
    with pytest.raises(AttemptSubmitted):
        submit(done)


@pytest.mark.control("EV-14b")
def test_given_answers_when_submitted_then_snapshot_and_responses_are_named_by_hash() -> None:
    event = submit(domain.fold([STARTED, answered()]))
    assert event.snapshot_hash == content_hash(canonical_json(SNAPSHOT))
    assert event.version == 3
    assert event.response_root != submit(domain.fold([STARTED])).response_root
    assert event.response_root != submit(domain.fold([STARTED, answered(), answered(revision=2)])).response_root


def test_the_stream_version_counts_every_event() -> None:
    assert domain.fold([STARTED, answered(), answered("q2")]).version == 3
