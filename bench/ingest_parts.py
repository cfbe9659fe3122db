"""Where ingest's time goes: whose processor it is, and in the writer's own process which part of the code.

`python -m bench.ingest_parts`, turns of TALLY_BENCH_INGEST_TURN messages (10,000). One that nothing watches tells the
time of processor by program, for ingest and for the reference; one is under cProfile, which makes everything slower:
its shares tell, its seconds do not.
"""

import cProfile
import os
import pstats
import sys
from collections.abc import Mapping
from time import perf_counter
from typing import Final

import uvloop
from tallystick_cli.stack.temporary import Databases, RunningServers, running_servers

from bench.ingest import turns_of
from bench.processors import in_words, processors, spent

_MOST_LINES: Final = 45


def main() -> None:
    """Print both tables."""
    turn = int(os.environ.get("TALLY_BENCH_INGEST_TURN", "10000"))
    with running_servers(durable=True) as servers:
        uvloop.run(_look(servers, servers.fresh_databases(), turn))


async def _look(servers: RunningServers, databases: Databases, turn: int) -> None:
    profile = cProfile.Profile()
    async with turns_of(servers, databases, turn) as turns:
        for name in ("warming up", "ingest", "profiled"):
            await turns.publish()
            before, begin = processors(), perf_counter()
            if name == "profiled":
                profile.enable()
            taken_s = await turns.ingest()
            profile.disable()
            _say(name, turn, taken_s, perf_counter() - begin, before)
            before, begin = processors(), perf_counter()
            bare_s = await turns.pull_and_ack()
            _say(f"reference after {name}", turn, bare_s, perf_counter() - begin, before)
            await turns.forget()
    pstats.Stats(profile).sort_stats("tottime").print_stats(_MOST_LINES)


def _say(name: str, turn: int, taken_s: float, watched_s: float, before: Mapping[str, float]) -> None:
    each = in_words(spent(before), turn)
    sys.stdout.write(f"{name}: {turn / taken_s:,.0f}/s; {watched_s:.2f} s watched; processor, µs a message: {each}\n")


if __name__ == "__main__":
    main()
