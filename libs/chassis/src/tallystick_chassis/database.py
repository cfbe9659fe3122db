"""The way to the database: a transaction in one scope, or a duty without one.

``async with database.transaction(scope) as tx`` begins, sets the scope for this transaction alone, yields, commits.
There is no other way to tenants' rows. Nothing else commits, so a failed COMMIT raises where the request can still
answer 500.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tallystick_chassis.clock import Clock, utc_now
from tallystick_chassis.scope import Scope, ScopeError
from tallystick_chassis.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.engine import URL

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SET_SCOPE = text(
    "select set_config('app.tenant_id', :tenant, true), set_config('app.org_units', :units, true), "
    "set_config('app.actor', :actor, true)"
)
# SQLSTATEs that say "not now" and nothing else: connection, resources, operator, serialisation, locks.
_PASSING_SQLSTATES: Final = ("08", "53", "57P", "40001", "40P01", "55P")


class InsecureConnectionError(ValueError):
    """A DSN asks for a connection that would not be checked, to a database that is not on this machine."""


def is_away(error: Exception) -> bool:
    """Say whether the database cannot be reached or cannot work now, so that trying again makes sense."""
    if isinstance(error, (ConnectionError, TimeoutError, PoolTimeoutError)):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # While it connects, SQLAlchemy lets asyncpg's own exceptions through.
    sqlstate = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
    return isinstance(sqlstate, str) and sqlstate.startswith(_PASSING_SQLSTATES)


def connection_arguments(dsn: str, *, application_name: str, ca_file: Path | None = None) -> tuple[URL, dict[str, Any]]:
    """Return SQLAlchemy's URL and asyncpg's arguments for a ``postgresql://`` DSN.

    The server's certificate is checked against ``ca_file`` (or the system's authorities) and its host name, as
    ``sslmode=verify-full`` says; ``?sslmode=disable`` is for a database on this machine.

    Raises:
        InsecureConnectionError: for any other mode, and for ``disable`` where the host is not loopback.
    """
    url = make_url(dsn).set(drivername="postgresql+asyncpg")
    mode = url.query.get("sslmode", "verify-full")
    if mode != "verify-full" and (mode != "disable" or url.host not in _LOOPBACK):
        msg = f"sslmode={mode} is not for the database at {url.host}: use sslmode=verify-full"
        raise InsecureConnectionError(msg)
    arguments: dict[str, Any] = {
        "timeout": 5,
        "command_timeout": 30,
        "server_settings": {"application_name": application_name, "timezone": "UTC"},
        "ssl": ssl.create_default_context(cafile=ca_file) if mode == "verify-full" else False,
    }
    return url.difference_update_query(["sslmode"]), arguments


class _Connections:
    """One engine for one database role."""

    def __init__(
        self,
        dsn: str,
        service: str,
        *,
        pool_size: int = 8,
        application_name: str = "",
        ca_file: Path | None = None,
        clock: Clock = utc_now,
    ) -> None:
        url, arguments = connection_arguments(dsn, application_name=application_name or str(service), ca_file=ca_file)
        self.service = str(service)
        self.clock = clock
        self.engine: AsyncEngine = create_async_engine(
            url,
            connect_args=arguments,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            hide_parameters=True,  # an error's text goes to the log; parameters can be personal
            execution_options={"schema_translate_map": {None: self.service}},
        )

    async def dispose(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()

    async def ping(self) -> None:
        """Reach the server with one statement, or raise."""
        async with self.engine.connect() as connection:
            await connection.execute(text("select 1"))


class Database(_Connections):
    """The runtime role's database: row-level security binds all that is read and written."""

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[Transaction]:
        """Begin, set ``scope`` for this transaction alone, yield, and commit; roll back on any error.

        Raises:
            ScopeError: if there is no scope.
        """
        if not isinstance(scope, Scope):
            msg = "a transaction needs a scope"  # type: ignore[unreachable] # a caller without types must be refused too
            raise ScopeError(msg)
        async with self.engine.begin() as connection:
            await connection.execute(
                _SET_SCOPE, {"tenant": str(scope.tenant), "units": scope.units_setting, "actor": scope.actor}
            )
            yield Transaction(scope=scope, connection=connection, service=self.service, clock=self.clock)

    @asynccontextmanager
    async def unscoped(self) -> AsyncIterator[AsyncConnection]:
        """Begin without a scope: no siloed row is in reach. For the self-test, readiness and narrow SQL functions."""
        async with self.engine.begin() as connection:
            yield connection


class DutyDatabase(_Connections):
    """The narrow cross-tenant role's database: it reaches only the tables whose duty policies name it."""

    @asynccontextmanager
    async def glance(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection without a transaction: for the one statement that only asks whether there is work.

        Workers ask many times a second. Without BEGIN and COMMIT around it that costs 1.1 ms of a processor, not 2.6.
        """
        async with self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            yield connection

    @asynccontextmanager
    async def duty(self) -> AsyncIterator[AsyncConnection]:
        """Begin without a scope, yield, and commit; roll back on any error."""
        async with self.engine.begin() as connection:
            yield connection
