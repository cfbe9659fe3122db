"""A candidate's routes. Whoever is not the attempt's person gets the answer of an attempt that does not exist."""

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post, put
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_assessment.attempts import commands
from tallystick_assessment.attempts.commands import AttemptView
from tallystick_assessment.cipher import Cipher
from tallystick_assessment.errors import perform
from tallystick_assessment.questions.items import ItemId

USER_AGENT_MAX: Final = 500


class StartRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which assignment is started."""

    assignment_id: UUID


class AnswerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A response in the form that its item asks for (``questions.responses.checked``)."""

    response: Any


@post("/api/v1/assessment/attempts", opt={"capability": Capability.ATTEMPT_TAKE, REFUSES: (NotFound,)})
async def post_attempt(
    request: Request[Any, Any, Any], tenant_scope: Scope, runtime: Runtime, cipher: Cipher, data: StartRequest
) -> Response[commands.Started]:
    """Start the attempt of an assignment, and its clock."""
    ip = request.client.host if request.client else "unknown"
    user_agent = request.headers.get("user-agent", "")[:USER_AGENT_MAX]
    return await perform(
        request,
        tenant_scope,
        lambda tx: commands.start_attempt(tx, cipher, runtime.sealer, data.assignment_id, ip=ip, user_agent=user_agent),
        status=201,
    )


@get("/api/v1/assessment/attempts/{attempt_id:uuid}", opt={"capability": Capability.ATTEMPT_TAKE})
async def get_attempt(tenant_scope: Scope, runtime: Runtime, cipher: Cipher, attempt_id: UUID) -> AttemptView:
    """Show one's own attempt: the paper and what was saved."""
    async with runtime.database.transaction(tenant_scope) as tx:
        return await commands.view_attempt(tx, cipher, attempt_id)


@put(
    "/api/v1/assessment/attempts/{attempt_id:uuid}/answers/{item_id:str}",
    opt={"capability": Capability.ATTEMPT_TAKE},
)
async def put_answer(
    request: Request[Any, Any, Any],
    *,
    tenant_scope: Scope,
    cipher: Cipher,
    attempt_id: UUID,
    item_id: str,
    data: AnswerRequest,
) -> Response[commands.Answered]:
    """Save the answer to one item; a later one replaces it."""
    return await perform(
        request,
        tenant_scope,
        lambda tx: commands.answer_item(tx, cipher, attempt_id, ItemId(item_id), data.response),
    )


@post("/api/v1/assessment/attempts/{attempt_id:uuid}/submission", opt={"capability": Capability.ATTEMPT_TAKE})
async def post_submission(
    request: Request[Any, Any, Any], tenant_scope: Scope, cipher: Cipher, attempt_id: UUID
) -> Response[commands.Submitted]:
    """Hand the attempt in."""
    return await perform(request, tenant_scope, lambda tx: commands.submit_attempt(tx, cipher, attempt_id), status=201)
