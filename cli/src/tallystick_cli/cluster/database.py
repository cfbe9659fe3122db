"""Roles, databases and schemas of an installation, as an administrator of Postgres: printed, or done.

The administrator need not be a superuser: `createrole` and `createdb` are enough, as managed services give them.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
from tallystick_chassis.bootstrap import SERVICES_WITH_KEY_STORE, RolePasswords, login_kinds, role_sql, schema_sql
from tallystick_contracts.topology import ServiceName

from tallystick_cli.cluster.credentials import Held
from tallystick_cli.cluster.errors import ClusterError
from tallystick_cli.cluster.plan import FOLDERS

_DSN_OF = {"migrate": "migrate-dsn", "app": "dsn", "duty": "duty-dsn", "purge": "purge-dsn"}
_MAINTENANCE = "postgres"  # every server has it; operators' Secrets name odd databases or none
_RETRY_S = 1.0
_VARIABLE = "variable of psql: "
Passwords = Mapping[ServiceName, RolePasswords]


@dataclass(frozen=True, slots=True)
class Step:
    """Statements to be run one by one, connected to `database`; for `None` any database will do."""

    database: str | None
    statements: tuple[str, ...]


def steps(passwords: Passwords, *, database: str, keys_database: str) -> tuple[Step, ...]:
    """Return what makes roles and schemas in databases that exist; each statement may be run again."""
    roles = (line for each in ServiceName for line in role_sql(each, passwords[each]))
    main = (line for each in ServiceName for line in schema_sql(each, database))
    keys = (line for each in ServiceName if each in SERVICES_WITH_KEY_STORE for line in schema_sql(each, keys_database))
    return Step(None, tuple(roles)), Step(database, tuple(main)), Step(keys_database, tuple(keys))


def script(passwords: Passwords, *, database: str, keys_database: str) -> str:
    """Return all of it for `psql`, with the making of the databases."""
    lines = ["\\set ON_ERROR_STOP on", "set password_encryption = 'scram-sha-256';"]
    for step in steps(passwords, database=database, keys_database=keys_database):
        if step.database is not None:
            lines += [
                f"select 'create database \"{step.database}\"'",
                f"  where not exists (select from pg_database where datname = '{step.database}') \\gexec",
                f"\\connect {step.database}",
            ]
        lines += [f"{statement};" for statement in step.statements]
    return "\n".join(lines) + "\n"


def psql_variables() -> Passwords:
    """Return stand-ins for passwords, which `with_variables` turns into variables of psql."""
    return {
        each: RolePasswords(**{kind: f"{_VARIABLE}tally_{each}_{kind}" for kind in login_kinds(each)})
        for each in ServiceName
    }


def with_variables(text: str) -> str:
    """Make psql's variables of the stand-ins: the shell gives the passwords with `psql -v name=…`."""
    return text.replace(f"'{_VARIABLE}", ":'")


async def apply(
    admin_dsn: str, passwords: Passwords, *, database: str, keys_database: str, ca_file: Path, timeout_s: float
) -> None:
    """Do all of it as the administrator, waiting for the server for `timeout_s`.

    Raises:
        ClusterError: the server does not answer in time, or refuses a statement.
    """
    context = ssl.create_default_context(cafile=str(ca_file))
    first = await _connect(admin_dsn, _MAINTENANCE, context, timeout_s)
    try:
        for name in (database, keys_database):
            if not await first.fetchval("select exists (select from pg_database where datname = $1)", name):
                await first.execute(f'create database "{name}"')
    except asyncpg.PostgresError as error:
        raise _refused(error) from error
    finally:
        await first.close()
    for step in steps(passwords, database=database, keys_database=keys_database):
        connection = await _connect(admin_dsn, step.database or _MAINTENANCE, context, timeout_s)
        try:
            for statement in step.statements:
                await connection.execute(statement)
        except asyncpg.PostgresError as error:
            raise _refused(error) from error
        finally:
            await connection.close()


def passwords_from_folder(folder: Path) -> Passwords:
    """Read the roles' passwords out of the addresses in `folder/<service>/<…dsn>`, as the chart mounts them.

    Raises:
        ClusterError: a file is missing or holds no password.
    """

    def read(service: ServiceName, name: str) -> str:
        path = folder / FOLDERS[service] / name
        try:
            return path.read_text().strip()
        except OSError as error:
            msg = f"{path} cannot be read ({error.strerror}): the Secret of {FOLDERS[service]} lacks {name}"
            raise ClusterError(msg) from error

    return {each: _passwords(each, partial(read, each)) for each in ServiceName}


def passwords_from_objects(objects: Mapping[str, Held]) -> Passwords:
    """Read the roles' passwords out of Secrets, whatever these are called.

    Raises:
        ClusterError: an address is missing.
    """
    dsns = {
        urlsplit(value.decode().strip()).username: value.decode().strip()
        for held in objects.values()
        for name, value in held.data.items()
        if name in _DSN_OF.values()
    }

    def read(service: ServiceName, name: str) -> str:
        kind = next(kind for kind, dsn in _DSN_OF.items() if dsn == name)
        try:
            return dsns[f"tally_{service}_{kind}"]
        except KeyError:
            msg = f"no Secret holds {name} of {FOLDERS[service]} with the role tally_{service}_{kind}"
            raise ClusterError(msg) from None

    return {each: _passwords(each, partial(read, each)) for each in ServiceName}


def _passwords(service: ServiceName, read: Callable[[str], str]) -> RolePasswords:
    found = {kind: _password(read(_DSN_OF[kind]), service, kind) for kind in login_kinds(service)}
    return RolePasswords(**found)


def _password(dsn: str, service: ServiceName, kind: str) -> str:
    parts = urlsplit(dsn)
    if parts.username != f"tally_{service}_{kind}" or not parts.password:
        msg = f"{_DSN_OF[kind]} of {FOLDERS[service]} must name the role tally_{service}_{kind} and its password"
        raise ClusterError(msg)
    return unquote(parts.password)


async def _connect(dsn: str, database: str, context: ssl.SSLContext, timeout_s: float) -> asyncpg.Connection:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        try:
            return await asyncpg.connect(dsn, database=database, ssl=context, timeout=5)
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError, ssl.SSLError) as error:
            raise _refused(error) from error
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            if loop.time() > deadline:
                msg = f"database_unreachable: Postgres does not answer ({type(error).__name__}); see the admin DSN"
                raise ClusterError(msg) from error
            await asyncio.sleep(_RETRY_S)


def _refused(error: Exception) -> ClusterError:
    # Postgres' message names objects; a statement's text, which may hold a password, is not in it.
    return ClusterError(f"Postgres refused: {str(error).splitlines()[0]}")
