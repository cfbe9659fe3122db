"""Routes of scores: one's own results, newest scores by unit, and every version of one submission's score."""

from datetime import datetime
from uuid import UUID

import msgspec
from litestar import get
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_assessment.parameters import AnyVersion, PageSize
from tallystick_assessment.scoring import store
from tallystick_assessment.scoring.store import ScoreVersion


class ScoreView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a score as staff see it; points in thousandths, per item too."""

    submission_id: UUID
    score_version: int
    unit_id: UUID
    person: str
    cause: str
    remediation_id: UUID | None
    application: int | None
    points_milli: int
    max_points_milli: int
    passed: bool
    items: dict[str, int]
    recorded_at: datetime


class ScorePage(msgspec.Struct, frozen=True):
    """A page of newest scores; ``next`` is the ``after`` of the following page, null on the last."""

    scores: tuple[ScoreView, ...]
    next: UUID | None


class ScoreHistory(msgspec.Struct, frozen=True):
    """Every version of a submission's score, oldest first."""

    versions: tuple[ScoreView, ...]


class Result(msgspec.Struct, frozen=True):
    """A candidate's own result: the newest score, without what each item earned."""

    submission_id: UUID
    score_version: int
    points_milli: int
    max_points_milli: int
    passed: bool
    recorded_at: datetime


class Results(msgspec.Struct, frozen=True):
    """A candidate's own results."""

    results: tuple[Result, ...]


@get("/api/v1/assessment/my/results", opt={"capability": Capability.ATTEMPT_TAKE})
async def list_own_results(tenant_scope: Scope, runtime: Runtime) -> Results:
    """Show one's own results."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.newest_of_person(tx, tenant_scope.actor)
    return Results(
        tuple(
            Result(
                row.submission_id,
                row.score_version,
                row.score.points_milli,
                row.score.max_points_milli,
                row.score.passed,
                row.recorded_at,
            )
            for row in found
        )
    )


@get("/api/v1/assessment/scores", opt={"capability": Capability.SCORE_READ})
async def list_scores(
    tenant_scope: Scope,
    runtime: Runtime,
    *,
    evaluation_id: UUID | None = None,
    version: AnyVersion = None,
    after: UUID | None = None,
    limit: PageSize = 100,
) -> ScorePage:
    """List newest scores in scope, by submission id."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.list_newest(tx, evaluation_id=evaluation_id, version=version, after=after, limit=limit + 1)
    page = found[:limit]
    return ScorePage(tuple(map(_view, page)), page[-1].submission_id if len(found) > limit else None)


@get("/api/v1/assessment/submissions/{submission_id:uuid}/scores", opt={"capability": Capability.SCORE_READ})
async def get_score_history(tenant_scope: Scope, runtime: Runtime, submission_id: UUID) -> ScoreHistory:
    """Show every version of a submission's score; not found until it is scored."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.history(tx, submission_id)
    if not found:
        raise NotFound
    return ScoreHistory(tuple(map(_view, found)))


def _view(row: ScoreVersion) -> ScoreView:
    return ScoreView(
        submission_id=row.submission_id,
        score_version=row.score_version,
        unit_id=row.org_unit_id,
        person=row.person,
        cause=row.cause.value,
        remediation_id=row.remediation.remediation_id if row.remediation else None,
        application=row.remediation.application if row.remediation else None,
        points_milli=row.score.points_milli,
        max_points_milli=row.score.max_points_milli,
        passed=row.score.passed,
        items=row.score.items,
        recorded_at=row.recorded_at,
    )
