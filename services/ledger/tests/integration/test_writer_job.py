"""The writer's loop on real NATS: what is published is recorded, answered with receipts, never dropped in silence."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from tallystick_chassis.bus import Bus, BusMessage
from tallystick_chassis.ids import TenantId
from tallystick_contracts.topology import event_subject
from tallystick_ledger.writing.job import PLATFORM_TENANT, WriterJob
from tallystick_tlog.receipt import Receipt, verify_receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg
    from tallystick_chassis.bus import Pull
    from tallystick_cli.stack.temporary import RunningServers
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader, StoredLog


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


@pytest.fixture
async def job(writer: LedgerWriter, ledger_bus: Bus) -> AsyncIterator[WriterJob]:
    """The writer's loop, with the durable emptied of what tests before have left."""
    pull = ledger_bus.pull(stream="EVT", durable="ledger")
    while left := await pull.fetch(500, 0.2):
        for delivery in left:
            await delivery.ack()
    job = WriterJob(writer=writer, source=pull, receipts=ledger_bus)
    yield job
    await job.close()
    await pull.close()


@pytest.fixture
async def receipts(identity_bus: Bus) -> AsyncIterator[Pull]:
    """Identity's receipts from now on."""
    pull = identity_bus.pull(stream="RCPT", durable="rcpt-identity")
    while left := await pull.fetch(500, 0.2):
        for delivery in left:
            await delivery.ack()
    yield pull
    await pull.close()


def message(arrival: Arrival, *, subject: str | None = None, seq: str | None = None) -> BusMessage:
    event = arrival.event
    right = event_subject(arrival.tenant, event.source, event.aggregate, event.event_type.verb)
    return BusMessage(subject or right, arrival.body, {"source-seq": seq or str(arrival.source_seq)})


async def drain(job: WriterJob, steps: int = 100) -> None:
    """Step until nothing comes."""
    for _ in range(steps):
        if not await job.step():
            return


async def expect_receipts(receipts: Pull, arrivals: list[Arrival], *logs: StoredLog) -> None:
    """Verify receipts as their source would, until all arrivals are proved."""
    bodies = {str(one.event.id): one.body for one in arrivals}
    proved: set[str] = set()
    async with asyncio.timeout(10):
        while proved != set(bodies):
            for delivery in await receipts.fetch(500, 0.5):
                receipt = Receipt.from_json(delivery.payload)
                proved.update(verify_receipt(receipt, bodies, [log.verifier for log in logs]))
                await delivery.ack()


async def test_what_is_published_is_recorded_and_answered_with_a_receipt(
    *,
    job: WriterJob,
    identity_bus: Bus,
    receipts: Pull,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
) -> None:
    arrivals = source.compliance(tenant, 60) + source.audit(tenant, 40)
    await identity_bus.publish_batch([message(one) for one in arrivals], timeout_s=5)
    await drain(job)
    compliance, audit = await reader.logs(tenant)
    assert (len(compliance.lines), len(audit.lines)) == (60, 40)
    await expect_receipts(receipts, arrivals, compliance, audit)


async def test_a_second_delivery_is_answered_with_a_receipt_again(
    *,
    job: WriterJob,
    identity_bus: Bus,
    receipts: Pull,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
) -> None:
    arrivals = source.compliance(tenant, 3)
    for _ in range(2):
        await identity_bus.publish_batch([message(one) for one in arrivals], timeout_s=5)
        await drain(job)
        (log,) = await reader.logs(tenant)
        assert len(log.lines) == 3
        await expect_receipts(receipts, arrivals, log)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda one, tenant: message(one, subject=f"evt.{tenant}.identity.user.created"), "wrong_subject"),
        (lambda one, tenant: message(one, subject=f"evt.{tenant}.identity.tenant"), "bad_subject"),
        (lambda one, _tenant: message(one, seq="0"), "bad_sequence"),
        (lambda one, _tenant: message(one, seq="٣"), "bad_sequence"),
        (
            lambda one, _tenant: BusMessage(message(one).subject, one.body + b" ", {"source-seq": "1"}),
            "broken_contract",
        ),
        (lambda one, _tenant: BusMessage(message(one).subject, b"\xff", {"source-seq": "1"}), "broken_contract"),
        (lambda one, _tenant: BusMessage(message(one).subject, b"x" * 70_000, {"source-seq": "1"}), "too_large"),
    ],
)
async def test_what_breaks_its_contract_is_quarantined_with_an_alarm(
    *,
    job: WriterJob,
    identity_bus: Bus,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
    capsys: pytest.CaptureFixture[str],
    spoil: object,
    reason: str,
) -> None:
    (arrival,) = source.compliance(tenant)
    await identity_bus.publish_batch([spoil(arrival, tenant)] * 2, timeout_s=5)  # type: ignore[operator]
    await drain(job)
    row = await superuser.fetchrow("select reason, seen from ledger.quarantine where tenant_id = $1", tenant)
    assert row is not None
    assert tuple(row) == (reason, 2)
    assert await reader.logs(tenant) == []
    assert capsys.readouterr().out.count("ledger_event_quarantined") == 1


