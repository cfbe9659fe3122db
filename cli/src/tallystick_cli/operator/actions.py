"""What the operator's commands do; each returns the exit status and raises `StackError` with one line to print."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import msgspec
from rich.console import Console
from rich.table import Table
from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName

from tallystick_cli.stack import boot, control, database_setup, postgres_home, readiness, state
from tallystick_cli.stack import status as stack_status
from tallystick_cli.stack.errors import NotRunningError, StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import Servers, find_service
from tallystick_cli.stack.status import Phase, Status
from tallystick_cli.stack.supervisor import Supervisor

__all__ = [
    "StackError",
    "create_tenant",
    "down",
    "known_servers",
    "rotate_checkpoint_key",
    "serve_all",
    "serve_one",
    "show_status",
    "up",
]

_NOT_READY = 3
_STOPPED = "stopped; `tally up` goes on where this ended"
_PHASES: dict[Phase, str] = {
    "preparing": "making keys, certificates and the database cluster",
    "servers": "starting Postgres and NATS",
    "database": "making roles, schemas and streams",
    "services": "starting the services",
    "ready": "ready",
    "stopping": "stopping",
    "failed": "failed",
    "stopped": "stopped",
}

_console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


def up(folder: Path | None, *, servers_only: bool, new_ports: bool = False) -> int:
    """Start in the background and print the addresses."""
    layout = Layout.at(folder)
    told: Phase | None = None
    with _console.status("starting") as spinner:

        def report(now: Status) -> None:
            nonlocal told
            if _console.is_terminal:
                spinner.update(_PHASES[now.phase])
            elif now.phase not in {told, "ready"}:  # that one is in the table's title
                _print_line(layout, now)
            told = now.phase

        ready = control.up(layout, servers_only=servers_only, new_ports=new_ports, report=report)
    _print_status(layout, readiness.ask(layout, ready))
    return 0


def down(folder: Path | None, *, quiet: bool, erase: bool) -> int:
    """Stop the background supervisor, and erase everything where that is asked for."""
    layout = Layout.at(folder)
    stopped, is_there = True, layout.root.exists()
    try:
        with _console.status("stopping"):
            control.down(layout)
    except NotRunningError:
        if not quiet and not erase:
            raise
        stopped = False
    if erase:
        control.erase(layout)
    if not quiet:
        said = _erased(layout, stopped=stopped, was_there=is_there) if erase else _STOPPED
        _console.print(said, markup=False, soft_wrap=True)
    return 0


def _erased(layout: Layout, *, stopped: bool, was_there: bool) -> str:
    if not was_there:
        did = "stopped what ran" if stopped else "found nothing that runs"
        elsewhere = f"a database that root's Postgres had below {postgres_home.REACHABLE_BY_ALL} (tally-…) may be left"
        return f"{did}; there was nothing to erase: {layout.root} is not there. If somebody removed it, {elsewhere}"
    if layout.root.exists():
        kept = ", ".join(sorted(path.name for path in layout.root.iterdir()))
        return f"stopped and erased; {layout.root} keeps what the stack did not make: {kept}"
    return "stopped and erased"


def show_status(folder: Path | None, *, as_json: bool) -> int:
    """Ask every API whether it is ready, and print the status as a table or as JSON."""
    layout = Layout.at(folder)
    now = readiness.ask(layout, stack_status.read(layout))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(now) + b"\n")
    else:
        _print_status(layout, now)
    return 0 if now.all_ready else _NOT_READY


def serve_all(folder: Path | None, *, new_ports: bool = False) -> int:
    """Supervise everything in the foreground until Ctrl-C."""
    layout = Layout.at(folder)

    def report(now: Status) -> None:
        if now.phase == "ready":
            _print_status(layout, readiness.ask(layout, now))
        else:
            _print_line(layout, now)

    Supervisor(layout, new_ports=new_ports, report=report).run()
    return 0


def serve_one(folder: Path | None, *, service: str, role: str) -> int:
    """Become one process of a service, with its settings and the rest of the caller's environment removed."""
    named = find_service(service)
    servers = known_servers(Layout.at(folder))
    if role == "migrate":
        program = database_setup.migration_program(servers, named)
    else:
        program = boot.service_program(servers, named, role)
    os.execve(program.command[0], program.command, program.full_environment)  # noqa: S606 -- our own command


def create_tenant(folder: Path | None, *, command: str, slug: str, name: str, admin: str) -> int:
    """Let identity make a tenant and its administrator, in a process that has identity's secrets and no others."""
    servers = known_servers(Layout.at(folder))
    program = Program(
        name="identity-init",
        command=(
            *(sys.executable, "-m", SERVICE_PACKAGES[ServiceName.IDENTITY], command),
            *(f"--tenant={slug}", f"--name={name}", f"--admin={admin}"),
        ),
        log_file=servers.layout.log_file("identity-init"),
        environment=servers.service_environment(ServiceName.IDENTITY),
    )
    done = subprocess.run(program.command, check=False, env=program.full_environment)
    return done.returncode


