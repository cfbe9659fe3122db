"""The compliance API's view of erasures: what was ordered, who has answered, when it is final."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get
from litestar.params import Parameter
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_contracts.capabilities import Capability

from tallystick_privacy_worker.erasure import store
from tallystick_privacy_worker.erasure.domain import Receipt, missing_services
from tallystick_privacy_worker.erasure.store import ErasureJob

MAX_PAGE = 200
DEFAULT_PAGE = 50


class ErasureSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One erasure in the list."""

    job_id: UUID
    person: str
    state: str
    ordered_at: datetime
    completed_at: datetime | None
    irrecoverable_after: date | None


class StoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one store of one service reported."""

    service: str
    store: str
    outcome: str
    items: int
    given_at: datetime


class ErasureDetail(ErasureSummary, frozen=True, kw_only=True):
    """One erasure with its receipts; ``waiting_for`` names the services that have not answered."""

    receipts: tuple[StoreReport, ...]
    waiting_for: tuple[str, ...]


class ErasurePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of erasures; ``next`` is the ``after`` of the following page, absent on the last."""

    items: tuple[ErasureSummary, ...]
    next: UUID | None


def _summary(job: ErasureJob) -> dict[str, object]:
    return {
        "job_id": job.job_id,
        "person": job.person,
        "state": job.state.value,
        "ordered_at": job.ordered_at,
        "completed_at": job.completed_at,
        "irrecoverable_after": job.irrecoverable_after,
    }


def _report(receipt: Receipt) -> StoreReport:
    return StoreReport(
        service=receipt.service,
        store=receipt.store,
        outcome=receipt.outcome.removeprefix("ERASURE_OUTCOME_").lower(),
        items=receipt.items,
        given_at=receipt.given_at,
    )


@get("/api/v1/compliance/erasures", opt={"capability": Capability.PRIVACY_MANAGE})
async def list_erasures(
    tenant_scope: Scope,
    runtime: Runtime,
    after: UUID | None = None,
    limit: Annotated[int, Parameter(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
) -> ErasurePage:
    """List erasures by job id."""
    async with runtime.database.transaction(tenant_scope) as tx:
        jobs = await store.list_jobs(tx, after=after, limit=limit + 1)
    page = jobs[:limit]
    return ErasurePage(
        items=tuple(ErasureSummary(**_summary(job)) for job in page),  # type: ignore[arg-type] # one shape, written once
        next=page[-1].job_id if len(jobs) > limit else None,
    )


@get("/api/v1/compliance/erasures/{job_id:uuid}", opt={"capability": Capability.PRIVACY_MANAGE})
async def get_erasure(tenant_scope: Scope, runtime: Runtime, job_id: UUID) -> ErasureDetail:
    """Show one erasure with every store's receipt."""
    async with runtime.database.transaction(tenant_scope) as tx:
        job = await store.get_job(tx, job_id)
        if job is None:
            raise NotFound
        receipts = await store.receipts_of(tx, job_id)
    waiting = sorted(missing_services(receipts)) if job.completed_at is None else []
    return ErasureDetail(
        **_summary(job),  # type: ignore[arg-type] # one shape, written once
        receipts=tuple(_report(receipt) for receipt in receipts),
        waiting_for=tuple(waiting),
    )
