"""Erasure jobs and the receipts they collect."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.ids import TenantId

from tallystick_privacy_worker.erasure.domain import JobState, Receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

_COLUMNS = (
    "id as job_id, person, key_id, org_unit_id, state, correlation, ordered_at, completed_at, irrecoverable_after"
)
_INSERT = text(
    "insert into privacy.erasure_jobs (tenant_id, id, person, key_id, org_unit_id, state, correlation, ordered_at) "
    "values (:tenant, :job_id, :person, :key_id, :unit, 'ordered', :correlation, :now) on conflict do nothing"
)
_GET = text(f"select {_COLUMNS} from privacy.erasure_jobs where tenant_id = :tenant and id = :job_id")  # noqa: S608 - constant
_LOCK = text(f"{_GET.text} for update")
_LIST = text(
    f"select {_COLUMNS} from privacy.erasure_jobs where tenant_id = :tenant "  # noqa: S608 - constant
    "and (cast(:after as uuid) is null or id > :after) order by id limit :limit"
)
_SET_STATE = text(
    "update privacy.erasure_jobs "
    "set state = :state, completed_at = :completed_at, irrecoverable_after = :irrecoverable "
    "where tenant_id = :tenant and id = :job_id"
)
_ADD_RECEIPT = text(
    "insert into privacy.erasure_receipts (tenant_id, job_id, service, store, outcome, items, given_at) "
    "values (:tenant, :job_id, :service, :store, :outcome, :items, :given_at) on conflict do nothing"
)
_RECEIPTS = text(
    "select service, store, outcome, items, given_at from privacy.erasure_receipts "
    "where tenant_id = :tenant and job_id = :job_id order by service, store"
)
_OPEN = text(
    "select tenant_id, id as job_id, correlation, ordered_at from privacy.erasure_jobs where state <> 'complete' "
    "order by tenant_id, id"
)


@dataclass(frozen=True, slots=True)
class ErasureJob:
    """One person's erasure as it stands."""

    job_id: UUID
    person: str
    key_id: str
    org_unit_id: UUID
    state: JobState
    correlation: str
    ordered_at: datetime
    completed_at: datetime | None
    irrecoverable_after: date | None


@dataclass(frozen=True, slots=True)
class OpenJob:
    """Where an unfinished job is to be found."""

    tenant: TenantId
    job_id: UUID
    correlation: str
    ordered_at: datetime


def _job(row: object) -> ErasureJob:
    values = row._asdict()  # type: ignore[attr-defined] # a SQLAlchemy Row
    return ErasureJob(**(values | {"state": JobState(values["state"])}))


async def insert_job(tx: Transaction, job: ErasureJob) -> bool:
    """Store a new job; ``False`` if this job, or one for this person, is there already."""
    result = await tx.execute(
        _INSERT,
        {
            "tenant": tx.scope.tenant,
            "job_id": job.job_id,
            "person": job.person,
            "key_id": job.key_id,
            "unit": job.org_unit_id,
            "correlation": job.correlation,
            "now": job.ordered_at,
        },
    )
    return result.rowcount == 1


async def get_job(tx: Transaction, job_id: UUID, *, lock: bool = False) -> ErasureJob | None:
    """Return a job of the scope's tenant and units, or ``None``; ``lock`` keeps others from taking a step meanwhile."""
    row = (await tx.execute(_LOCK if lock else _GET, {"tenant": tx.scope.tenant, "job_id": job_id})).first()
    return None if row is None else _job(row)


async def list_jobs(tx: Transaction, *, after: UUID | None, limit: int) -> list[ErasureJob]:
    """Return jobs by id, from after ``after``."""
    rows = await tx.execute(_LIST, {"tenant": tx.scope.tenant, "after": after, "limit": limit})
    return [_job(row) for row in rows]


async def set_state(
    tx: Transaction,
    job_id: UUID,
    state: JobState,
    *,
    completed_at: datetime | None = None,
    irrecoverable_after: date | None = None,
) -> None:
    """Move a job on."""
    await tx.execute(
        _SET_STATE,
        {
            "tenant": tx.scope.tenant,
            "job_id": job_id,
            "state": state.value,
            "completed_at": completed_at,
            "irrecoverable": irrecoverable_after,
        },
    )


async def add_receipts(tx: Transaction, job_id: UUID, receipts: Sequence[Receipt]) -> None:
    """Keep what a service reported; the first report of a store counts."""
    for receipt in receipts:
        await tx.execute(
            _ADD_RECEIPT,
            {
                "tenant": tx.scope.tenant,
                "job_id": job_id,
                "service": receipt.service,
                "store": receipt.store,
                "outcome": receipt.outcome,
                "items": receipt.items,
                "given_at": receipt.given_at,
            },
        )


async def receipts_of(tx: Transaction, job_id: UUID) -> tuple[Receipt, ...]:
    """Return a job's receipts, by service and store."""
    rows = await tx.execute(_RECEIPTS, {"tenant": tx.scope.tenant, "job_id": job_id})
    return tuple(Receipt(**row._asdict()) for row in rows)


async def open_jobs(connection: AsyncConnection) -> list[OpenJob]:
    """Return the unfinished jobs of all tenants (duty role)."""
    rows = await connection.execute(_OPEN)
    return [OpenJob(TenantId(row.tenant_id), row.job_id, row.correlation, row.ordered_at) for row in rows]
