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

from tallystick_ledger.errors import LogDropped, LogFrozen
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
    """Write every log of a tenant, a folder each (``compliance``, ``audit-2026-11``); 1 if not all, or none."""
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
    status = 0
    for log in logs:
        folder = asked.out / log.origin.rsplit("/", 1)[1]
        try:
            await _write(runtime, scope, log, folder, guard)
        except OSError as error:
            sys.stderr.write(f"tallystick: cannot write to {folder}: {error.strerror or error}\n")
            return _REFUSED
        except (LogFrozen, LogDropped) as refused:
            # The others are wanted all the same.
            sys.stderr.write(f"tallystick: {log.origin} is not exported. {refused.title}\n")
            status = _REFUSED
        else:
            sys.stdout.write(f"{folder}\n")
    return status


async def find_tenant(runtime: Runtime, named: str) -> TenantId | None:
    """Return the tenant of a short name or id, or the platform's own; `None` if there is none."""
    if named == PLATFORM:
        return PLATFORM_TENANT
    with suppress(ValueError):
        return TenantId(UUID(named))
    async with runtime.duty.duty() as connection:
        found = await connection.execute(select(directory_tenants.c.tenant_id).where(directory_tenants.c.slug == named))
        return found.scalar_one_or_none()


def _make(folder: Path) -> None:
    folder.mkdir(parents=True)


def _take_back(folder: Path) -> None:
    (folder / ENTRIES).unlink()
    folder.rmdir()


async def _write(runtime: Runtime, scope: Scope, log: Log, folder: Path, guard: HighWaterGuard) -> None:
    async with runtime.database.transaction(scope) as tx:
        checkpoint = await get_checkpoint(tx, log, log.size)
        await guard.show(tx, log, checkpoint.head)
        vkeys = await write_vkeys(tx, log, runtime.settings.ledger_key)
    _make(folder)
    with (folder / ENTRIES).open("wb") as entries:
        for start in range(0, log.size, LINES_AT_ONCE):
            until = min(start + LINES_AT_ONCE, log.size)
            async with runtime.database.transaction(scope) as tx:
                lines = await get_lines(tx, log, start, until)
            if len(lines) != until - start:
                # Dropped after its retention while it was written: nobody is to take what is left for a damaged log.
                _take_back(folder)
                raise LogDropped
            entries.writelines(line.line + b"\n" for line in lines)
    (folder / VKEY).write_text(vkeys, encoding="utf-8")
    (folder / CHECKPOINT).write_text(checkpoint.note, encoding="utf-8")
