"""Cross-tenant detection: whether an id that a request did not find belongs to another tenant.

The request itself cannot know and answers the same in both cases, at the same speed; it leaves a row in ``misses``.
This job looks the id up as the duty role, which may read ids of all tenants, and records an attempt in the platform's
log. In the log of the tenant that asked it would tell that another tenant exists and has this id.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Uuid, column, delete, select, table, union_all
from tallystick_contracts.generated.authz import CrossTenantAttempted

from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.scope import ALL_UNITS, Scope
from tallystick_chassis.tables import misses
from tallystick_chassis.transaction import ConcurrencyError, EventDraft

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from tallystick_chassis.database import Database, DutyDatabase

_BATCH: Final = 100

log = structlog.get_logger(__name__)


class MissChecker:
    """Looks misses up in ``miss_tables``, the service's tables with ``(tenant_id, id)``."""

    def __init__(self, *, database: Database, duty: DutyDatabase, miss_tables: Sequence[str]) -> None:
        """Remember where to look."""
        self._database = database
        self._duty = duty
        self._tables = [
            table(name, column("tenant_id", Uuid), column("id", Uuid), schema=database.service) for name in miss_tables
        ]

    async def step(self) -> bool:
        """Look up one batch of misses; say whether there may be more.

        An attempt is recorded before its miss is deleted, in a stream named after the miss: so once, whatever happens.
        """
        async with self._duty.glance() as connection:
            batch = (await connection.execute(select(misses).order_by(misses.c.position).limit(_BATCH))).all()
            foreign = [row for row in batch if await self._is_foreign(connection, row.tenant_id, row.id)]
        for row in foreign:
            await self._record(row)
        if batch:
            async with self._duty.duty() as connection:
                await connection.execute(delete(misses).where(misses.c.position.in_([row.position for row in batch])))
        return len(batch) == _BATCH

    async def _is_foreign(self, connection: AsyncConnection, tenant: UUID, wanted: UUID) -> bool:
        if not self._tables:
            return False
        owners = union_all(*(select(one.c.tenant_id).where(one.c.id == wanted) for one in self._tables)).subquery()
        found = await connection.execute(select(owners.c.tenant_id).where(owners.c.tenant_id != tenant).limit(1))
        return found.first() is not None

    async def _record(self, row: Row[Any]) -> None:
        scope = Scope(tenant=PLATFORM_TENANT, org_units=ALL_UNITS, actor=row.actor, correlation=row.correlation)
        attempted = CrossTenantAttempted(
            route=row.route,
            id_sha256=hashlib.sha256(str(row.id).encode()).hexdigest(),
            asking_tenant=str(row.tenant_id),
        )
        try:
            async with self._database.transaction(scope) as tx:
                await tx.append(f"cross_tenant-{row.position}", 0, [EventDraft(attempted)])
        except ConcurrencyError:
            return  # recorded before a crash
        log.warning(
            "cross_tenant_attempted", route=row.route, tenant=str(row.tenant_id), correlation_id=row.correlation
        )
