"""The steps of an erasure: one transaction each, to be taken again after a crash, so the job goes on where it stood."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.envelope import format_time
from tallystick_contracts.generated.common import ErasureOutcome, StoreErasure
from tallystick_contracts.generated.privacy import (
    ErasureOrdered,
    ErasureReceiptGiven,
    StoreReceipt,
    UserAnonymised,
)

from tallystick_privacy_worker.erasure import store
from tallystick_privacy_worker.erasure.domain import JobState, Receipt, Step, irrecoverable_after, next_step
from tallystick_privacy_worker.erasure.store import ErasureJob
from tallystick_privacy_worker.keys.domain import fingerprint
from tallystick_privacy_worker.keys.store import key_of

if TYPE_CHECKING:
    from tallystick_chassis.ids import OrgUnitId, PersonRef
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.transaction import Transaction

OWN_STORE = "subject-key"


def _stream(job_id: UUID) -> str:
    return f"erasure:{job_id}"


async def order(tx: Transaction, *, job_id: UUID, person: PersonRef, key_id: str, unit: OrgUnitId) -> None:
    """Open the job and tell every service; ``job_id`` is the deletion's event id: one deletion makes one job."""
    job = ErasureJob(
        job_id=job_id,
        person=person,
        key_id=key_id,
        org_unit_id=unit,
        state=JobState.ORDERED,
        correlation=tx.scope.correlation,
        ordered_at=tx.clock(),
        completed_at=None,
        irrecoverable_after=None,
    )
    if not await store.insert_job(tx, job):
        return
    data = ErasureOrdered(job_id=str(job_id), person=person)
    await tx.append(_stream(job_id), 0, [EventDraft(data, subject=person, org_unit=unit)])


async def take_step(tx: Transaction, keys: KeyStore, job_id: UUID, *, backup_retention_days: int) -> bool:
    """Take the job's next step, if there is one; ``True`` when something was done."""
    job = await store.get_job(tx, job_id, lock=True)
    if job is None:
        return False
    receipts = await store.receipts_of(tx, job_id)
    step = next_step(job.state, receipts)
    if step is Step.DESTROY_KEY:
        # In the key store first, which is another database: destroying a destroyed key changes nothing.
        await keys.destroy(tx.scope.tenant, job.key_id)
        own = Receipt("privacy", OWN_STORE, ErasureOutcome.ERASED.value, 1, tx.clock())
        await store.add_receipts(tx, job_id, [own])
        erased = StoreErasure(name=OWN_STORE, items=1, outcome=ErasureOutcome.ERASED)
        given = ErasureReceiptGiven(job_id=str(job_id), person=job.person, stores=(erased,))
        await tx.append(_stream(job_id), 1, [_draft(job, given)])
        await store.set_state(tx, job_id, JobState.KEY_DESTROYED)
        return True
    if step is Step.RECORD:
        await _record(tx, job, receipts, backup_retention_days)
        return True
    return False


def _draft(job: ErasureJob, data: ErasureReceiptGiven | UserAnonymised) -> EventDraft:
    return EventDraft(data, subject=job.person, org_unit=job.org_unit_id)  # type: ignore[arg-type] # read back from the row


async def _record(tx: Transaction, job: ErasureJob, receipts: tuple[Receipt, ...], backup_retention_days: int) -> None:
    now = tx.clock()
    until = irrecoverable_after(now.date(), backup_retention_days)
    key = await key_of(tx, job.person)
    data = UserAnonymised(
        job_id=str(job.job_id),
        person=job.person,
        key_fingerprint=fingerprint(key.public_key) if key else "",
        receipts=tuple(
            StoreReceipt(store=f"{one.service}/{one.store}", at=format_time(one.given_at), items=one.items)
            for one in receipts
        ),
        irrecoverable_after=until.isoformat(),
    )
    await tx.append(_stream(job.job_id), 2, [_draft(job, data)])
    await store.set_state(tx, job.job_id, JobState.COMPLETE, completed_at=now, irrecoverable_after=until)
