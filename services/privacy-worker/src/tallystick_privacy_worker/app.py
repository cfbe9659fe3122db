"""The privacy worker's composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from tallystick_chassis.ids import TenantId
from tallystick_chassis.metric_catalogue import ERASURE_AGE, ERASURES_OPEN
from tallystick_chassis.metrics import age, gauge
from tallystick_chassis.rewrapping import rewrap_command
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Job, Runtime, Service, Wiring
from tallystick_chassis.spans import working_for
from tallystick_contracts.generated.privacy import OpeningKeyRotated

from tallystick_privacy_worker import consumers
from tallystick_privacy_worker.erasure import commands, store
from tallystick_privacy_worker.erasure.api import get_erasure, list_erasures
from tallystick_privacy_worker.keys.commands import ensure_tenant_keys, fill_pool
from tallystick_privacy_worker.settings import PrivacySettings
from tallystick_privacy_worker.state import KINDS

if TYPE_CHECKING:
    from tallystick_chassis.keystore import KeyStore

_TENANTS = text("select tenant_id from privacy.directory_tenants order by tenant_id")
_KEY_JOB_INTERVAL_S = 60.0


def _advance_erasures(runtime: Runtime, keys: KeyStore, settings: PrivacySettings) -> Job:
    async def step() -> bool:
        async with runtime.duty.duty() as connection:
            jobs = await store.open_jobs(connection)
        gauge(ERASURES_OPEN, len(jobs))
        if jobs:
            age(ERASURE_AGE, min(job.ordered_at for job in jobs).timestamp())
        else:
            gauge(ERASURE_AGE, 0)
        moved = False
        for job in jobs:
            scope = Scope.for_duty(job.tenant, runtime.service, correlation=job.correlation)
            with working_for(job.correlation):
                async with runtime.database.transaction(scope) as tx:
                    moved |= await commands.take_step(
                        tx, keys, job.job_id, backup_retention_days=settings.backup_retention_days
                    )
        return moved

    return Job("advance-erasures", step, interval_s=0.5)


def _mint_keys(runtime: Runtime, keys: KeyStore) -> Job:
    async def step() -> bool:
        async with runtime.duty.duty() as connection:
            tenants = [TenantId(row) for row in (await connection.execute(_TENANTS)).scalars()]
        for tenant in tenants:
            async with runtime.database.transaction(Scope.for_duty(tenant, runtime.service)) as tx:
                await ensure_tenant_keys(tx, keys, runtime.clock().date())
                await fill_pool(tx, keys)
        return False

    return Job("mint-keys", step, interval_s=_KEY_JOB_INTERVAL_S)


def wire(runtime: Runtime) -> Wiring:
    """Wire routes, handlers and jobs to one running process."""
    settings: PrivacySettings = runtime.settings
    keys = runtime.keys
    if keys is None:
        msg = "the privacy worker needs its key store"
        raise RuntimeError(msg)
    return Wiring(
        routes=(list_erasures, get_erasure),
        handlers=consumers.handlers(keys),
        jobs=(_advance_erasures(runtime, keys, settings), _mint_keys(runtime, keys)),
        miss_tables=("erasure_jobs",),
        state=KINDS,
    )


SERVICE = Service(
    name="privacy",
    package="tallystick_privacy_worker",
    settings=PrivacySettings,
    wire=wire,
    commands={"rewrap-keys": rewrap_command(OpeningKeyRotated)},
)
