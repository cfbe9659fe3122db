"""The operator's part: `tally` commands, and what the databases hold."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_cli.cluster.steps import require
from tallystick_cli.stack import boot, database_setup, state
from tallystick_cli.stack.services import DATABASE
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from tallystick_cli.stack.layout import Layout


TALLY = Path(sys.executable).with_name("tally")


class Stored(msgspec.Struct, frozen=True):
    """An event in a service's store: its id, the Idempotency-Key of the command that made it, its correlation id."""

    id: str
    key: str | None
    correlation: str


async def tally(*arguments: str) -> str:
    """Run the command that an operator or auditor would type and return what it printed.

    Raises:
        StepFailed: with what it said, if it did not end with 0.
    """
    process = await asyncio.create_subprocess_exec(
        TALLY, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    require(process.returncode == 0, f"`tally {' '.join(arguments)}` ended with {process.returncode}: {err.decode()}")
    return out.decode()


def query(layout: Layout, statement: str) -> str:
    """Run one statement as the database's superuser; return the rows as lines."""
    servers = boot.describe(layout, state.read(layout))
    return database_setup.run_sql(servers, DATABASE, [statement])


def stored_events(layout: Layout) -> list[Stored]:
    """Return every event of every service's store, as the database has it."""
    select = " union all ".join(
        f"select event_id, idempotency_key, correlation from {service}.events"  # noqa: S608 - constants
        for service in ServiceName
    )
    rows = query(
        layout,
        "select json_build_array(event_id, idempotency_key, correlation)::text from (" + select + ") as stored",  # noqa: S608 - constants
    )
    return [Stored(*msgspec.json.decode(line)) for line in rows.splitlines() if line]


def platform_entry_types(layout: Layout, correlation: str) -> list[str]:
    """Return the types of the platform's ledger entries with a correlation id (hexadecimal)."""
    where = f"tenant_id = '{PLATFORM_TENANT}' and correlation = '{correlation}'"
    return query(layout, f"select type from ledger.entries where {where}").split()  # noqa: S608 - ids of our own making
