"""Two batches of one log on their way at once: the second one is recorded after the first, or not at all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tallystick_contracts.message import LogKind
from tallystick_ledger.errors import LogBusyError
from tallystick_ledger.logs.domain import Log, LogId
from tallystick_ledger.writing import store
from tallystick_ledger.writing.batch import Batch, build_batch
from tallystick_ledger.writing.connection import raw_connection
from tallystick_ledger.writing.tail import Tail
from tallystick_ledger.writing.writer import Outcome
from tallystick_tlog.note import Signer
from tallystick_tlog.tree import CompactRange

from .conftest import SEED
from .test_writer import confirmed, expect_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.ids import TenantId
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader

L = LogKind.COMPLIANCE
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
_WAITS = "select count(*) from pg_locks where not granted and pid = $1"


@pytest.fixture
async def tail(writer: LedgerWriter, source: FakeSource, tenant: TenantId, superuser: asyncpg.Connection) -> Tail:
    """The end of a log of two entries."""
    await writer.record(tenant, L, source.compliance(tenant, 2))
    row = await superuser.fetchrow(
        "select logs.*, frontier from ledger.logs inner join ledger.checkpoints "
        "on checkpoints.log_id = logs.id and checkpoints.size = logs.size where logs.tenant_id = $1",
        tenant,
    )
    assert row is not None
    log = Log(tenant, LogId(row["id"]), L, None, row["origin"], row["size"], row["head"], NOON, NOON, None)
    return Tail(log, CompactRange.from_bytes(row["frontier"]), {})


def build(tail: Tail, arrivals: Sequence[Arrival]) -> Batch:
    return build_batch(tail.log, tail.frontier, tuple(arrivals), NOON, Signer(tail.log.origin, SEED))


async def append(connection: asyncpg.Connection, batch: Batch) -> bool:
    return await store.append(connection, batch, signed_at=NOON)


async def waiting(superuser: asyncpg.Connection, connection: asyncpg.Connection) -> None:
    """Return as soon as the connection waits for a lock."""
    async with asyncio.timeout(5):
        while not await superuser.fetchval(_WAITS, connection.get_server_pid()):  # noqa: ASYNC110 - it is in the server
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("first_is", ["committed", "rolled back"])
async def test_the_second_batch_waits_for_the_first_and_stands_or_falls_with_it(
    *,
    duty: DutyDatabase,
    source: FakeSource,
    tenant: TenantId,
    tail: Tail,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
    first_is: str,
) -> None:
    one = build(tail, source.compliance(tenant, 3))
    two = build(tail.after(one), source.compliance(tenant, 2))
    async with raw_connection(duty) as first, raw_connection(duty) as second:
        transaction = first.transaction()
        await transaction.start()
        assert await append(first, one)
        sent = asyncio.create_task(append(second, two))
        await waiting(superuser, second)
        (stored,) = await reader.logs(tenant)
        assert len(stored.lines) == 2  # nobody sees either
        if first_is == "committed":
            await transaction.commit()
            assert await sent
        else:
            await transaction.rollback()
            with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not continue its log"):
                await sent
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == (7 if first_is == "committed" else 2)
    expect_whole(stored)


async def test_a_short_batch_does_not_overtake_a_long_one(
    duty: DutyDatabase, source: FakeSource, tenant: TenantId, tail: Tail, superuser: asyncpg.Connection
) -> None:
    long = build(tail, source.compliance(tenant, 300))
    short = build(tail.after(long), source.compliance(tenant))
    async with raw_connection(duty) as first, raw_connection(duty) as second, first.transaction():
        # The long one has said that it is on its way, and is still at its checks: it has no row and no log locked yet.
        await first.execute(
            "select pg_advisory_xact_lock(hashtextextended('ledger.to:' || $1, $2))", str(tail.log.id), long.size
        )
        sent = asyncio.create_task(append(second, short))
        await waiting(superuser, second)
        assert await append(first, long)
        await first.execute("commit")
        assert await sent
        await first.execute("begin")


async def test_of_two_batches_for_one_place_the_second_is_refused(
    *,
    duty: DutyDatabase,
    source: FakeSource,
    tenant: TenantId,
    tail: Tail,
    reader: LedgerReader,
) -> None:
    mine, theirs = build(tail, source.compliance(tenant, 3)), build(tail, source.exports(tenant, 2))
    async with raw_connection(duty) as first, raw_connection(duty) as second:
        async with first.transaction():
            assert await append(first, theirs)
            assert not await append(second, mine)  # without any work, while the first is on its way and afterwards
        assert not await append(second, mine)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 4
    expect_whole(stored)


async def test_a_log_without_its_newest_checkpoint_is_not_continued(
    duty: DutyDatabase, source: FakeSource, tenant: TenantId, tail: Tail, superuser: asyncpg.Connection
) -> None:
    await superuser.execute("alter table ledger.checkpoints disable trigger all")
    try:
        await superuser.execute("delete from ledger.checkpoints where tenant_id = $1", tenant)
    finally:
        await superuser.execute("alter table ledger.checkpoints enable trigger all")
    async with raw_connection(duty) as connection:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="has no checkpoint at its size 2"):
            await append(connection, build(tail, source.compliance(tenant)))
    assert await superuser.fetchval("select size from ledger.logs where tenant_id = $1", tenant) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_batch_whose_connection_dies_leaves_the_next_ones_in_order(
    *,
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    await writer.record(tenant, L, source.compliance(tenant, 2))
    batches = [source.compliance(tenant, 30) for _ in range(4)]
    original, dying = store.append, [True]

    async def append_and_die(connection: asyncpg.Connection, batch: Batch, *, signed_at: datetime) -> bool:
        if not dying:
            return await original(connection, batch, signed_at=signed_at)
        dying.clear()
        await asyncio.sleep(0.05)  # so the others are on their way
        if moment == "after":
            await original(connection, batch, signed_at=signed_at)
        await superuser.execute("select pg_terminate_backend($1)", connection.get_server_pid())
        return await original(connection, batch, signed_at=signed_at)

    monkeypatch.setattr(store, "append", append_and_die)
    outcomes = await asyncio.gather(*(writer.record(tenant, L, one) for one in batches), return_exceptions=True)
    assert isinstance(outcomes[0], Exception)
    everything = [arrival for batch in batches for arrival in batch]
    again = await writer.record(tenant, L, everything)  # what has no receipt comes again
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 122
    expect_whole(stored)
    assert confirmed(again, everything, stored) == {str(arrival.event.id) for arrival in everything}


async def test_two_writers_with_several_batches_each_on_their_way_make_one_log(
    make_writer: Callable[[], LedgerWriter], source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    writers = [make_writer(), make_writer()]
    for one in writers:
        await one.record(tenant, L, [*source.compliance(tenant), *source.exports(tenant)])
    batches = [part for _ in range(12) for part in (source.compliance(tenant, 20), source.exports(tenant, 20))]

    async def record(number: int, batch: list[Arrival]) -> Outcome:
        while True:
            try:
                return await writers[number % 2].record(tenant, L, batch)
            except LogBusyError:  # as a lane does
                await asyncio.sleep(0.1)

    # Each has half of them, and both have every fifth.
    shared = [record(number + 1, batch) for number, batch in enumerate(batches) if number % 5 == 0]
    outcomes = await asyncio.gather(*(record(n, batch) for n, batch in enumerate(batches)), *shared)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 4 + 24 * 20
    expect_whole(stored)
    assert not any(outcome.conflicts or outcome.held for outcome in outcomes)


async def test_a_writer_that_was_thrown_back_to_the_lock_goes_on_from_memory_under_constant_load(
    *,
    writer: LedgerWriter,
    make_writer: Callable[[], LedgerWriter],
    source: FakeSource,
    tenant: TenantId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await writer.record(tenant, L, [*source.compliance(tenant), *source.exports(tenant)])
    await make_writer().record(tenant, L, source.exports(tenant))
    original, locked = store.lock_log, []

    async def counted(*args: object, **keywords: object) -> object:
        locked.append(1)
        return await original(*args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "lock_log", counted)
    work = iter([source.compliance(tenant, 20) for _ in range(30)])

    async def take() -> None:
        for batch in work:
            outcome = await writer.record(tenant, L, batch)
            assert [len(one.places) for one in outcome.committed] == [20]

    await asyncio.gather(take(), take(), take())
    assert 1 <= len(locked) <= 6  # those that were on their way when the other writer's entries were found, and no more
