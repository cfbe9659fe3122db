"""Whose processor the appending takes: by program, microseconds an entry, for the writer and for the bare inserts.

`python -m bench.append_parts`, for one log and for four side by side. Where a side's sum is twice its time on the
clock, both of this machine's cores were busy, and nothing but doing less would make it faster.
"""

import sys
from collections import Counter
from time import perf_counter
from typing import Final

import uvloop
from tallystick_cli.stack.temporary import Databases, RunningServers, running_servers

from bench.append import BATCH
from bench.append_one_log import ROUND, rounds_of
from bench.processors import in_words, processors

_ROUNDS: Final = 8


def main() -> None:
    """Print a line for each side."""
    with running_servers(durable=True) as servers:
        for logs in (1, 4):
            uvloop.run(_look(servers, servers.fresh_databases(), logs))


async def _look(servers: RunningServers, databases: Databases, logs: int) -> None:
    taken_s: Counter[str] = Counter()
    spent: dict[str, Counter[str]] = {"writer": Counter(), "bare": Counter()}
    async for number, append, insert in rounds_of(databases, servers.ca_file, logs, _ROUNDS):
        for name, side in (("writer", append), ("bare", insert)):
            before, begin = processors(), perf_counter()
            await side()
            if number >= 0:
                taken_s[name] += perf_counter() - begin
                spent[name] += processors() - before
    entries = _ROUNDS * ROUND * BATCH * logs
    for name, seconds in taken_s.items():
        each = in_words(spent[name], entries)
        sys.stdout.write(
            f"{logs} logs, {name}: {seconds / entries * 1e6:.1f} µs an entry on the clock; processor: {each}\n"
        )


if __name__ == "__main__":
    main()
