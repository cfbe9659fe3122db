"""What docs/howto/back-up-and-restore.md tells an operator to type, on real servers: dumps, and an empty server."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

from tallystick_chassis.database import Database
from tallystick_chassis.process import make_runtime
from tallystick_chassis.self_test import self_test
from tallystick_chassis.settings import load_settings
from tallystick_cli.stack.database_setup import run_sql
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.postgres import SUPERUSER
from tallystick_cli.stack.services import database_password, database_role
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName
from tallystick_identity.app import SERVICE as IDENTITY
from tallystick_identity.bootstrap import create_tenant
from tallystick_identity.settings import IdentitySettings

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick_cli.stack.postgres import Postgres
    from tallystick_cli.stack.temporary import Databases


class Server:
    """A Postgres, and its programs as somebody types them who has the superuser's password."""

    def __init__(self, postgres: Postgres, password: str, ca_file: Path) -> None:
        self.postgres, self.password = postgres, password
        self._environment = {
            "PATH": os.defpath,
            "PGHOST": LOOPBACK,
            "PGPORT": str(postgres.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": password,
            "PGSSLMODE": "verify-ca",
            "PGSSLROOTCERT": str(ca_file),
        }

    def run(self, program: str, *arguments: object) -> str:
        done = subprocess.run(
            [self.postgres.home.binaries / program, *map(str, arguments)],
            check=False,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout

    def content(self, database: str) -> tuple[list[str], list[str], str]:
        """Return the definitions, the rows, and who may connect."""
        # Since 17.6 a dump is framed by a word that is different each time.
        definitions, rows = (
            [line for line in self.run("pg_dump", kind, database).splitlines() if "restrict " not in line[:13]]
            for kind in ("--schema-only", "--data-only")
        )
        connect = self.run(
            "psql", "-tAc", "select datacl from pg_database where datname = current_database()", database
        )
        return definitions, sorted(rows), connect


def test_dumps_restore_on_an_empty_server_with_rows_roles_and_every_guard(
    migrated_databases: Databases, tmp_path: Path
) -> None:
    servers = migrated_databases.servers
    asyncio.run(_people(migrated_databases))
    before = Server(servers.postgres, servers.postgres.password, servers.layout.ca_file)
    names = migrated_databases.name, migrated_databases.keys_name

    roles = tmp_path / "roles.sql"
    roles.write_text(before.run("pg_dumpall", "--roles-only"))
    for name in names:
        before.run("pg_dump", "--format=custom", "--create", "--file", tmp_path / f"{name}.dump", name)

    with running_servers() as empty:
        new = empty.servers
        first = Server(new.postgres, new.postgres.password, new.layout.ca_file)
        first.run("psql", "--quiet", "--dbname", "postgres", "--file", roles)
        after = Server(new.postgres, before.password, new.layout.ca_file)  # a role like the others
        for name in names:
            after.run("pg_restore", "--create", "--exit-on-error", "--dbname", "postgres", tmp_path / f"{name}.dump")
        for name in names:
            assert after.content(name) == before.content(name)
        assert any("identity" in line for line in after.content(names[0])[0])
        asyncio.run(_examine(migrated_databases, new.postgres, new.layout.ca_file))


async def _examine(before: Databases, restored: Postgres, ca_file: Path) -> None:
    """Look at the restored database as each service does before it serves, with the passwords that it had."""
    for service in ServiceName:
        guards: Any = importlib.import_module(f"{SERVICE_PACKAGES[service]}.app").SERVICE.guards
        role = database_role(service, "app")
        dsn = restored.dsn(before.name, role=role, password=database_password(before.servers.layout, role))
        database = Database(dsn, service, ca_file=ca_file)
        try:
            await self_test(database, guards)
        finally:
            await database.dispose()


async def _people(databases: Databases) -> None:
    settings = load_settings(IdentitySettings, databases.environment(ServiceName.IDENTITY))
    runtime = make_runtime(IDENTITY, settings)
    try:
        await create_tenant(runtime, slug="north", name="North")
    finally:
        await runtime.close()
    assert run_sql(databases.servers, databases.name, ["select slug from identity.tenants"]).split().count("north") == 1
