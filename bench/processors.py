"""Whose processor it is: the processor time of this process and of the servers beside it."""

import os
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_SERVERS: Final = frozenset({"postgres", "nats-server"})


def processors() -> Counter[str]:
    """Return the seconds of processor that each server on this machine has used, by its name; this process as `this`.

    A server's child that has ended is missing, so a difference is of what ran from its beginning to its end.
    """
    used: Counter[str] = Counter({"this": process_time()})
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        if name in _SERVERS:
            fields = rest.split()
            used[name] += (int(fields[11]) + int(fields[12])) * _TICK_S
    return used


def in_words(spent: Counter[str], count: int) -> str:
    """Say how many microseconds each used for one of ``count``."""
    return ", ".join(f"{who} {seconds / count * 1e6:.1f}" for who, seconds in spent.most_common())
