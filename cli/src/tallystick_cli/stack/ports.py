"""Free TCP ports on the loopback address that stay free.

A port is chosen seconds before its server listens. So that two stacks which start at once do not choose the same, each
process walks through the ports from a place of its own, and never returns to one until it has been round.

Ports come from below the kernel's ephemeral range. One inside it could be taken by any outgoing connection while a
killed server is down, and a client that keeps dialling such a port can even connect to itself.
"""

import functools
import itertools
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from tallystick_cli.stack.errors import StackError

LOOPBACK = "127.0.0.1"
_LOWEST = 15_000
_USUAL_EPHEMERAL_START = 32_768
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_BLOCK = 64
_SPREAD = 7_919
"""Prime, so that processes started after each other begin far apart."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: connections of a predecessor in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(taken: Iterable[int] = ()) -> int:
    """Pick a free port that is not in `taken`."""
    avoid = set(taken)
    ceiling = _ephemeral_start()
    for port in itertools.islice(_walk(os.getpid(), ceiling), ceiling - _LOWEST):
        if port not in avoid and is_free(port):
            return port
    msg = f"no free port between {_LOWEST} and {ceiling} on {LOOPBACK}: stop some listeners and start again"
    raise StackError(msg)


@functools.cache
def _walk(process: int, ceiling: int) -> Iterator[int]:
    blocks = (ceiling - _LOWEST) // _BLOCK
    first = process * _SPREAD % blocks * _BLOCK
    return (_LOWEST + (first + step) % (blocks * _BLOCK) for step in itertools.count())


def _ephemeral_start() -> int:
    try:
        start = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        start = _USUAL_EPHEMERAL_START
    return start if start > _LOWEST + 1_000 else _USUAL_EPHEMERAL_START
