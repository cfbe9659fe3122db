"""``python -m tallystick_ledger export``: the operator's way to a log, the platform's own included.

It writes what an auditor's export has (``entries.ndjson``, ``checkpoint``, ``ledger.vkey``), under row-level security,
for one tenant. The checkpoint is written last, so that a folder without one is an unfinished export.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import directory_tenants

from tallystick_ledger.exports.api import CHECKPOINT, ENTRIES, VKEY, write_vkeys
from tallystick_ledger.exports.preparing import LINES_AT_ONCE
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.place import open_marks
from tallystick_ledger.reading.store import get_checkpoint, get_lines, list_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.service import Runtime

    from tallystick_ledger.logs.domain import Log

PLATFORM = "platform"
_REFUSED = 1


async def export(runtime: Runtime, arguments: Sequence[str]) -> int:
    """Write every log of a tenant, one folder each (``compliance``, ``audit-2026-11``); 1 if there is none."""
    parser = argparse.ArgumentParser(prog="export", description=__doc__)
    parser.add_argument("--tenant", required=True, help=f"the tenant's short name or id, or `{PLATFORM}`")
    parser.add_argument("--out", required=True, type=Path, help="a folder; what is in the way is not overwritten")
    asked = parser.parse_args(list(arguments))
    tenant = await find_tenant(runtime, asked.tenant)
    if tenant is None:
        sys.stderr.write("tallystick: there is no such tenant\n")
        return _REFUSED
    scope = Scope.for_duty(tenant, runtime.service)
    async with runtime.database.transaction(scope) as tx:
        logs = [log for log in await list_logs(tx) if log.size and log.dropped_at is None]
    if not logs:
        sys.stderr.write("tallystick: this tenant has no entries\n")
        return _REFUSED
    guard = HighWaterGuard(open_marks(runtime.settings))
    for log in logs:
        folder = asked.out / log.origin.rsplit("/", 1)[1]
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            sys.stderr.write(f"tallystick: cannot make {folder}: {error.strerror}\n")
            return _REFUSED
        await _write(runtime, scope, log, folder, guard)
        sys.stdout.write(f"{folder}\n")
    return 0


async def find_tenant(runtime: Runtime, named: str) -> TenantId | None:
    """Return the tenant of a short name or id, or the platform's own; `None` if there is none."""
    if named == PLATFORM:
        return PLATFORM_TENANT
    with suppress(ValueError):
        return TenantId(UUID(named))
    async with runtime.duty.duty() as connection:
        found = await connection.execute(select(directory_tenants.c.tenant_id).where(directory_tenants.c.slug == named))
        return found.scalar_one_or_none()


async def _write(runtime: Runtime, scope: Scope, log: Log, folder: Path, guard: HighWaterGuard) -> None:
    with (folder / ENTRIES).open("wb") as entries:
        for start in range(0, log.size, LINES_AT_ONCE):
            async with runtime.database.transaction(scope) as tx:
                lines = await get_lines(tx, log, start, min(start + LINES_AT_ONCE, log.size))
            entries.writelines(line.line + b"\n" for line in lines)
    async with runtime.database.transaction(scope) as tx:
        checkpoint = await get_checkpoint(tx, log, log.size)
        await guard.show(tx, log, checkpoint.head)
        vkeys = await write_vkeys(tx, log, runtime.settings.ledger_key)
    (folder / VKEY).write_text(vkeys, encoding="utf-8")
    (folder / CHECKPOINT).write_text(checkpoint.note, encoding="utf-8")
