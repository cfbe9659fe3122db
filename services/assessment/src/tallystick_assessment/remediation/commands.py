"""Proposing a re-keyed item with a dry run, applying it, taking it back; each in one transaction."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.ids import new_id
from tallystick_chassis.keystore import KeyDestroyed
from tallystick_chassis.sealing import Sealer
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.assessment import RemediationApplied, RemediationProposed, RemediationReverted

from tallystick_assessment.attempts.store import newest_answers
from tallystick_assessment.canonical import SALT_BYTES, canonical_json, salted_hash
from tallystick_assessment.certificates.store import submissions_with_certificate
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.evaluations.domain import Snapshot
from tallystick_assessment.evaluations.store import released_units, snapshot_of
from tallystick_assessment.questions.items import Item, ItemId
from tallystick_assessment.questions.keys import key_of, with_key
from tallystick_assessment.questions.store import questions_of
from tallystick_assessment.reach import require, require_root
from tallystick_assessment.refusals import Fault, ItemUnknown, NothingChanges
from tallystick_assessment.remediation import domain, store
from tallystick_assessment.remediation.domain import Diff, RemediationId, Sitting, Status, SubmissionId
from tallystick_assessment.scoring.domain import score_item
from tallystick_assessment.scoring.store import (
    Cause,
    RemediationRef,
    ScoreVersion,
    changed_by,
    lock_scores,
    newest_of_version,
    record,
)
from tallystick_assessment.submissions.store import submission_of


class RemediationState(msgspec.Struct, frozen=True):
    """Where a remediation stands after a command: how often it was applied, and the counts of its dry run."""

    remediation_id: UUID
    status: Status
    application: int
    considered: int
    affected: int
    changed_pass: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What an author wants: another key for one item of one version, and why."""

    evaluation_id: UUID
    version: int
    item_id: str
    new_key: object
    reason: str


async def propose(tx: Transaction, cipher: Cipher, sealer: Sealer, wish: Wish) -> RemediationState:
    """Work out what a new key would change, and keep it for review; nothing else happens.

    Event: remediation.proposed, with the reason sealed to the tenant's key and the new key as a salted hash.
    """
    snapshot = await _reachable(tx, wish.evaluation_id, wish.version)
    await lock_scores(tx, wish.evaluation_id, wish.version)
    standing = store.top(await store.in_force(tx, cipher, wish.evaluation_id, wish.version), wish.item_id)
    item = await _item(tx, cipher, snapshot, wish.item_id)
    current = with_key(item, standing.new_key) if standing else item
    changed = with_key(item, wish.new_key)
    if changed == current:
        raise NothingChanges
    diff = domain.dry_run(
        await _sittings(tx, cipher, snapshot, changed),
        item_id=wish.item_id,
        pass_mark_percent=snapshot.pass_mark_percent,
    )
    proposal = store.Proposal(
        id=RemediationId(new_id()),
        evaluation_id=wish.evaluation_id,
        version=wish.version,
        item_id=wish.item_id,
        base=standing.id if standing else None,
        new_key=key_of(changed),
        reason=wish.reason,
        diff=diff,
        proposed_at=tx.clock(),
        proposed_by=tx.scope.actor,
    )
    salt, event_id = secrets.token_bytes(SALT_BYTES), new_id()
    event = RemediationProposed(
        remediation_id=str(proposal.id),
        evaluation_id=str(wish.evaluation_id),
        version=wish.version,
        item_id=wish.item_id,
        new_key_hash=salted_hash(salt, canonical_json(proposal.new_key)),
        diff_hash=diff.diff_hash,
        affected=len(diff.changes),
        changed_pass=diff.changed_pass,
        reason=await sealer.for_tenant(tx, event_id=event_id, field="reason", value=wish.reason),
    )
    await store.insert_proposal(tx, cipher, proposal, salt)
    await tx.append(_stream(proposal.id), 0, [EventDraft(event, event_id)])
    return _state_of(proposal.id, diff, domain.Remediation(version=1))


async def apply(tx: Transaction, cipher: Cipher, remediation_id: UUID) -> RemediationState:
    """Give every affected submission a new score version, all or none; nothing when it is applied already.

    Events: score.recorded for each affected submission, remediation.applied.
    """
    proposal, snapshot, state = await _open(tx, cipher, remediation_id)
    standing = store.top(await store.in_force(tx, cipher, proposal.evaluation_id, proposal.version), proposal.item_id)
    scores = await newest_of_version(tx, proposal.evaluation_id, proposal.version)
    if not domain.apply(
        state,
        diff=proposal.diff,
        item_id=proposal.item_id,
        base=proposal.base,
        in_force=standing.id if standing else None,
        scores={SubmissionId(submission_id): newest.score for submission_id, newest in scores.items()},
    ):
        return _state_of(proposal.id, proposal.diff, state)
    ref = RemediationRef(proposal.id, state.application + 1)
    points = {change.submission_id: change.item_after_milli for change in proposal.diff.changes}
    versions = _next(tx, scores, points, cause=Cause.REMEDIATION_APPLIED, ref=ref, proposal=proposal, snapshot=snapshot)
    await record(tx, versions)
    event = RemediationApplied(remediation_id=str(proposal.id), application=ref.application, affected=len(versions))
    return await _finish(tx, proposal, state, event=event, kind=Status.APPLIED, affected=len(versions))


