"""Score versions at rest: a ledger of its own, appended to and never changed."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Row, Select, bindparam, func, insert, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from tallystick_chassis.ids import OrgUnitId, PersonRef
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.assessment import ScoreCause, ScoreRecorded

from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.scoring.domain import Score
from tallystick_assessment.tables import score_versions, submissions


class Cause(StrEnum):
    """What made a score version."""

    AUTOMATIC = "automatic"
    REMEDIATION_APPLIED = "remediation_applied"
    REMEDIATION_REVERTED = "remediation_reverted"


class RemediationRef(NamedTuple):
    """Which application of which remediation made a score version."""

    remediation_id: UUID
    application: int


class ScoreVersion(NamedTuple):
    """One version of one submission's score."""

    submission_id: UUID
    score_version: int
    org_unit_id: UUID
    person: PersonRef
    cause: Cause
    remediation: RemediationRef | None
    score: Score
    recorded_at: datetime


_COLUMNS = (
    score_versions.c.submission_id,
    score_versions.c.score_version,
    score_versions.c.org_unit_id,
    score_versions.c.person,
    score_versions.c.cause,
    score_versions.c.remediation_id,
    score_versions.c.application,
    score_versions.c.points_milli,
    score_versions.c.max_points_milli,
    score_versions.c.passed,
    score_versions.c.item_points,
    score_versions.c.recorded_at,
)
_LOCK = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))").bindparams(bindparam("name"))


async def lock_scores(tx: Transaction, evaluation_id: UUID, version: int) -> None:
    """Let no other transaction record scores of this version until this one ends.

    So a dry run, an application or a certificate sees every score or none of a change. The lock ends with the
    transaction and needs no privilege on rows.
    """
    await tx.execute(_LOCK, {"name": f"assessment/scores/{tx.scope.tenant}/{evaluation_id}/{version}"})


async def record(tx: Transaction, versions: Sequence[ScoreVersion]) -> None:
    """Append score versions, each with its event score.recorded; ConcurrencyError when one is there already."""
    if not versions:
        return
    for one in versions:
        event = ScoreRecorded(
            submission_id=str(one.submission_id),
            person=one.person,
            score_version=one.score_version,
            cause=ScoreCause[one.cause.name],
            remediation_id=str(one.remediation.remediation_id) if one.remediation else None,
            points_milli=one.score.points_milli,
            max_points_milli=one.score.max_points_milli,
            passed=one.score.passed,
        )
        draft = EventDraft(event, subject=one.person, org_unit=OrgUnitId(one.org_unit_id))
        await tx.append(f"score-{one.submission_id}", one.score_version - 1, [draft])
    await tx.execute(
        insert(score_versions),
        [
            {
                "tenant_id": tx.scope.tenant,
                "submission_id": one.submission_id,
                "score_version": one.score_version,
                "org_unit_id": one.org_unit_id,
                "person": one.person,
                "cause": one.cause.value,
                "remediation_id": one.remediation.remediation_id if one.remediation else None,
                "application": one.remediation.application if one.remediation else None,
                "points_milli": one.score.points_milli,
                "max_points_milli": one.score.max_points_milli,
                "passed": one.score.passed,
                "item_points": canonical_json(one.score.items),
                "recorded_at": one.recorded_at,
            }
            for one in versions
        ],
    )


async def history(tx: Transaction, submission_id: UUID) -> list[ScoreVersion]:
    """Return every score version of a submission, oldest first."""
    rows = await tx.execute(
        select(*_COLUMNS)
        .where(score_versions.c.tenant_id == tx.scope.tenant, score_versions.c.submission_id == submission_id)
        .order_by(score_versions.c.score_version)
    )
    return [_read(row) for row in rows]


async def newest_of_version(tx: Transaction, evaluation_id: UUID, version: int) -> dict[UUID, ScoreVersion]:
    """Return the newest score of every scored submission of an evaluation version in scope, by submission id."""
    query = _newest().where(submissions.c.evaluation_id == evaluation_id, submissions.c.version == version)
    rows = await tx.execute(query.where(submissions.c.tenant_id == tx.scope.tenant))
    return {row.submission_id: _read(row) for row in rows}


async def newest_of_person(tx: Transaction, person: str) -> list[ScoreVersion]:
    """Return the newest score of each of a person's submissions."""
    query = _newest().where(submissions.c.tenant_id == tx.scope.tenant, submissions.c.person == person)
    return [_read(row) for row in await tx.execute(query)]


async def list_newest(
    tx: Transaction, *, evaluation_id: UUID | None, version: int | None, after: UUID | None, limit: int
) -> list[ScoreVersion]:
    """Return newest scores in scope in order of submission id."""
    query = _newest().where(submissions.c.tenant_id == tx.scope.tenant)
    if evaluation_id is not None:
        query = query.where(submissions.c.evaluation_id == evaluation_id)
    if version is not None:
        query = query.where(submissions.c.version == version)
    if after is not None:
        query = query.where(submissions.c.id > after)
    return [_read(row) for row in await tx.execute(query.limit(limit))]


async def changed_by(tx: Transaction, remediation: RemediationRef) -> list[tuple[ScoreVersion, ScoreVersion]]:
    """Return, for every submission that an application changed, the version before it and the one it made."""
    made = (
        select(score_versions.c.submission_id, score_versions.c.score_version)
        .where(
            score_versions.c.tenant_id == tx.scope.tenant,
            score_versions.c.remediation_id == remediation.remediation_id,
            score_versions.c.application == remediation.application,
            score_versions.c.cause == Cause.REMEDIATION_APPLIED.value,
        )
        .subquery()
    )
    rows = await tx.execute(
        select(*_COLUMNS)
        .join(
            made,
            (made.c.submission_id == score_versions.c.submission_id)
            & score_versions.c.score_version.in_([made.c.score_version, made.c.score_version - 1]),
        )
        .where(score_versions.c.tenant_id == tx.scope.tenant)
        .order_by(score_versions.c.submission_id, score_versions.c.score_version)
    )
    found = [_read(row) for row in rows]
    return list(zip(found[::2], found[1::2], strict=True))


async def has_score(tx: Transaction, submission_id: UUID) -> bool:
    """Say whether a submission has been scored."""
    count = await tx.execute(
        select(func.count()).where(
            score_versions.c.tenant_id == tx.scope.tenant, score_versions.c.submission_id == submission_id
        )
    )
    return bool(count.scalar_one())


def _newest() -> Select[Any]:
    return (
        select(*_COLUMNS)
        .ext(distinct_on(score_versions.c.submission_id))
        .join(
            submissions,
            (submissions.c.tenant_id == score_versions.c.tenant_id)
            & (submissions.c.id == score_versions.c.submission_id),
        )
        .order_by(score_versions.c.submission_id, score_versions.c.score_version.desc())
    )


def _read(row: Row[Any]) -> ScoreVersion:
    return ScoreVersion(
        submission_id=row.submission_id,
        score_version=row.score_version,
        org_unit_id=row.org_unit_id,
        person=PersonRef(row.person),
        cause=Cause(row.cause),
        remediation=RemediationRef(row.remediation_id, row.application) if row.remediation_id else None,
        score=Score(
            points_milli=row.points_milli,
            max_points_milli=row.max_points_milli,
            passed=row.passed,
            items=msgspec.json.decode(row.item_points, type=dict[str, int]),
        ),
        recorded_at=row.recorded_at,
    )
