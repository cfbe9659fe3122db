"""Routes of assignments: issue and list for staff, one's own for candidates."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_assessment.assignments import commands, store
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.errors import perform
from tallystick_assessment.evaluations.store import read_snapshot
from tallystick_assessment.parameters import MAX_VERSION, PageSize

Person = Annotated[str, msgspec.Meta(pattern=r"^p_[A-Za-z0-9_-]{22}$")]


class IssueRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version is assigned to whom."""

    evaluation_id: UUID
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    people: Annotated[tuple[Person, ...], msgspec.Meta(min_length=1, max_length=500)]


class AssignmentView(msgspec.Struct, frozen=True):
    """An assignment as staff see it."""

    assignment_id: UUID
    unit_id: UUID
    person: str
    evaluation_id: UUID
    version: int
    issued_at: datetime
    revoked_at: datetime | None


class AssignmentPage(msgspec.Struct, frozen=True):
    """A page of assignments; ``next`` is the ``after`` of the following page, null on the last."""

    assignments: tuple[AssignmentView, ...]
    next: UUID | None


class OwnAssignmentView(msgspec.Struct, frozen=True, kw_only=True):
    """An assignment as its candidate sees it."""

    assignment_id: UUID
    evaluation_id: UUID
    version: int
    slug: str
    title: str
    language: str
    time_limit_s: int
    issued_at: datetime
    attempt_id: UUID | None
    expires_at: datetime | None
    submitted_at: datetime | None


class OwnAssignments(msgspec.Struct, frozen=True):
    """A candidate's own assignments."""

    assignments: tuple[OwnAssignmentView, ...]


@post("/api/v1/assessment/assignments", opt={"capability": Capability.ASSIGNMENT_ISSUE, REFUSES: (NotFound,)})
async def post_assignments(
    request: Request[Any, Any, Any], tenant_scope: Scope, cipher: Cipher, data: IssueRequest
) -> Response[commands.Issued]:
    """Assign a version to people; it is released to their units where it is not yet."""
    return await perform(
        request,
        tenant_scope,
        lambda tx: commands.issue_assignments(tx, cipher, data.evaluation_id, data.version, data.people),
        status=201,
    )


@post(
    "/api/v1/assessment/assignments/{assignment_id:uuid}/revoke",
    opt={"capability": Capability.ASSIGNMENT_ISSUE},
    status_code=200,
)
async def post_assignment_revoke(
    request: Request[Any, Any, Any], tenant_scope: Scope, assignment_id: UUID
) -> Response[commands.Revoked]:
    """Take an assignment back that was not started."""
    return await perform(request, tenant_scope, lambda tx: commands.revoke_assignment(tx, assignment_id))


@get("/api/v1/assessment/assignments", opt={"capability": Capability.ASSIGNMENT_READ})
async def list_assignments(
    tenant_scope: Scope, runtime: Runtime, after: UUID | None = None, limit: PageSize = 100
) -> AssignmentPage:
    """List assignments in scope, by id."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.list_assignments(tx, after=after, limit=limit + 1)
    page = found[:limit]
    return AssignmentPage(tuple(AssignmentView(*row) for row in page), page[-1].id if len(found) > limit else None)


@get("/api/v1/assessment/my/assignments", opt={"capability": Capability.ATTEMPT_TAKE})
async def list_own_assignments(tenant_scope: Scope, runtime: Runtime) -> OwnAssignments:
    """List one's own assignments."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.own_assignments(tx, tenant_scope.actor)
    return OwnAssignments(tuple(_own(row) for row in found))


def _own(row: store.OwnAssignment) -> OwnAssignmentView:
    snapshot = read_snapshot(row.snapshot)
    return OwnAssignmentView(
        assignment_id=row.id,
        evaluation_id=snapshot.evaluation_id,
        version=snapshot.version,
        slug=snapshot.slug,
        title=snapshot.title,
        language=snapshot.language,
        time_limit_s=snapshot.time_limit_s,
        issued_at=row.issued_at,
        attempt_id=row.attempt_id,
        expires_at=row.expires_at,
        submitted_at=row.submitted_at,
    )
