"""`rolling_restart`: every process of every service replaced, one after the other, under 200 requests a second.

As Kubernetes rolls a Deployment with the chart's settings: each API has two replicas behind a balancer; a new one is
started and gets connections when it is ready, then an old one gets SIGTERM, says that it is not ready, serves on while
it drains, and finishes what it has. Workers have one, and the new one starts first likewise. Four of five requests
read, over connections that are kept open; the others are commands. Nothing is sent twice.

What counts: requests that were answered otherwise than they should have been, or not at all, and accepted commands of
which an event is missing in the stores or in the ledger. A run in which the load or the answers fell behind the rate
is no measure.
"""

import asyncio
import contextlib
import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from time import perf_counter
from typing import Final
from uuid import uuid4

import uvloop
from tallystick_cli.stack import boot, database_setup
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.services import DATABASE, Servers
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.topology import ServiceName
from tallystick_demo.accounts import everything_confirmed

from bench.asks import Ask, asks
from bench.connections import NoAnswerError
from bench.fleet import Fleet, fleet
from bench.measure import Measure, Result, result

_KEEPS_UP: Final = 0.95
_SHOWN: Final = 200
_MADE: Final = " union all ".join(
    f"select idempotency_key, event_id from {service}.events"  # noqa: S608 - constants
    for service in ServiceName
)
_RECORDED: Final = f"""
    select idempotency_key from ({_MADE}) as made left join ledger.entries as entries using (event_id)
    where idempotency_key is not null
    group by idempotency_key having count(*) = count(entries.event_id)
"""  # noqa: S608 - constants


@dataclass
class Told:
    """What became of the requests.

    How many were sent and came to an end, how long the answers took, which were wrong and how, and the keys of accepted
    commands.
    """

    sent: int = 0
    answered: int = 0
    took_s: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)


def take() -> Result:
    """Replace every process once.

    TALLY_BENCH_DRAIN_S says how long an API drains (10, as in the chart), TALLY_BENCH_A_SECOND how many requests a
    second arrive (200): fewer where one machine has to send, balance and answer them all.
    """
    drain_s = float(os.environ.get("TALLY_BENCH_DRAIN_S", "10"))
    a_second = int(os.environ.get("TALLY_BENCH_A_SECOND", "200"))
    with running_servers() as running, _mail(running.servers):
        boot.fill(running.servers)
        told, took_s, under_way = uvloop.run(_measure(running.servers, drain_s, a_second))
        recorded = set(database_setup.run_sql(running.servers, DATABASE, [_RECORDED]).split())
    lost = [key for key in told.accepted if key not in recorded]
    sys.stderr.write(
        f"{told.sent:,} requests in {took_s:.0f} s, {len(told.accepted):,} of them accepted commands, "
        f"{len(lost)} lost; wrong: {dict(told.wrong) or 'none'}; {_latency(told.took_s)}; "
        f"{under_way} under way at the end\n"
    )
    for what, count in (("sent", told.sent), ("answered", told.sent - under_way)):
        if count < _KEEPS_UP * a_second * took_s:
            message = f"only {count / took_s:.0f} requests a second were {what}: this machine cannot carry {a_second}"
            raise RuntimeError(message)
    return result(
        name="rolling_restart",
        value=told.wrong.total() + len(lost),
        unit="requests refused or lost",
        reference=f"requests, {a_second} a second",
        reference_value=told.sent,
        goal=0.0,
        better="lower",
    )


@contextlib.contextmanager
def _mail(servers: Servers) -> Iterator[None]:
    child = Child.start(boot.mail_program(servers))
    try:
        yield
    finally:
        child.ask_to_stop()
        child.wait_until_stopped(5.0)


def _latency(took_s: Sequence[float]) -> str:
    middle, late = (1000 * quantiles(took_s, n=100)[part - 1] for part in (50, 99))
    return f"answered within {middle:.0f} ms (median), {late:.0f} ms (p99), {1000 * max(took_s):.0f} ms (all)"


async def _measure(servers: Servers, drain_s: float, a_second: int) -> tuple[Told, float, int]:
    async with fleet(servers, drain_s=drain_s) as running, asks(servers.layout) as wanted:
        told, stop = Told(), asyncio.Event()
        loading = asyncio.create_task(_load(wanted, told, stop, a_second))
        began = perf_counter()
        try:
            await _roll(running)
        finally:
            stop.set()
            took_s = perf_counter() - began
            under_way = told.sent - told.answered
            await loading
        await everything_confirmed(servers.layout)
    return told, took_s, under_way


async def _roll(running: Fleet) -> None:
    for deployment in running.deployments:
        for old in tuple(deployment.replicas):
            began = perf_counter()
            await running.replace(deployment, old)
            sys.stderr.write(f"{deployment.name}: replaced in {perf_counter() - began:.1f} s\n")


async def _load(wanted: Sequence[Ask], told: Told, stop: asyncio.Event, a_second: int) -> None:
    """Send at a steady rate, whether or not the answers keep up."""
    async with asyncio.TaskGroup() as group:
        began = perf_counter()
        for number, ask in enumerate(itertools.cycle(wanted)):
            await asyncio.sleep(max(0.0, began + number / a_second - perf_counter()))
            if stop.is_set():
                return
            group.create_task(_send(ask, told))


async def _send(ask: Ask, told: Told) -> None:
    told.sent += 1
    key, began = f"bench-{uuid4().hex}", perf_counter()
    try:
        answer = await ask.send(key)
    except (OSError, NoAnswerError) as error:
        told.wrong[f"{ask.route}: {type(error).__name__} {error}"[:_SHOWN]] += 1
        return
    finally:
        told.answered += 1
    told.took_s.append(perf_counter() - began)
    if answer.status != ask.status:
        told.wrong[f"{ask.route}: {answer.status} {answer.body[:_SHOWN]!r}"] += 1
    elif ask.body is not None:
        told.accepted.append(key)


MEASURE: Final = Measure("rolling_restart", take)
