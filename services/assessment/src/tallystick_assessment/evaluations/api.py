"""Authors' routes: publish an evaluation, read it with its keys, release it to org units."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_assessment.cipher import Cipher
from tallystick_assessment.errors import perform
from tallystick_assessment.evaluations import commands, store
from tallystick_assessment.evaluations.document import Alignment, EvaluationDocument
from tallystick_assessment.parameters import Version
from tallystick_assessment.questions.items import Item
from tallystick_assessment.questions.store import questions_of


class ReleaseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The org units that shall get the paper."""

    unit_ids: Annotated[tuple[UUID, ...], msgspec.Meta(min_length=1, max_length=500)]


class EvaluationSummary(msgspec.Struct, frozen=True):
    """An evaluation in the list, with its newest version."""

    evaluation_id: UUID
    slug: str
    version: int
    published_at: datetime


class EvaluationList(msgspec.Struct, frozen=True):
    """Every evaluation in scope."""

    evaluations: tuple[EvaluationSummary, ...]


class EvaluationView(msgspec.Struct, frozen=True, kw_only=True):
    """An evaluation version as an author sees it: items with their keys, and the units that have its paper."""

    evaluation_id: UUID
    version: int
    slug: str
    title: str
    language: str
    pass_mark_percent: int
    time_limit_s: int
    max_points_milli: int
    alignments: tuple[Alignment, ...]
    items: tuple[Item, ...]
    released_to: tuple[UUID, ...]


@post("/api/v1/assessment/evaluations", opt={"capability": Capability.EVALUATION_WRITE})
async def post_evaluation(
    request: Request[Any, Any, Any], tenant_scope: Scope, cipher: Cipher, data: EvaluationDocument
) -> Response[commands.Published]:
    """Publish a document as the next version of the evaluation with its short name."""
    return await perform(request, tenant_scope, lambda tx: commands.publish_evaluation(tx, cipher, data), status=201)


@get("/api/v1/assessment/evaluations", opt={"capability": Capability.EVALUATION_READ})
async def list_evaluations(tenant_scope: Scope, runtime: Runtime) -> EvaluationList:
    """List evaluations."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await store.list_evaluations(tx)
    return EvaluationList(tuple(EvaluationSummary(*row) for row in found))


@get("/api/v1/assessment/evaluations/{evaluation_id:uuid}", opt={"capability": Capability.EVALUATION_READ})
async def get_evaluation(tenant_scope: Scope, runtime: Runtime, cipher: Cipher, evaluation_id: UUID) -> EvaluationView:
    """Show the newest version of an evaluation."""
    return await _view(tenant_scope, runtime, cipher, evaluation_id)


@get(
    "/api/v1/assessment/evaluations/{evaluation_id:uuid}/versions/{version:int}",
    opt={"capability": Capability.EVALUATION_READ},
)
async def get_evaluation_version(
    tenant_scope: Scope, runtime: Runtime, cipher: Cipher, evaluation_id: UUID, version: Version
) -> EvaluationView:
    """Show one version of an evaluation."""
    return await _view(tenant_scope, runtime, cipher, evaluation_id, version)


@post(
    "/api/v1/assessment/evaluations/{evaluation_id:uuid}/versions/{version:int}/releases",
    opt={"capability": Capability.EVALUATION_WRITE},
    status_code=200,
)
async def post_release(
    request: Request[Any, Any, Any],
    *,
    tenant_scope: Scope,
    cipher: Cipher,
    evaluation_id: UUID,
    version: Version,
    data: ReleaseRequest,
) -> Response[commands.Released]:
    """Release a version to org units."""
    return await perform(
        request,
        tenant_scope,
        lambda tx: commands.release_evaluation(tx, cipher, evaluation_id, version, data.unit_ids),
    )


async def _view(
    scope: Scope, runtime: Runtime, cipher: Cipher, evaluation_id: UUID, version: int | None = None
) -> EvaluationView:
    async with runtime.database.transaction(scope) as tx:
        snapshot = await store.snapshot_of(tx, evaluation_id, version)
        if snapshot is None:
            raise NotFound
        questions = await questions_of(tx, cipher, snapshot)
        released = await store.released_units(tx, evaluation_id, snapshot.version)
    return EvaluationView(
        evaluation_id=evaluation_id,
        version=snapshot.version,
        slug=snapshot.slug,
        title=snapshot.title,
        language=snapshot.language,
        pass_mark_percent=snapshot.pass_mark_percent,
        time_limit_s=snapshot.time_limit_s,
        max_points_milli=snapshot.max_points_milli,
        alignments=snapshot.alignments,
        items=tuple(question.item for question in questions),
        released_to=tuple(sorted(released)),
    )