def export_logs(folder: Path | None, *, tenant: str, out: Path) -> int:
    """Let the ledger write a tenant's logs."""
    return _ask_ledger(folder, "export", f"--tenant={tenant}", f"--out={out.absolute()}")


def list_breaks(folder: Path | None, *, as_json: bool) -> int:
    """Let the ledger say which logs do not continue what was signed."""
    return _ask_ledger(folder, "log", "breaks", *(("--json",) if as_json else ()))


def succeed_logs(folder: Path | None, *, tenant: str, reason: str) -> int:
    """Let the ledger open successors of a tenant's broken logs."""
    return _ask_ledger(folder, "log", "succeed", f"--tenant={tenant}", f"--reason={reason}")


def place_hold(folder: Path | None, *, tenant: str, code: str, log: UUID | None) -> int:
    """Let the ledger keep a tenant's audit logs, or one of them, beyond their retention."""
    one = () if log is None else (f"--log={log}",)
    return _ask_ledger(folder, "hold", "place", f"--tenant={tenant}", f"--code={code}", *one)


def release_hold(folder: Path | None, *, tenant: str, hold: UUID) -> int:
    """Let the ledger end a hold."""
    return _ask_ledger(folder, "hold", "release", f"--tenant={tenant}", f"--hold={hold}")


def list_holds(folder: Path | None, *, tenant: str) -> int:
    """Let the ledger list a tenant's holds."""
    return _ask_ledger(folder, "hold", "list", f"--tenant={tenant}")


def ask_about_siem(folder: Path | None, *, arguments: tuple[str, ...]) -> int:
    """Let the ledger do something to a tenant's SIEM destinations."""
    return _ask_ledger(folder, "siem", *arguments)


def rotate_checkpoint_key(folder: Path | None, *, overlap_days: float, timeout_s: float, as_json: bool) -> int:
    """Let the ledger turn to a new checkpoint key, made in the stack's secrets."""
    options = (f"--overlap-days={overlap_days}", f"--timeout-s={timeout_s}", *(("--json",) if as_json else ()))
    return _ask_ledger(folder, "rotate-key", "--make", *options)


def _ask_ledger(folder: Path | None, command: str, *options: str) -> int:
    """Run a command of the ledger's in a process that has the ledger's secrets and no others."""
    servers = known_servers(Layout.at(folder))
    program = Program(
        name=f"ledger-{command}",
        command=(sys.executable, "-m", SERVICE_PACKAGES[ServiceName.LEDGER], command, *options),
        log_file=servers.layout.log_file(f"ledger-{command}"),
        environment=servers.service_environment(ServiceName.LEDGER),
    )
    return subprocess.run(program.command, check=False, env=program.full_environment).returncode


def known_servers(layout: Layout) -> Servers:
    """Describe the servers of a stack that was started before; `StackError` when it never was."""
    if not layout.state_file.exists():
        msg = f"there is no stack in {layout.root} yet: run `tally up` first"
        raise StackError(msg)
    return boot.describe(layout, state.read(layout))


def _print_line(layout: Layout, now: Status) -> None:
    problem = f" ({now.problem})" if now.problem else ""
    phase = "not ready: see below" if now.phase == "ready" and not now.all_ready else _PHASES[now.phase]
    _console.print(f"{layout.root}: {phase}{problem}", markup=False, soft_wrap=True)


def _print_status(layout: Layout, now: Status) -> None:
    for name, ports in now.moved.items():
        _errors.print(
            f"WARNING: {name} moved from port {ports.old}, which another program uses, to {ports.new}. Whatever names "
            f"the old port no longer works: links in mail and on certificates, bookmarks, settings of other programs.",
            style="bold yellow",
            markup=False,
            soft_wrap=True,
        )
    _print_line(layout, now)
    if now.programs:
        table = Table(box=None, pad_edge=False)
        for column in ("process", "pid", "restarts", "ready", "address"):
            table.add_column(column, justify="right" if column in {"pid", "restarts"} else "left")
        for name, program in now.programs.items():
            service = name.removesuffix("-api") if name.endswith("-api") else ""
            ready = ("yes" if now.ready[service] else "no") if service in now.ready else ""
            address = now.urls.get(service, "")
            table.add_row(name, str(program.pid or "restarting"), str(program.restarts), ready, address)
        _console.print(table)
        _console.print(
            f"authority {now.ca_file}\nmail      {now.mail}\nlogs      {layout.logs}", markup=False, soft_wrap=True
        )
