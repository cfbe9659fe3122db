"""`append_one_log`, `append_four_logs`: the ledger's writer against bare inserts of the same bytes on the same server.

What the writer does for a batch is everything from checked events to the commit: plan, lines, chain, tree, signature,
insert with all guards and indexes, feeds' heads, checkpoint. It has as many batches of a log in hand as the ledger's
worker has (`lane.AHEAD`): one on its way to the disk, one at its checks, one being built. The reference inserts the
same rows, finished, into a table without constraint, index, trigger or policy, one batch after another on a connection
for each log, and commits each (append_reference_*.sql). Both take batches of 500 through asyncpg over TLS, in turns of
ten, with fsync on and the database on the disk.

TALLY_BENCH_BATCHES is the number of batches in all (200).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final
from uuid import uuid4

import uvloop
from tallystick_chassis.ids import TenantId
from tallystick_cli.stack.temporary import Databases, running_servers
from tallystick_contracts.message import LogKind
from tallystick_ledger.writing.arrival import Arrival
from tallystick_ledger.writing.lane import AHEAD
from tallystick_ledger.writing.writer import LedgerWriter

from bench.append import BARE, BATCH, BareInserts, bare_rows, batches, ledger_writer, make_tables
from bench.measure import Measure, Result, result

GOAL_ONE: Final = 0.50
GOAL_FOUR: Final = 0.55
_FOUR: Final = 4
ROUND: Final = 10
_WARM_UP_ROUNDS: Final = 1

_Side = Callable[[], Awaitable[None]]


def take_one() -> Result:
    """Append to one log."""
    return _take("append_one_log", 1, GOAL_ONE)


def take_four() -> Result:
    """Append to four logs side by side."""
    return _take("append_four_logs", _FOUR, GOAL_FOUR)


def _take(name: str, logs: int, goal: float) -> Result:
    rounds = max(1, int(os.environ.get("TALLY_BENCH_BATCHES", "200")) // ROUND // logs)
    with running_servers(durable=True) as servers:
        databases = servers.fresh_databases()
        writer_s, bare_s = uvloop.run(_measure(databases, servers.ca_file, logs, rounds))
    entries = ROUND * BATCH * logs
    # Medians: a checkpoint of the server or another process falls on a few rounds of either side.
    return result(
        name=name,
        value=entries / median(writer_s),
        unit="entries/s",
        reference=BARE if logs == 1 else f"{BARE}, {logs} connections",
        reference_value=entries / median(bare_s),
        goal=goal,
    )


async def _measure(databases: Databases, ca_file: Path, logs: int, rounds: int) -> tuple[list[float], list[float]]:
    writer_s, bare_s = [], []
    async for number, append, insert in rounds_of(databases, ca_file, logs, rounds):
        begin = perf_counter()
        await append()
        between = perf_counter()
        await insert()
        end = perf_counter()
        if number >= 0:
            writer_s.append(between - begin)
            bare_s.append(end - between)
    return writer_s, bare_s


async def rounds_of(
    databases: Databases, ca_file: Path, logs: int, rounds: int
) -> AsyncIterator[tuple[int, _Side, _Side]]:
    """Give each round's number, from -1 on, which warms up, and its two sides, with everything made that they take."""
    await make_tables(databases, ca_file)
    tenants = [TenantId(uuid4()) for _ in range(logs)]
    async with AsyncExitStack() as closing:
        bare = [await BareInserts.on(databases, ca_file) for _ in range(logs)]
        for one in bare:
            closing.push_async_callback(one.close)
        writer = await closing.enter_async_context(ledger_writer(databases, ca_file))
        for number in range(-_WARM_UP_ROUNDS, rounds):
            first = (number + _WARM_UP_ROUNDS) * ROUND * BATCH + 1
            work = [batches(tenant, first, ROUND) for tenant in tenants]
            rows = [[bare_rows(batch) for batch in batches_of_one] for batches_of_one in work]
            yield number, partial(_append_all, writer, work), partial(_insert_all, bare, rows)


async def _append_all(writer: LedgerWriter, work: Sequence[Sequence[list[Arrival]]]) -> None:
    await asyncio.gather(*(append_ahead(writer, of_one) for of_one in work))


async def _insert_all(bare: Sequence[BareInserts], rows: Sequence[Sequence[tuple[object, ...]]]) -> None:
    await asyncio.gather(*(_insert(one, of_one) for one, of_one in zip(bare, rows, strict=True)))


async def append_ahead(writer: LedgerWriter, work: Sequence[list[Arrival]]) -> None:
    """Record batches of one log in order, with as many in hand as a lane of the worker has."""
    waiting = iter(work)

    async def take() -> None:
        for batch in waiting:
            outcome = await writer.record(batch[0].tenant, LogKind.COMPLIANCE, batch)
            if [len(one.places) for one in outcome.committed] != [len(batch)]:
                message = "a batch was not recorded as one"
                raise RuntimeError(message)

    await asyncio.gather(*(take() for _ in range(AHEAD)))


async def _insert(bare: BareInserts, work: Sequence[tuple[object, ...]]) -> None:
    for rows in work:
        await bare.insert(rows)


ONE: Final = Measure("append_one_log", take_one)
FOUR: Final = Measure("append_four_logs", take_four)
