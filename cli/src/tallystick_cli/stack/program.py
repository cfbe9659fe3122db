"""One child process: what to run, and starting it so that it never outlives us."""

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Program:
    """A child process and how to end it.

    `run_as` is the user to become (only root can), `stop_signal` asks for a clean end, `death_signal` is what the
    kernel sends when we are gone.
    """

    name: str
    command: tuple[str, ...]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    run_as: pwd.struct_passwd | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL

    @property
    def full_environment(self) -> dict[str, str]:
        """Everything the process sees: its own settings, a neutral PATH and locale, nothing of the caller's shell."""
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **self.environment}

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, its output appended to its log file; the kernel ends it when the calling *thread* ends."""
        descriptor = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=self.full_environment,
                start_new_session=True,  # a Ctrl-C in the terminal reaches us alone; we stop the children in order
                preexec_fn=_die_with(os.getpid(), self.death_signal),  # noqa: PLW1509 -- two system calls, no locks
                **_identity(self.run_as),
            )


def run_to_end(command: tuple[str, ...], *, run_as: pwd.struct_passwd | None = None) -> None:
    """Run a short command of a server; raise `subprocess.CalledProcessError`, with its output, when it fails."""
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        **_identity(run_as),
    )


def stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals, *, timeout_s: float) -> None:
    """Ask a process to end and wait; kill it when it has not ended in time."""
    if process.poll() is not None:
        return
    process.send_signal(stop_signal)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _identity(user: pwd.struct_passwd | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _die_with(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    def in_child() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # the parent died before we asked
            os._exit(1)

    return in_child
