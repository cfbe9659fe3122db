"""Running servers for the length of a `with` block: what tests and benchmarks connect to."""

import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tallystick_contracts.topology import ServiceName

from tallystick_cli.stack import boot, broker_setup, control, database_setup, nats, postgres, state
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import (
    DATABASE,
    KEYS_DATABASE,
    LoginKind,
    Servers,
    database_password,
    database_role,
)

_STOP_TIMEOUT_S = 15.0
_MEMORY = Path("/dev/shm")  # noqa: S108 -- mkdtemp makes a private folder in it
_ENOUGH_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Databases:
    """A pair of databases: the services' and the key store's, with every service's roles and schemas."""

    servers: Servers
    name: str
    keys_name: str

    def dsn(self, service: ServiceName, kind: LoginKind, *, keys: bool = False) -> str:
        """Return the address for one of a service's roles."""
        role = database_role(service, kind)
        return self.servers.postgres.dsn(
            self.keys_name if keys else self.name,
            role=role,
            password=database_password(self.servers.layout, role),
        )

    def superuser_dsn(self, *, keys: bool = False) -> str:
        """Return the address for the superuser."""
        return self.servers.postgres.dsn(self.keys_name if keys else self.name)

    def environment(self, service: ServiceName) -> Mapping[str, str]:
        """Return the settings of a service that uses these databases."""
        return self.servers.service_environment(service, database=self.name, keys_database=self.keys_name)

    def migration_environment(self, service: ServiceName) -> Mapping[str, str]:
        """Return the settings of a service's migration on these databases."""
        return self.servers.migration_environment(service, database=self.name, keys_database=self.keys_name)

    def migrate(self, *services: ServiceName) -> None:
        """Run the migrations of the services, or of all when none is named."""
        database_setup.migrate(
            self.servers,
            services or tuple(ServiceName),
            database=self.name,
            keys_database=self.keys_name,
        )


class RunningServers:
    """Postgres and NATS that run now, in a folder of their own."""

    def __init__(self, servers: Servers, children: Mapping[str, Child]) -> None:
        """Take running servers; `children` are those we started ourselves, by name."""
        self.servers = servers
        self._children = children
        self._migrated = False

    @property
    def postgres(self) -> Child:
        """The Postgres process, to kill it; only where we started it."""
        return self._children["postgres"]

    @property
    def nats(self) -> Child:
        """The NATS process, to kill it; only where we started it."""
        return self._children["nats"]

    @property
    def ca_file(self) -> Path:
        """The authority that every client here trusts."""
        return self.servers.layout.ca_file

    @property
    def nats_url(self) -> str:
        """Where NATS listens."""
        return self.servers.nats.url

    def nats_seed(self, user: str) -> Path:
        """Return the seed file of a NATS user: a service's name, or `admin`."""
        return nats.seed_file(self.servers.layout, user)

    def fresh_databases(self, *, migrated: bool = False) -> Databases:
        """Make a new pair of databases: with roles and empty schemas, or copied from one with all migrations run."""
        unique = f"t_{secrets.token_hex(6)}"
        names = unique, f"{unique}_keys"
        if migrated:
            self._migrate_template()
            for template, name in zip((DATABASE, KEYS_DATABASE), names, strict=True):
                database_setup.copy(self.servers, template, name)
        else:
            database_setup.create(self.servers, database=names[0], keys_database=names[1])
        return Databases(self.servers, *names)

    def _migrate_template(self) -> None:
        if not self._migrated:
            database_setup.create(self.servers)
            database_setup.migrate(self.servers)
            self._migrated = True

    def reset_broker(self) -> None:
        """Make the streams and durables of the topology where they are missing."""
        broker_setup.set_up(self.servers.layout, self.servers.nats)


@contextlib.contextmanager
def temporary_folder(*, in_memory: bool = True) -> Iterator[Layout]:
    """Make a folder for one stack, in memory where there is room, and erase it with what Postgres put elsewhere."""
    # Not pytest's own folder: that one is 0700, and Postgres would have to move out of it.
    layout = Layout.at(tempfile.mkdtemp(prefix="tally-test-", dir=_memory_folder() if in_memory else None))
    try:
        yield layout
    finally:
        control.erase(layout)
        shutil.rmtree(layout.root, ignore_errors=True)  # with what a test put beside


@contextlib.contextmanager
def running_servers(*, durable: bool = False) -> Iterator[RunningServers]:
    """Start Postgres and NATS in a temporary folder, with roles, empty databases, streams and durables.

    Unless `durable` is asked for, they lie in memory and Postgres is as hasty as a thrown-away database may be.
    """
    with temporary_folder(in_memory=not durable) as layout, contextlib.ExitStack() as stack:
        servers = boot.prepare(layout)
        program = servers.postgres.program
        database = stack.enter_context(_running(program if durable else _hasty(program)))
        broker = stack.enter_context(_running(servers.nats.program))
        boot.wait_until(servers.postgres.is_ready, program=database.program, process=database.process)
        boot.wait_until(servers.nats.is_ready, program=broker.program, process=broker.process)
        running = RunningServers(servers, {"postgres": database, "nats": broker})
        running.reset_broker()
        yield running


@contextlib.contextmanager
def external_servers() -> Iterator[RunningServers]:
    """Take the servers that run in `$TALLY_DIR` (else `.tally`); `StackError` when they were never started."""
    layout = Layout.at()
    running = RunningServers(boot.describe(layout, state.read(layout)), {})
    running.reset_broker()
    yield running


def _memory_folder() -> Path | None:
    """Return the folder that lies in memory, where there is one with room: a database is a thousand small files."""
    with contextlib.suppress(OSError):
        room = os.statvfs(_MEMORY)
        if room.f_bavail * room.f_frsize >= _ENOUGH_BYTES and os.access(_MEMORY, os.W_OK):
            return _MEMORY
    return None


def _hasty(program: Program) -> Program:
    """Return the server without fsync and ended without a checkpoint: what it holds is thrown away anyway.

    Tests of durability start a server of their own.
    """
    hasty = (*program.command, *postgres.options(postgres.HASTE))
    return dataclasses.replace(program, command=hasty, stop_signal=signal.SIGQUIT)


@contextlib.contextmanager
def _running(program: Program) -> Iterator[Child]:
    child = Child.start(program)
    try:
        yield child
    finally:
        child.ask_to_stop()
        child.wait_until_stopped(_STOP_TIMEOUT_S)
