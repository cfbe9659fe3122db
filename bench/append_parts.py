"""Whose processor the appending takes: by program, microseconds an entry, for the writer and for the bare inserts.

`python -m bench.append_parts`, for one log and for four side by side. Where a side's sum is twice its time on the
clock, both of this machine's cores were busy, and nothing but doing less would make it faster.
"""

import sys
from time import perf_counter
from typing import Final

import uvloop
from tallystick_cli.stack.temporary import Databases, RunningServers, running_servers

from bench.append import BATCH
from bench.append_one_log import ROUND, rounds_of
from bench.processors import in_words, processors, spent

_ROUNDS: Final = 8


def main() -> None:
    """Print a line for each side."""
    with running_servers(durable=True) as servers:
        for logs in (1, 4):
            uvloop.run(_look(servers, servers.fresh_databases(), logs))


async def _look(servers: RunningServers, databases: Databases, logs: int) -> None:
    taken_s = {"writer": 0.0, "bare": 0.0}
    used: dict[str, dict[str, float]] = {side: {} for side in taken_s}
    async for number, append, insert in rounds_of(databases, servers.ca_file, logs, _ROUNDS):
        for name, side in (("writer", append), ("bare", insert)):
            before, begin = processors(), perf_counter()
            await side()
            if number >= 0:
                taken_s[name] += perf_counter() - begin
                for who, seconds in spent(before).items():
                    used[name][who] = used[name].get(who, 0.0) + seconds
    entries = _ROUNDS * ROUND * BATCH * logs
    for name, seconds in taken_s.items():
        each = in_words(used[name], entries)
        sys.stdout.write(
            f"{logs} logs, {name}: {seconds / entries * 1e6:.1f} µs an entry on the clock; processor: {each}\n"
        )


if __name__ == "__main__":
    main()
