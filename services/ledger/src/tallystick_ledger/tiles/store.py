"""The switch that opens a log, and the public look-up.

The look-up knows no tenant: it goes through one function that finds a log by its exact id, if that log is published
(docs/adr/0022-open-logs.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from tallystick_chassis.ids import TenantId

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log

_FIND_OPEN = text("select ledger.find_open_log(:log)")
_IS_PUBLISHED = text("select published_at is not null from ledger.logs where tenant_id = :tenant and id = :log")
_PUBLISH = text("""
update ledger.logs set published_at = :now where tenant_id = :tenant and id = :log and published_at is null
""")
_WITHDRAW = text("""
update ledger.logs set published_at = null where tenant_id = :tenant and id = :log and published_at is not null
""")


async def find_open(connection: AsyncConnection, log: UUID) -> TenantId | None:
    """Return whose log this is, if it is published; closed and missing are the same ``None``."""
    found = (await connection.execute(_FIND_OPEN, {"log": log})).scalar()
    return None if found is None else TenantId(found)


async def is_published(tx: Transaction, log: Log) -> bool:
    """Say whether anybody may read the log's checkpoint and hash tiles."""
    return bool((await tx.execute(_IS_PUBLISHED, {"tenant": log.tenant, "log": log.id})).scalar())


async def publish(tx: Transaction, log: Log, now: datetime) -> bool:
    """Open the log; say whether it was closed."""
    return (await tx.execute(_PUBLISH, {"tenant": log.tenant, "log": log.id, "now": now})).rowcount == 1


async def withdraw(tx: Transaction, log: Log) -> bool:
    """Close the log; say whether it was open."""
    return (await tx.execute(_WITHDRAW, {"tenant": log.tenant, "log": log.id})).rowcount == 1