async def test_a_subject_without_a_tenant_is_quarantined_at_the_platforms(
    job: WriterJob, identity_bus: Bus, superuser: asyncpg.Connection
) -> None:
    body = uuid4().bytes
    await identity_bus.publish_batch([BusMessage("evt.nobody.identity.tenant.created", body)], timeout_s=5)
    await drain(job)
    tenant = await superuser.fetchval("select tenant_id from ledger.quarantine where body = $1", body)
    assert tenant == PLATFORM_TENANT == UUID(int=0)


async def test_another_event_under_a_recorded_number_is_quarantined(
    *,
    job: WriterJob,
    identity_bus: Bus,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
) -> None:
    first, second = source.compliance(tenant, 2)
    await identity_bus.publish_batch([message(first)], timeout_s=5)
    await drain(job)
    await identity_bus.publish_batch([message(second, seq="1")], timeout_s=5)
    await drain(job)
    (log,) = await reader.logs(tenant)
    assert len(log.lines) == 1
    row = await superuser.fetchrow("select reason, body from ledger.quarantine where tenant_id = $1", tenant)
    assert row is not None
    assert tuple(row) == ("conflict", second.body)


async def test_a_source_cannot_speak_for_another(
    job: WriterJob, identity_bus: Bus, tenant: TenantId, source: FakeSource, superuser: asyncpg.Connection
) -> None:
    # Identity may publish below its own name only, so it would have to put another's event under it.
    (export,) = source.exports(tenant)
    subject = f"evt.{tenant}.identity.export.created"
    await identity_bus.publish_batch([BusMessage(subject, export.body, {"source-seq": "1"})], timeout_s=5)
    await drain(job)
    reason = await superuser.fetchval("select reason from ledger.quarantine where tenant_id = $1", tenant)
    assert reason == "wrong_subject"


async def test_one_tenants_trouble_stops_no_other(
    *,
    job: WriterJob,
    identity_bus: Bus,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
    ledger_bus: Bus,
    make_writer: Callable[[], LedgerWriter],
) -> None:
    other = TenantId(uuid4())
    for one in (tenant, other):
        await identity_bus.publish_batch([message(source.compliance(one)[0])], timeout_s=5)
    await drain(job)
    # A log whose checkpoints are gone cannot be continued; nobody but a superuser can make one.
    await superuser.execute("alter table ledger.checkpoints disable trigger all")
    await superuser.execute("delete from ledger.checkpoints where tenant_id = $1", tenant)
    await superuser.execute("alter table ledger.checkpoints enable trigger all")
    for one in (tenant, other):
        await identity_bus.publish_batch([message(source.compliance(one)[0])], timeout_s=5)
    restarted = WriterJob(
        writer=make_writer(), source=ledger_bus.pull(stream="EVT", durable="ledger"), receipts=ledger_bus
    )
    for _ in range(100):  # the two need not arrive in one batch
        await restarted.step()
        (broken,), (whole,) = await reader.logs(tenant), await reader.logs(other)
        if len(whole.lines) == 2:
            break
    await restarted.close()
    assert (len(broken.lines), len(whole.lines)) == (1, 2)
