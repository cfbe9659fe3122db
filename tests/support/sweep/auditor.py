"""The house as an auditor sees it: its logs, its checks; and the superuser against whom they are made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tallystick_cli.main import app
from tallystick_cli.operator.actions import export_logs
from tallystick_cli.stack import boot, database_setup, state
from tallystick_cli.stack.services import DATABASE
from tallystick_contracts.topology import SERVICE_FOLDERS
from typer.testing import CliRunner

from sweep.house import eventually
from sweep.visitor import Call

if TYPE_CHECKING:
    from pathlib import Path

    from sweep.house import House

Found = dict[str, Any]
Sql = Callable[..., str]


def audit(*arguments: object) -> tuple[int, Found]:
    """Run a command of the auditor's with ``--json``; return its exit status and what it said."""
    result = CliRunner().invoke(app, ["audit", *(str(one) for one in arguments), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.stdout or result.exit_code == 1, result.stderr
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else {"said": result.stdout}


def superuser(house: House) -> Sql:
    """Return what runs statements as the database's superuser, every trigger and policy out of the way."""
    servers = boot.describe(house.layout, state.read(house.layout))

    def run(*statements: str) -> str:
        lawless = "set session_replication_role = replica"
        return database_setup.run_sql(servers, DATABASE, [lawless, *statements]).strip()

    return run


def export(house: House, out: Path) -> Path:
    """Export the first tenant's logs when all is delivered: ``compliance`` and this month's audit log."""
    tenant, sql = house.places["a"].tenant, superuser(house)
    waiting = " union all ".join(f"select 1 from {one}.outbox where tenant_id = '{tenant}'" for one in SERVICE_FOLDERS)
    eventually(lambda: sql(f"select count(*) from ({waiting}) o") == "0" or None, "delivery")
    assert export_logs(house.layout.root, tenant=tenant, out=out) == 0
    return out


def cookies_of(house: House, who: str) -> tuple[str, str]:
    """Return the option that puts somebody's session into the auditor's requests."""
    visitor = house.visitor(who)
    visitor.send(house.routes["identity GET /api/v1/identity/me"], Call())  # renews a session that is over
    return "--header", "Cookie: " + "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies.jar)


def reconcile(house: House, logs: Path, *, grace_s: float = 300) -> Found:
    """Compare all services with the logs, in the owner's session."""
    services = [
        option for name, folder in SERVICE_FOLDERS.items() for option in ("--service", f"{name}={house.urls[folder]}")
    ]
    status, found = audit(
        *("reconcile", logs, "--ca", house.layout.ca_file, "--grace", grace_s),
        *services,
        *cookies_of(house, "owner"),
    )
    assert status == (found["status"] != "agrees"), found
    return found