async def revert(tx: Transaction, cipher: Cipher, remediation_id: UUID) -> RemediationState:
    """Give every submission that the application changed its former points back as a new version, all or none.

    Events: score.recorded for each of them, remediation.reverted.
    """
    proposal, snapshot, state = await _open(tx, cipher, remediation_id)
    standing = store.top(await store.in_force(tx, cipher, proposal.evaluation_id, proposal.version), proposal.item_id)
    if not domain.revert(state, remediation_id=proposal.id, in_force=standing.id if standing else None):
        return _state_of(proposal.id, proposal.diff, state)
    ref = RemediationRef(proposal.id, state.application)
    scores = await newest_of_version(tx, proposal.evaluation_id, proposal.version)
    points = {before.submission_id: before.score.items[proposal.item_id] for before, _ in await changed_by(tx, ref)}
    versions = _next(
        tx, scores, points, cause=Cause.REMEDIATION_REVERTED, ref=ref, proposal=proposal, snapshot=snapshot
    )
    await record(tx, versions)
    event = RemediationReverted(remediation_id=str(proposal.id), application=ref.application, affected=len(versions))
    return await _finish(tx, proposal, state, event=event, kind=Status.REVERTED, affected=len(versions))


async def _finish(
    tx: Transaction,
    proposal: store.Proposal,
    state: domain.Remediation,
    *,
    event: RemediationApplied | RemediationReverted,
    kind: Status,
    affected: int,
) -> RemediationState:
    step = store.Step(proposal.id, event.application, kind, affected, tx.scope.actor, tx.clock())
    await store.insert_step(tx, step)
    await tx.append(_stream(proposal.id), state.version, [EventDraft(event)])
    return _state_of(proposal.id, proposal.diff, domain.evolve(state, event))


async def _open(
    tx: Transaction, cipher: Cipher, remediation_id: UUID
) -> tuple[store.Proposal, Snapshot, domain.Remediation]:
    proposal = await store.proposal_of(tx, cipher, remediation_id)
    if proposal is None:
        raise NotFound
    snapshot = await _reachable(tx, proposal.evaluation_id, proposal.version)
    # Everything that decides is read behind the lock.
    await lock_scores(tx, proposal.evaluation_id, proposal.version)
    state = domain.fold([event.data for event in await tx.load(_stream(proposal.id))])
    return proposal, snapshot, state


async def _reachable(tx: Transaction, evaluation_id: UUID, version: int) -> Snapshot:
    require_root(tx.scope)
    snapshot = await snapshot_of(tx, evaluation_id, version)
    if snapshot is None:
        raise NotFound
    # Row-level security would hide the others' submissions, and half a remediation is none.
    require(tx.scope, await released_units(tx, evaluation_id, version))
    return snapshot


async def _item(tx: Transaction, cipher: Cipher, snapshot: Snapshot, item_id: str) -> Item:
    for question in await questions_of(tx, cipher, snapshot):
        if question.item.id == item_id:
            return question.item
    raise ItemUnknown(faults=[Fault("/item_id", "is not an item of this version")])


async def _sittings(tx: Transaction, cipher: Cipher, snapshot: Snapshot, item: Item) -> list[Sitting]:
    scores = await newest_of_version(tx, snapshot.evaluation_id, snapshot.version)
    holders = await submissions_with_certificate(tx, snapshot.evaluation_id, snapshot.version)
    return [
        Sitting(
            submission_id=submission_id,
            person=newest.person,
            unit_id=newest.org_unit_id,
            score=newest.score,
            item_after_milli=await _points(tx, cipher, newest, item),
            holds_certificate=submission_id in holders,
        )
        for submission_id, newest in scores.items()
    ]


async def _points(tx: Transaction, cipher: Cipher, newest: ScoreVersion, item: Item) -> int:
    submission = await submission_of(tx, newest.submission_id)
    if submission is None:
        raise NotFound
    try:
        saved = await newest_answers(tx, cipher, submission.attempt_id, newest.person, item_id=item.id)
    except KeyDestroyed:
        # Erased: there is nothing left to score anew, so the points stay.
        return newest.score.items[item.id]
    answer = saved.get(ItemId(item.id))
    return score_item(item, answer.response if answer else None)


def _next(
    tx: Transaction,
    scores: Mapping[UUID, ScoreVersion],
    points: Mapping[UUID, int],
    *,
    cause: Cause,
    ref: RemediationRef,
    proposal: store.Proposal,
    snapshot: Snapshot,
) -> list[ScoreVersion]:
    return [
        scores[submission_id]._replace(
            score_version=scores[submission_id].score_version + 1,
            cause=cause,
            remediation=ref,
            score=domain.with_item(
                scores[submission_id].score, proposal.item_id, item_milli, snapshot.pass_mark_percent
            ),
            recorded_at=tx.clock(),
        )
        for submission_id, item_milli in points.items()
    ]


def _state_of(remediation_id: UUID, diff: Diff, state: domain.Remediation) -> RemediationState:
    return RemediationState(
        remediation_id, state.status, state.application, diff.considered, len(diff.changes), diff.changed_pass
    )


def _stream(remediation_id: UUID) -> str:
    return f"remediation-{remediation_id}"
