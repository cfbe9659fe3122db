"""From an empty folder to servers that services can connect to; each step is safe to run again."""

import subprocess
import sys
import time
from collections.abc import Callable

from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

from tallystick_cli.stack import authority, broker_setup, database_setup, nats, postgres, state
from tallystick_cli.stack.errors import ServerFailedError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import FOLDERS, MAIL_PORT, ROLES, Servers

POLL_S = 0.02
_SERVER_TIMEOUT_S = 30.0
_SHOWN_LOG_LINES = 3


def prepare(layout: Layout, *, new_ports: bool = False) -> Servers:
    """Make folders, the authority, ports, the cluster and the broker's configuration; start nothing.

    Raises `PortTakenError` where another program has taken a port, unless `new_ports`.
    """
    layout.create()
    authority.ensure_authority(layout)
    listeners = ("postgres", "nats", "nats-monitor", MAIL_PORT, *FOLDERS)
    reserved = state.reserve(layout, listeners, new_ports=new_ports)
    return describe(layout, reserved)


def describe(layout: Layout, reserved: state.State) -> Servers:
    """Describe the servers with the ports they have."""
    return Servers(
        layout=layout,
        state=reserved,
        postgres=postgres.prepare(layout, reserved.port("postgres")),
        nats=nats.prepare(layout, port=reserved.port("nats"), monitor_port=reserved.port("nats-monitor")),
    )


def fill(servers: Servers, *, with_migrations: bool = True) -> None:
    """Put into running servers what services expect: roles, databases, schemas, migrations, streams and durables."""
    database_setup.create(servers)
    if with_migrations:
        database_setup.migrate(servers)
    broker_setup.set_up(servers.layout, servers.nats)


def service_program(servers: Servers, named: ServiceName, role: str) -> Program:
    """Return one process of a service; `role` is one of `ROLES`."""
    name = f"{SERVICE_FOLDERS[named]}-{role}"
    own = servers.worker_environment(named) if role == "worker" else servers.service_environment(named)
    return Program(
        name=name,
        command=(sys.executable, "-m", SERVICE_PACKAGES[named], role),
        log_file=servers.layout.log_file(name),
        environment={**own, **servers.layout.overrides()},
    )


def service_programs(servers: Servers) -> tuple[Program, ...]:
    """Return the API and the worker of every service."""
    return tuple(service_program(servers, named, role) for named in ServiceName for role in ROLES)


def mail_program(servers: Servers) -> Program:
    """Return the local mail server."""
    port = str(servers.state.port(MAIL_PORT))
    return Program(
        name="mail",
        command=(sys.executable, "-m", "tallystick_cli.stack.mail_sink", port, str(servers.layout.mail)),
        log_file=servers.layout.log_file("mail"),
    )


def wait_until(
    condition: Callable[[], bool],
    *,
    program: Program,
    process: subprocess.Popen[bytes],
    timeout_s: float = _SERVER_TIMEOUT_S,
) -> None:
    """Wait until a server is ready; `ServerFailedError` when it ended or took too long, with the end of its log."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            problem = "ended at once" if process.poll() is not None else f"was not ready within {timeout_s:.0f} s"
            raise failure(program, problem)
        time.sleep(POLL_S)


def failure(program: Program, problem: str) -> ServerFailedError:
    """Return an error that says what is wrong with a program and how its log ends."""
    last = program.log_file.read_text(errors="replace").strip().splitlines()[-_SHOWN_LOG_LINES:]
    return ServerFailedError(f"{program.name} {problem}; the end of {program.log_file}: {' / '.join(last)}")
