"""Scoring what was handed in, with the keys of the frozen snapshot and the remediations in force."""

from uuid import UUID

import structlog
from tallystick_chassis.keystore import KeyDestroyed
from tallystick_chassis.transaction import Transaction

from tallystick_assessment.attempts.store import newest_answers
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.store import read_snapshot
from tallystick_assessment.questions.items import ItemId
from tallystick_assessment.questions.keys import with_key
from tallystick_assessment.questions.responses import Response
from tallystick_assessment.questions.store import questions_of
from tallystick_assessment.remediation.domain import with_item
from tallystick_assessment.remediation.store import in_force
from tallystick_assessment.scoring.domain import score, score_item
from tallystick_assessment.scoring.store import Cause, RemediationRef, ScoreVersion, has_score, lock_scores, record
from tallystick_assessment.submissions.store import Submission, submission_of

log = structlog.get_logger(__name__)


async def score_submission(tx: Transaction, cipher: Cipher, submission_id: UUID) -> None:
    """Score a submission once: version 1 with the snapshot's keys, then one version for each remediation in force.

    A person who was erased meanwhile has no answers left and gets no score. Event: score.recorded for each version.
    """
    submission = await submission_of(tx, submission_id)
    if submission is None:
        log.error("submission_missing")
        return
    await lock_scores(tx, submission.evaluation_id, submission.version)
    if await has_score(tx, submission_id):
        return
    try:
        saved = await newest_answers(tx, cipher, submission.attempt_id, submission.person)
    except KeyDestroyed:
        log.info("submission_not_scored_after_erasure")
        return
    responses = {item_id: answer.response for item_id, answer in saved.items()}
    await record(tx, await _versions(tx, cipher, submission, responses))


async def _versions(
    tx: Transaction, cipher: Cipher, submission: Submission, responses: dict[ItemId, Response]
) -> list[ScoreVersion]:
    snapshot = read_snapshot(submission.snapshot)
    items = {question.item.id: question.item for question in await questions_of(tx, cipher, snapshot)}
    newest = score(list(items.values()), responses, snapshot.pass_mark_percent)
    first = ScoreVersion(
        submission_id=submission.id,
        score_version=1,
        org_unit_id=submission.org_unit_id,
        person=submission.person,
        cause=Cause.AUTOMATIC,
        remediation=None,
        score=newest,
        recorded_at=tx.clock(),
    )
    versions = [first]
    for remediation in await in_force(tx, cipher, submission.evaluation_id, submission.version):
        item_id = ItemId(remediation.item_id)
        points = score_item(with_key(items[item_id], remediation.new_key), responses.get(item_id))
        if points == newest.items[item_id]:
            continue
        newest = with_item(newest, item_id, points, snapshot.pass_mark_percent)
        versions.append(
            first._replace(
                score_version=len(versions) + 1,
                cause=Cause.REMEDIATION_APPLIED,
                remediation=RemediationRef(remediation.id, remediation.application),
                score=newest,
            )
        )
    return versions
