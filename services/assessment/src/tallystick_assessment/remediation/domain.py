"""A remediation: the dry run's changes, and when they may be applied and taken back.

For each item the remediations in force form a stack: one may be applied only on the remediation that its dry run saw
(``base``), and taken back only from the top. So taking one back restores exactly what was before it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NewType
from uuid import UUID

import msgspec
from tallystick_contracts.generated.assessment import RemediationApplied, RemediationProposed, RemediationReverted
from tallystick_contracts.message import EventData

from tallystick_assessment.canonical import canonical_json, content_hash
from tallystick_assessment.refusals import RemediationNotApplied, RemediationStale, RemediationSuperseded
from tallystick_assessment.scoring.domain import Score, scored

RemediationId = NewType("RemediationId", UUID)
SubmissionId = NewType("SubmissionId", UUID)


class Status(StrEnum):
    """Where a remediation stands."""

    PROPOSED = "proposed"
    APPLIED = "applied"
    REVERTED = "reverted"


@dataclass(frozen=True, slots=True)
class Remediation:
    """What the events of a remediation add up to; ``application`` counts how often it was applied."""

    version: int = 0
    status: Status = Status.PROPOSED
    application: int = 0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a remediation does to one submission; points in thousandths."""

    submission_id: UUID
    person: str
    unit_id: UUID
    item_before_milli: int
    item_after_milli: int
    points_before_milli: int
    points_after_milli: int
    passed_before: bool
    passed_after: bool
    certificate_at_risk: bool
    """A certificate is held and the submission would no longer pass. Nothing is done about it by itself."""


class Diff(msgspec.Struct, frozen=True):
    """The dry run: ``considered`` scored submissions, of which ``changes`` are changed, in order of submission id."""

    considered: int
    changes: tuple[Change, ...]

    @property
    def changed_pass(self) -> int:
        """How many pass or fail otherwise than before."""
        return sum(change.passed_before != change.passed_after for change in self.changes)

    @property
    def diff_hash(self) -> str:
        """SHA-256 of the canonical form, hexadecimal."""
        return content_hash(canonical_json(self))


@dataclass(frozen=True, slots=True)
class Sitting:
    """One scored submission as the dry run sees it: its newest score, and what the item would earn with the new key."""

    submission_id: UUID
    person: str
    unit_id: UUID
    score: Score
    item_after_milli: int
    holds_certificate: bool


def evolve(remediation: Remediation, event: EventData) -> Remediation:
    """Return the remediation after one more of its events."""
    remediation = replace(remediation, version=remediation.version + 1)
    match event:
        case RemediationProposed():
            return remediation
        case RemediationApplied(application=application):
            return replace(remediation, status=Status.APPLIED, application=application)
        case RemediationReverted():
            return replace(remediation, status=Status.REVERTED)
        case _:
            msg = f"a remediation has no event {type(event).__name__}"
            raise TypeError(msg)


def fold(events: Iterable[EventData]) -> Remediation:
    """Return the remediation that these events make, in order."""
    remediation = Remediation()
    for event in events:
        remediation = evolve(remediation, event)
    return remediation


def dry_run(sittings: Sequence[Sitting], *, item_id: str, pass_mark_percent: int) -> Diff:
    """Return what the new key would change; submissions whose item earns the same stay out."""
    changes = []
    for sitting in sorted(sittings, key=lambda sitting: sitting.submission_id):
        before = sitting.score.items[item_id]
        if before == sitting.item_after_milli:
            continue
        after = with_item(sitting.score, item_id, sitting.item_after_milli, pass_mark_percent)
        changes.append(
            Change(
                submission_id=sitting.submission_id,
                person=sitting.person,
                unit_id=sitting.unit_id,
                item_before_milli=before,
                item_after_milli=sitting.item_after_milli,
                points_before_milli=sitting.score.points_milli,
                points_after_milli=after.points_milli,
                passed_before=sitting.score.passed,
                passed_after=after.passed,
                certificate_at_risk=sitting.holds_certificate and not after.passed,
            )
        )
    return Diff(considered=len(sittings), changes=tuple(changes))


def apply(
    remediation: Remediation,
    *,
    diff: Diff,
    item_id: str,
    base: RemediationId | None,
    in_force: RemediationId | None,
    scores: Mapping[SubmissionId, Score],
) -> bool:
    """Return whether there is anything to do; ``scores`` are the newest of every scored submission.

    Raises RemediationStale when what was reviewed is not what would happen.
    """
    if remediation.status is Status.APPLIED:
        return False
    if in_force != base or len(scores) != diff.considered:
        raise RemediationStale
    for change in diff.changes:
        score = scores.get(SubmissionId(change.submission_id))
        if score is None or score.items[item_id] != change.item_before_milli:
            raise RemediationStale
    return True


def revert(remediation: Remediation, *, remediation_id: RemediationId, in_force: RemediationId | None) -> bool:
    """Return whether there is anything to do; raises RemediationNotApplied or RemediationSuperseded."""
    if remediation.status is Status.REVERTED:
        return False
    if remediation.status is Status.PROPOSED:
        raise RemediationNotApplied
    if in_force != remediation_id:
        raise RemediationSuperseded
    return True


def with_item(score: Score, item_id: str, item_milli: int, pass_mark_percent: int) -> Score:
    """Return the score with another number of points for one item."""
    return scored(dict(score.items) | {item_id: item_milli}, score.max_points_milli, pass_mark_percent)
