"""Starting and stopping a stack from outside: what `tally up`, `tally down`, the demo and tests call."""

import contextlib
import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tallystick_cli.stack import postgres_home, state, status
from tallystick_cli.stack.errors import AlreadyRunningError, NotRunningError, ServerFailedError, StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program, stop
from tallystick_cli.stack.services import urls
from tallystick_cli.stack.status import Status

_SUPERVISOR = "tallystick_cli.stack.supervisor"
_POLL_S = 0.05
_UP_TIMEOUT_S = 180.0
_DOWN_TIMEOUT_S = 45.0
_LOCK_TIMEOUT_S = 10.0


def up(
    layout: Layout,
    *,
    servers_only: bool = False,
    new_ports: bool = False,
    report: Callable[[Status], None] | None = None,
) -> Status:
    """Start a supervisor in the background and wait until all is ready; a running one is left as it is.

    `new_ports` lets listeners move whose port another program has taken. Raises `ServerFailedError` with the
    supervisor's reason.
    """
    layout.create()
    if status.is_running(layout):
        if not servers_only and _runs_servers_only(status.read(layout)):
            msg = f"only the servers run in {layout.root}: `tally down` first, then `tally up`"
            raise AlreadyRunningError(msg)
    else:
        _start_supervisor(layout, servers_only=servers_only, new_ports=new_ports)
    return _wait_until_ready(layout, report)


@contextlib.contextmanager
def attached(
    layout: Layout,
    *,
    servers_only: bool = False,
    report: Callable[[Status], None] | None = None,
) -> Iterator[Status]:
    """Run a stack for the length of a `with` block; it also stops, cleanly, when the calling thread dies.

    Raises `AlreadyRunningError` when another supervisor owns the folder, `ServerFailedError` when it cannot start.
    """
    layout.create()
    if status.is_running(layout):
        msg = f"{layout.root} is already running: `tally down` stops it"
        raise AlreadyRunningError(msg)
    status.forget(layout)
    supervisor = Program(
        name="supervisor",
        command=_supervisor_command(layout, servers_only=servers_only),
        log_file=layout.log_file("supervisor"),
        death_signal=signal.SIGTERM,
    )
    process = supervisor.start()
    try:
        _wait_for_first_word(layout)
        yield _wait_until_ready(layout, report)
    finally:
        stop(process, supervisor.stop_signal, timeout_s=_DOWN_TIMEOUT_S)


def _wait_until_ready(layout: Layout, report: Callable[[Status], None] | None) -> Status:
    deadline = time.monotonic() + _UP_TIMEOUT_S
    while time.monotonic() < deadline:
        now = status.read(layout)
        if report:
            report(now)
        if now.phase == "ready":
            return now
        if now.phase in {"failed", "stopped"}:
            raise ServerFailedError(now.problem or f"the supervisor ended: see {layout.log_file('supervisor')}")
        time.sleep(_POLL_S)
    msg = f"not ready within {_UP_TIMEOUT_S:.0f} s: see {layout.logs}"
    raise ServerFailedError(msg)


def is_running(layout: Layout) -> bool:
    """Whether a supervisor owns the folder."""
    return status.is_running(layout)


def supervisors(layout: Layout) -> list[int]:
    """Return the processes that were started to supervise this folder, also when it is gone with its lock."""
    named = (_SUPERVISOR.encode(), os.fsencode(layout.root))
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if named in itertools.pairwise((process / "cmdline").read_bytes().split(b"\0")):
                found.append(int(process.name))
    return found


def down(layout: Layout) -> None:
    """Stop the folder's supervisor and wait until it is gone; `NotRunningError` when there is none.

    A supervisor whose folder, or lock, was removed while it ran is found by its command line.
    """
    now = status.read(layout)
    known = {now.pid} if status.is_running(layout) and now.pid is not None else set()
    known.update(supervisors(layout))
    if not known:
        msg = f"nothing runs in {layout.root}"
        raise NotRunningError(msg)
    for pid in known:
        _stop_supervisor(pid)


def _stop_supervisor(pid: int) -> None:
    try:
        supervisor = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # it ended between the two looks
    try:
        signal.pidfd_send_signal(supervisor, signal.SIGTERM)
        ended, _, _ = select.select([supervisor], [], [], _DOWN_TIMEOUT_S)
    except ProcessLookupError:
        return
    except PermissionError as error:
        msg = f"the supervisor (process {pid}) is another user's: stop it as that user"
        raise StackError(msg) from error
    finally:
        os.close(supervisor)
    if not ended:
        msg = f"the supervisor (process {pid}) has not stopped within {_DOWN_TIMEOUT_S:.0f} s"
        raise ServerFailedError(msg)


def erase(layout: Layout) -> None:
    """Remove a stopped stack with its keys and data, wherever Postgres' part lies.

    The folder itself goes when nothing is left in it: a demo's report or another stack below it stays.
    """
    if status.is_running(layout):
        msg = f"{layout.root} is running: stop it first with `tally down`"
        raise AlreadyRunningError(msg)
    elsewhere = postgres_home.moved_to(layout)
    if elsewhere is not None:
        shutil.rmtree(elsewhere, ignore_errors=True)
    for made in layout.made:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:
            made.unlink(missing_ok=True)
    left = [made.name for made in layout.made if made.exists()]
    if left:
        msg = f"could not erase all of {layout.root}: {', '.join(left)} is still there"
        raise StackError(msg)
    with contextlib.suppress(OSError):  # not empty, or never made
        layout.root.rmdir()


def endpoints(layout: Layout) -> Mapping[str, str]:
    """Return the base address of every service by its folder name; `StackError` when the stack was never started."""
    return urls(state.read(layout))


def _start_supervisor(layout: Layout, *, servers_only: bool, new_ports: bool) -> None:
    status.forget(layout)
    log_file = layout.log_file("supervisor")
    log_file.touch(mode=0o600)
    with log_file.open("ab") as log:
        subprocess.run(
            (
                *_supervisor_command(layout, servers_only=servers_only),
                *(("--new-ports",) if new_ports else ()),
                "--background",
            ),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    _wait_for_first_word(layout)


def _supervisor_command(layout: Layout, *, servers_only: bool) -> tuple[str, ...]:
    options = ("--servers-only",) if servers_only else ()
    return (sys.executable, "-m", _SUPERVISOR, str(layout.root), *options)


def _runs_servers_only(now: Status) -> bool:
    return now.phase == "ready" and not any(name.endswith("-api") for name in now.programs)


def _wait_for_first_word(layout: Layout) -> None:
    # Until the supervisor has its lock or has said why not, "not running" would be read as "ended".
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while status.read(layout).phase == "stopped" and time.monotonic() < deadline:
        time.sleep(_POLL_S)
