"""Whose processor it is: the processor time of this process and of the servers beside it."""

import os
from collections.abc import Mapping
from pathlib import Path
from time import process_time
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_SERVERS: Final = frozenset({"postgres", "nats-server"})


def processor_s(process: int) -> float:
    """Return the seconds of processor that a running process has used: utime and stime, proc_pid_stat(5)."""
    return _used(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2])


def processors() -> dict[str, float]:
    """Return the seconds of processor that each server on this machine has used, by its name; this process as `this`.

    A server's child that has ended is missing, so a difference is of what ran from its beginning to its end.
    """
    used = {"this": process_time()}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        if name in _SERVERS:
            used[name] = used.get(name, 0.0) + _used(rest)
    return used


def _used(behind_the_name: str) -> float:
    fields = behind_the_name.split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def spent(before: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds that each has used since ``before``."""
    return {who: seconds - before.get(who, 0.0) for who, seconds in processors().items()}


def in_words(seconds: Mapping[str, float], count: int) -> str:
    """Say how many microseconds each used for one of ``count``, the most first."""
    most_first = sorted(seconds.items(), key=lambda one: -one[1])
    return ", ".join(f"{who} {used / count * 1e6:.1f}" for who, used in most_first)
