"""The exports that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log

_ADD = text("""
insert into ledger.exports (tenant_id, org_unit_id, log_id, size, created_at)
values (:tenant, :tenant, :log, :size, :now)
on conflict do nothing
""")
_NEWEST = text("""
select max(size) from ledger.exports where tenant_id = :tenant and log_id = :log
""")
_EXISTS = text("""
select exists (select from ledger.exports where tenant_id = :tenant and log_id = :log and size = :size)
""")


async def add_export(tx: Transaction, log: Log, size: int, now: datetime) -> None:
    """Note that the log may be downloaded at ``size``."""
    await tx.execute(_ADD, {"tenant": log.tenant, "log": log.id, "size": size, "now": now})


async def newest_export(tx: Transaction, log: Log) -> int | None:
    """Return the size of the log's newest export."""
    size = (await tx.execute(_NEWEST, {"tenant": log.tenant, "log": log.id})).scalar()
    return None if size is None else int(size)


async def is_exported(tx: Transaction, log: Log, size: int) -> bool:
    """Say whether somebody has asked for the log at this size."""
    return bool((await tx.execute(_EXISTS, {"tenant": log.tenant, "log": log.id, "size": size})).scalar())
