"""What a running supervisor says about itself, and whether it runs: a lock that dies with it, and a status file."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from tallystick_cli.stack import durable
from tallystick_cli.stack.errors import AlreadyRunningError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.state import Moved

# Whoever asks `is_running` holds the lock for an instant.
_LOCK_PATIENCE_S = 1.0
_LOCK_POLL_S = 0.01

Phase = Literal["preparing", "servers", "database", "services", "ready", "stopping", "failed", "stopped"]


class ProgramStatus(msgspec.Struct, frozen=True):
    """One supervised process: its process id (absent while it waits to start again) and how often it was restarted."""

    pid: int | None
    restarts: int


class Status(msgspec.Struct, frozen=True):
    """The state of a stack: phase, supervisor, processes, addresses and, when it failed, why.

    `moved` holds the listeners that got another port at this start. `ready` is what each API answers to `/ready`, by
    service; it is empty in the file and filled in by `readiness.ask`.
    """

    phase: Phase
    pid: int | None = None
    programs: dict[str, ProgramStatus] = {}
    urls: dict[str, str] = {}
    ca_file: str | None = None
    mail: str | None = None
    moved: dict[str, Moved] = {}
    ready: dict[str, bool] = {}
    problem: str | None = None

    @property
    def all_ready(self) -> bool:
        """Whether the stack is started, every process runs and no API that was asked said no."""
        running = all(program.pid is not None for program in self.programs.values())
        return self.phase == "ready" and running and all(self.ready.values())


def read(layout: Layout) -> Status:
    """Return the status; `stopped` (or `failed`, with the problem) when no supervisor holds the lock."""
    running = is_running(layout)  # asked first: after the lock is free the file does not change
    try:
        last = msgspec.json.decode(_status_file(layout).read_bytes(), type=Status)
    except FileNotFoundError:
        last = Status(phase="preparing" if running else "stopped")
    return last if running or last.phase == "failed" else Status(phase="stopped")


def forget(layout: Layout) -> None:
    """Remove what the last supervisor said."""
    _status_file(layout).unlink(missing_ok=True)


def write(layout: Layout, status: Status) -> None:
    """Replace the status file."""
    durable.replace(_status_file(layout), msgspec.json.format(msgspec.json.encode(status)))


@contextlib.contextmanager
def sole_supervisor(layout: Layout) -> Iterator[None]:
    """Hold the folder's lock; `AlreadyRunningError` when another process has it. The kernel frees it when we die."""
    descriptor = os.open(layout.run / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                msg = f"{layout.root} is already running: `tally status` shows it, `tally down` stops it"
                raise AlreadyRunningError(msg)
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def is_running(layout: Layout) -> bool:
    """Whether a supervisor holds the folder's lock."""
    try:
        descriptor = os.open(layout.run / "supervisor.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _status_file(layout: Layout) -> Path:
    return layout.run / "status.json"
