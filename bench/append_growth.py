"""`append_growth`: the writer's speed on a log of 5,000,000 entries against its speed on a log of 10,000.

Both lie in the same tables, so what grows is what really grows: indexes, tree, checkpoints. The long log is filled
through the guards, by the same function as always, but with synchronous commit off and in batches of 5,000. Each log is
measured when the tables hold what they will: the short one before the long one is filled.

TALLY_BENCH_GROWN is the long log's length. The default run takes 500,000 and about a minute; the figure of 5,000,000
takes ten times that and about 10 GB of disk (TMPDIR).
"""

import os
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final
from uuid import uuid4

import uvloop
from tallystick_chassis.ids import TenantId
from tallystick_cli.stack.temporary import Databases, running_servers
from tallystick_ledger.writing.writer import LedgerWriter

from bench.append import BATCH, batches, connect, fill, ledger_writer, make_tables
from bench.append_one_log import append_ahead
from bench.measure import Measure, Result, result

GOAL: Final = 0.85
_SHORT: Final = 10_000
_ROUND: Final = 10
_ROUNDS: Final = 10


def take() -> Result:
    """Fill, then append to both logs in turns."""
    grown = int(os.environ.get("TALLY_BENCH_GROWN", "500000"))
    with running_servers() as servers:
        long_s, short_s = uvloop.run(_measure(servers.fresh_databases(), servers.ca_file, grown))
    return result(
        name="append_growth",
        value=_ROUND * BATCH / median(long_s),
        unit="entries/s",
        reference=f"the same on a log of {_SHORT:,} entries, before there was one of {grown:,}",
        reference_value=_ROUND * BATCH / median(short_s),
        goal=GOAL,
    )


async def _measure(databases: Databases, ca_file: Path, grown: int) -> tuple[list[float], list[float]]:
    await make_tables(databases, ca_file)
    async with ledger_writer(databases, ca_file) as writer:
        short, long = TenantId(uuid4()), TenantId(uuid4())
        times: dict[TenantId, list[float]] = {short: [], long: []}
        sizes = {short: _SHORT, long: grown}
        superuser = await connect(databases, ca_file)
        # The short log is measured while the tables hold little but it, the long one when they hold everything.
        for tenant in (short, long):
            await append_ahead(writer, batches(tenant, 1, 1))
            await fill(superuser, tenant, sizes[tenant] - BATCH)
            await superuser.execute("analyze")
            await superuser.execute("checkpoint")
            times[tenant] = await _time(writer, tenant, sizes[tenant])
        await superuser.close()
    return times[long], times[short]


async def _time(writer: LedgerWriter, tenant: TenantId, size: int) -> list[float]:
    found = []
    for number in range(-1, _ROUNDS):  # before the first the writer has to look where the log ends
        work = batches(tenant, size + (number + 1) * _ROUND * BATCH + 1, _ROUND)
        begin = perf_counter()
        await append_ahead(writer, work)
        if number >= 0:
            found.append(perf_counter() - begin)
    return found


MEASURE: Final = Measure("append_growth", take)
