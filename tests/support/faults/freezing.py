"""Freezing a process: its port still takes connections, and nothing ever answers."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STOPPED = "T"


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Hold all threads of a process still. A signal alone only asks for that: a busy thread answers once more."""
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 5.0
        while {_state(task) for task in Path(f"/proc/{pid}/task").iterdir()} != {_STOPPED}:
            assert time.monotonic() < deadline, f"process {pid} did not stop"
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _state(task: Path) -> str:
    """Read a thread's state from Linux's proc(5): the first field after the name in brackets."""
    return (task / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
