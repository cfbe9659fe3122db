"""Where ingest's time goes: whose processor it is, and in the writer's own process which part of the code.

`python -m bench.ingest_parts`, turns of TALLY_BENCH_INGEST_TURN messages (10,000). One that nothing watches tells the
time of processor by program, for ingest and for the reference; one is under cProfile, which makes everything slower:
its shares tell, its seconds do not.
"""

import cProfile
import os
import pstats
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter, process_time
from typing import Final
from uuid import uuid4

import uvloop
from tallystick_chassis.ids import TenantId
from tallystick_cli.stack.temporary import Databases, RunningServers, running_servers
from tallystick_contracts.topology import EVENT_STREAM, RECEIPT_STREAM
from tallystick_ledger.writing.job import WriterJob

from bench.append import arrival, ledger_writer, make_tables
from bench.ingest import _LEDGERS, _REFERENCE, _SOURCE, _Broker, _ingest, _pull_and_ack, _Receipts

_MOST_LINES: Final = 45
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print both tables."""
    turn = int(os.environ.get("TALLY_BENCH_INGEST_TURN", "10000"))
    with running_servers(durable=True) as servers:
        uvloop.run(_look(servers, servers.fresh_databases(), turn))


async def _look(servers: RunningServers, databases: Databases, turn: int) -> None:
    await make_tables(databases, servers.ca_file)
    tenant = TenantId(uuid4())
    async with AsyncExitStack() as closing:
        writer = await closing.enter_async_context(ledger_writer(databases, servers.ca_file))
        broker = await _Broker.at(servers, closing)
        confirmed = _Receipts(broker.ledger)
        pull = broker.ledger.pull(stream=EVENT_STREAM, durable=_LEDGERS.name)
        job = WriterJob(writer=writer, source=pull, receipts=confirmed)
        closing.push_async_callback(pull.close)
        closing.push_async_callback(job.close)
        receipts = broker.source.pull(stream=RECEIPT_STREAM, durable=f"rcpt-{_SOURCE}")
        bare = await broker.streams.pull_subscribe_bind(durable=_REFERENCE.name, stream=EVENT_STREAM)
        profile = cProfile.Profile()
        for number, name in enumerate(("warming up", "ingest", "profiled")):
            await broker.publish([arrival(tenant, number * turn + n + 1) for n in range(turn)])
            before, begin = _processors(), perf_counter()
            if name == "profiled":
                profile.enable()
            taken_s = await _ingest(job, confirmed, receipts, turn)
            profile.disable()
            _say(name, turn, taken_s, perf_counter() - begin, before)
            before, begin = _processors(), perf_counter()
            bare_s = await _pull_and_ack(bare, broker.admin, turn)
            _say(f"reference after {name}", turn, bare_s, perf_counter() - begin, before)
            await broker.forget()
    pstats.Stats(profile).sort_stats("tottime").print_stats(_MOST_LINES)


def _say(name: str, turn: int, taken_s: float, watched_s: float, before: Counter[str]) -> None:
    spent = _processors() - before
    each = ", ".join(f"{who} {seconds / turn * 1e6:.1f}" for who, seconds in spent.most_common())
    sys.stdout.write(f"{name}: {turn / taken_s:,.0f}/s; {watched_s:.2f} s watched; processor, µs a message: {each}\n")


def _processors() -> Counter[str]:
    """Return the seconds of processor that each program on this machine has used, by its name; this one as `this`."""
    used: Counter[str] = Counter({"this": process_time()})
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it has ended
        if name in {"postgres", "nats-server"}:
            fields = rest.split()
            used[name] += (int(fields[11]) + int(fields[12])) * _TICK_S
    return used


if __name__ == "__main__":
    main()
