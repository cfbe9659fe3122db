"""Staff's view of what was handed in: hashes and the frozen snapshot, never an answer."""

from datetime import datetime
from uuid import UUID

import msgspec
from litestar import get
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_assessment.evaluations.domain import Snapshot
from tallystick_assessment.evaluations.store import read_snapshot
from tallystick_assessment.parameters import AnyVersion, PageSize
from tallystick_assessment.submissions import store


class SubmissionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A submission in the list."""

    submission_id: UUID
    unit_id: UUID
    attempt_id: UUID
    person: str
    evaluation_id: UUID
    version: int
    snapshot_hash: str
    response_root: str
    finalised_at: datetime


class SubmissionDetail(SubmissionSummary, frozen=True, kw_only=True):
    """A submission with the snapshot it was taken under."""

    snapshot: Snapshot


class SubmissionPage(msgspec.Struct, frozen=True):
    """A page of submissions; ``next`` is the ``after`` of the following page, null on the last."""

    submissions: tuple[SubmissionSummary, ...]
    next: UUID | None


@get("/api/v1/assessment/submissions", opt={"capability": Capability.SUBMISSION_READ})
async def list_submissions(
    tenant_scope: Scope,
    runtime: Runtime,
    *,
    evaluation_id: UUID | None = None,
    version: AnyVersion = None,
    after: UUID | None = None,
    limit: PageSize = 100,
) -> SubmissionPage:
    """List submissions in scope, by id."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.list_submissions(
            tx, evaluation_id=evaluation_id, version=version, after=after, limit=limit + 1
        )
    page = found[:limit]
    return SubmissionPage(tuple(map(_summary, page)), page[-1].id if len(found) > limit else None)


@get("/api/v1/assessment/submissions/{submission_id:uuid}", opt={"capability": Capability.SUBMISSION_READ})
async def get_submission(tenant_scope: Scope, runtime: Runtime, submission_id: UUID) -> SubmissionDetail:
    """Show one submission with its frozen snapshot."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.submission_of(tx, submission_id)
    if found is None:
        raise NotFound
    return SubmissionDetail(**msgspec.structs.asdict(_summary(found)), snapshot=read_snapshot(found.snapshot))


def _summary(row: store.Submission) -> SubmissionSummary:
    return SubmissionSummary(
        submission_id=row.id,
        unit_id=row.org_unit_id,
        attempt_id=row.attempt_id,
        person=row.person,
        evaluation_id=row.evaluation_id,
        version=row.version,
        snapshot_hash=row.snapshot_hash,
        response_root=row.response_root,
        finalised_at=row.finalised_at,
    )
