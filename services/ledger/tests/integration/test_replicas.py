"""Two replicas of the writer on one durable: both work, one takes over, and a log that is held holds no other."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest
from tallystick_chassis.bus import Bus, BusMessage
from tallystick_chassis.ids import TenantId
from tallystick_contracts.topology import DURABLES, ServiceName, event_subject
from tallystick_ledger.writing.job import TEND_AFTER_S, WriterJob
from tallystick_tlog.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tallystick_chassis.bus import Pull
    from tallystick_cli.stack.temporary import Databases, RunningServers
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader

pytestmark = pytest.mark.xdist_group("ledger-process")
TAKE_OVER_S = 5.0
_SIZE = "select coalesce(sum(size), 0)::bigint from ledger.logs"


async def _bus(stack: RunningServers, user: str) -> AsyncIterator[Bus]:
    bus = Bus(stack.nats_url, name=user, seed=stack.nats_seed(user).read_text().strip(), ca_file=stack.ca_file)
    await bus.client()
    yield bus
    await bus.close()


@pytest.fixture
async def ledger_bus(stack: RunningServers) -> AsyncIterator[Bus]:
    async for bus in _bus(stack, "ledger"):
        yield bus


@pytest.fixture
async def identity_bus(stack: RunningServers) -> AsyncIterator[Bus]:
    async for bus in _bus(stack, "identity"):
        yield bus


async def empty(pull: Pull) -> None:
    """Acknowledge what tests before have left."""
    while left := await pull.fetch(500, 0.2):
        for delivery in left:
            await delivery.ack()
    await pull.close()


@pytest.fixture
async def jobs(
    stack: RunningServers, make_writer: Callable[[], LedgerWriter], ledger_bus: Bus
) -> AsyncIterator[list[WriterJob]]:
    """Two replicas, each with a connection and a memory of its own."""
    await empty(ledger_bus.pull(stream="EVT", durable="ledger"))
    async for bus in _bus(stack, "ledger"):
        pulls = [one.pull(stream="EVT", durable="ledger") for one in (ledger_bus, bus)]
        made = [WriterJob(writer=make_writer(), source=pull, receipts=ledger_bus) for pull in pulls]
        yield made
        for job, pull in zip(made, pulls, strict=True):
            await job.close()
            await pull.close()


def message(arrival: Arrival) -> BusMessage:
    event = arrival.event
    subject = event_subject(arrival.tenant, event.source, event.aggregate, event.event_type.verb)
    return BusMessage(subject, arrival.body, {"source-seq": str(arrival.source_seq)})


async def publish(bus: Bus, arrivals: Sequence[Arrival], batch: int = 100) -> None:
    for start in range(0, len(arrivals), batch):
        await bus.publish_batch([message(one) for one in arrivals[start : start + batch]], timeout_s=20)


async def run(jobs: Sequence[WriterJob], until: Callable[[], Awaitable[bool]]) -> None:
    """Step all jobs, as their workers do, until it is so."""

    async def repeat(job: WriterJob) -> None:
        while True:
            await job.step()

    running = [asyncio.create_task(repeat(job)) for job in jobs]
    try:
        async with asyncio.timeout(60):
            while not await until():  # noqa: ASYNC110 - what is waited for is in the database
                await asyncio.sleep(0.02)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_two_replicas_share_the_work_of_one_log_and_of_many(
    jobs: list[WriterJob],
    identity_bus: Bus,
    source: FakeSource,
    reader: LedgerReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenants = [TenantId(uuid4()) for _ in range(4)]
    worked: list[int] = []
    for number, job in enumerate(jobs):
        original = job._writer.record

        async def record(*args: object, number: int = number, original: object = original, **more: object) -> object:
            worked.append(number)
            return await original(*args, **more)  # type: ignore[operator]

        monkeypatch.setattr(job._writer, "record", record)
    everything = [one for n in range(20) for tenant in tenants for one in source.compliance(tenant, 25 + n % 3)]
    await publish(identity_bus, everything)

    async def done() -> bool:
        return await reader.count(tenants) >= len(everything)

    await run(jobs, done)
    assert set(worked) == {0, 1}
    for tenant in tenants:
        (log,) = await reader.logs(tenant)
        sent = [one.body for one in everything if one.tenant == tenant]
        assert all(body in line for body, line in zip(sent, log.lines, strict=True))


async def test_a_log_that_is_held_for_seconds_delays_no_other_and_loses_nothing(
    *,
    jobs: list[WriterJob],
    identity_bus: Bus,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
) -> None:
    other = TenantId(uuid4())
    await publish(identity_bus, [*source.compliance(tenant), *source.compliance(other)])

    async def both_are_open() -> bool:
        return await reader.count([tenant, other]) == 2

    await run(jobs, both_are_open)
    held = source.compliance(tenant, 3_000)  # more than the two take in hand
    free = source.compliance(other, 300)

    async def free_is_recorded() -> bool:
        return await reader.count([other]) == 301

    transaction = superuser.transaction()
    await transaction.start()
    await superuser.execute("select from ledger.logs where tenant_id = $1 for update", tenant)
    await publish(identity_bus, held, 500)
    await publish(identity_bus, free)
    try:
        await run(jobs, free_is_recorded)
        assert await reader.count([tenant]) == 1
        began = time.monotonic()

        async def all_was_let_go() -> bool:
            return time.monotonic() - began > TEND_AFTER_S + 1

        await run(jobs, all_was_let_go)
    finally:
        await transaction.rollback()

    async def everything_is_recorded() -> bool:
        return await reader.count([tenant]) == 3_001

    await run(jobs, everything_is_recorded)
    (log,) = await reader.logs(tenant)
    assert all(one.body in line for one, line in zip(held, log.lines[1:], strict=True))


def test_what_a_killed_replica_had_in_hand_comes_again_in_time() -> None:
    (durable,) = (one for one in DURABLES if one.name == "ledger")
    assert TEND_AFTER_S < durable.ack_wait_s < TAKE_OVER_S


def _worker(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tallystick_ledger", "worker"], env=environment, cwd="/")


@dataclass
class Load:
    """A source that goes on publishing, and publishes again what has no receipt, as a relay does."""

    bus: Bus
    source: FakeSource
    tenants: list[TenantId]
    unproved: dict[str, Arrival] = field(default_factory=dict)
    sent: int = 0

    async def publish(self, for_s: float) -> None:
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            batch = [one for tenant in self.tenants for one in self.source.compliance(tenant, 20)]
            self.unproved |= {str(one.event.id): one for one in batch}
            self.sent += len(batch)
            await publish(self.bus, batch)
            await asyncio.sleep(0.05)

    async def wait_for_receipts(self) -> None:
        receipts = self.bus.pull(stream="RCPT", durable="rcpt-identity")
        again_at = time.monotonic() + 8.0
        async with asyncio.timeout(180):
            while self.unproved:
                for delivery in await receipts.fetch(500, 0.5):
                    for event in Receipt.from_json(delivery.payload).events:
                        self.unproved.pop(event.id, None)
                    await delivery.ack()
                if time.monotonic() > again_at:
                    await publish(self.bus, list(self.unproved.values()))
                    again_at = time.monotonic() + 8.0
        await receipts.close()


async def grown(superuser: asyncpg.Connection, least: int) -> float:
    """Wait until the logs together have so many entries, and say when that was."""
    async with asyncio.timeout(60):
        while await superuser.fetchval(_SIZE) < least:  # noqa: ASYNC110 - what is waited for is in the database
            await asyncio.sleep(0.02)
    return time.monotonic()


async def test_when_a_replica_is_killed_under_load_the_other_goes_on_and_everything_is_recorded_once(
    stack: RunningServers, copy_ledger: Callable[[], Databases], identity_bus: Bus, ledger_bus: Bus, source: FakeSource
) -> None:
    await empty(ledger_bus.pull(stream="EVT", durable="ledger"))
    await empty(identity_bus.pull(stream="RCPT", durable="rcpt-identity"))
    databases = copy_ledger()
    environment = {**os.environ, **databases.environment(ServiceName.LEDGER)}
    superuser = await asyncpg.connect(
        databases.superuser_dsn(), ssl=ssl.create_default_context(cafile=str(stack.ca_file))
    )
    load = Load(identity_bus, source, [TenantId(uuid4()) for _ in range(4)])
    workers = [_worker(environment) for _ in range(2)]
    try:
        await load.publish(0.1)
        await load.wait_for_receipts()
        for killed in (0, 1):  # each in turn, so that one that had work is among them
            loading = asyncio.create_task(load.publish(1.5))
            await asyncio.sleep(0.7)
            workers[killed].kill()
            killed_at, before = time.monotonic(), await superuser.fetchval(_SIZE)
            if killed == 0:
                # Five seconds on a machine that has a core to spare; what bounds them is tested above.
                assert await grown(superuser, before + 1) - killed_at < 3 * TAKE_OVER_S
            workers.append(_worker(environment))
            await loading
            await load.wait_for_receipts()
        ids = [row["event_id"] for row in await superuser.fetch("select event_id from ledger.entries")]
        assert len(ids) == len(set(ids)) == load.sent
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        await superuser.close()
