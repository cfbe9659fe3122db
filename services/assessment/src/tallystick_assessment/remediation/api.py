"""Routes of remediations: propose with a dry run, look at the diff, apply, take back."""

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

from tallystick_assessment.cipher import Cipher
from tallystick_assessment.errors import perform
from tallystick_assessment.parameters import MAX_VERSION, Version
from tallystick_assessment.remediation import commands, store
from tallystick_assessment.remediation.domain import Change, Status


class ProposeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another key for one item, as the evaluation document spells it (for a short text: the accepted answers)."""

    evaluation_id: UUID
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    item_id: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    new_key: Any
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


class StepView(msgspec.Struct, frozen=True):
    """One application or reversal; ``affected`` submissions got a new score version."""

    kind: Status
    application: int
    affected: int
    actor: str
    at: datetime


class RemediationView(msgspec.Struct, frozen=True, kw_only=True):
    """A remediation with its dry run and its history."""

    remediation_id: UUID
    evaluation_id: UUID
    version: int
    item_id: str
    new_key: object
    reason: str
    proposed_at: datetime
    proposed_by: str
    status: Status
    application: int
    considered: int
    affected: int
    changed_pass: int
    diff_hash: str
    changes: tuple[Change, ...]
    steps: tuple[StepView, ...]


class RemediationList(msgspec.Struct, frozen=True):
    """The remediations of an evaluation version, oldest first."""

    remediation_ids: tuple[UUID, ...]


@post("/api/v1/assessment/remediations", opt={"capability": Capability.REMEDIATION_PROPOSE, REFUSES: (NotFound,)})
async def post_remediation(
    request: Request[Any, Any, Any], tenant_scope: Scope, runtime: Runtime, cipher: Cipher, data: ProposeRequest
) -> Response[commands.RemediationState]:
    """Work out what a new key would change, and keep it for review."""
    wish = commands.Wish(data.evaluation_id, data.version, data.item_id, data.new_key, data.reason)
    return await perform(
        request, tenant_scope, lambda tx: commands.propose(tx, cipher, runtime.sealer, wish), status=201
    )


@get("/api/v1/assessment/remediations", opt={"capability": Capability.REMEDIATION_PROPOSE})
async def list_remediations(
    tenant_scope: Scope, runtime: Runtime, evaluation_id: UUID, version: Version
) -> RemediationList:
    """List the remediations of an evaluation version."""
    async with runtime.database.transaction(tenant_scope) as tx:
        return RemediationList(tuple(await store.list_ids(tx, evaluation_id, version)))


@get("/api/v1/assessment/remediations/{remediation_id:uuid}", opt={"capability": Capability.REMEDIATION_PROPOSE})
async def get_remediation(
    tenant_scope: Scope, runtime: Runtime, cipher: Cipher, remediation_id: UUID
) -> RemediationView:
    """Show a remediation: the dry run's diff and every step since."""
    async with runtime.database.transaction(tenant_scope) as tx:
        proposal = await store.proposal_of(tx, cipher, remediation_id)
        if proposal is None:
            raise NotFound
        steps = await store.steps_of(tx, remediation_id)
    return RemediationView(
        remediation_id=proposal.id,
        evaluation_id=proposal.evaluation_id,
        version=proposal.version,
        item_id=proposal.item_id,
        new_key=proposal.new_key,
        reason=proposal.reason,
        proposed_at=proposal.proposed_at,
        proposed_by=proposal.proposed_by,
        status=steps[-1].kind if steps else Status.PROPOSED,
        application=steps[-1].application if steps else 0,
        considered=proposal.diff.considered,
        affected=len(proposal.diff.changes),
        changed_pass=proposal.diff.changed_pass,
        diff_hash=proposal.diff.diff_hash,
        changes=proposal.diff.changes,
        steps=tuple(StepView(step.kind, step.application, step.affected, step.actor, step.at) for step in steps),
    )


@post(
    "/api/v1/assessment/remediations/{remediation_id:uuid}/apply",
    opt={"capability": Capability.REMEDIATION_APPLY, "step_up": True},
    status_code=200,
)
async def post_apply(
    request: Request[Any, Any, Any], tenant_scope: Scope, cipher: Cipher, remediation_id: UUID
) -> Response[commands.RemediationState]:
    """Apply a remediation; again is no second effect."""
    return await perform(request, tenant_scope, lambda tx: commands.apply(tx, cipher, remediation_id))


@post(
    "/api/v1/assessment/remediations/{remediation_id:uuid}/revert",
    opt={"capability": Capability.REMEDIATION_APPLY, "step_up": True},
    status_code=200,
)
async def post_revert(
    request: Request[Any, Any, Any], tenant_scope: Scope, cipher: Cipher, remediation_id: UUID
) -> Response[commands.RemediationState]:
    """Take a remediation back; again is no second effect."""
    return await perform(request, tenant_scope, lambda tx: commands.revert(tx, cipher, remediation_id))
