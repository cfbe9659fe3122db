"""The writer on real Postgres: whatever arrives, in whatever order, the log is what a naive reference makes of it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest
from tallystick_chassis.ids import TenantId
from tallystick_contracts.generated.identity import TenantCreated
from tallystick_contracts.message import LogKind
from tallystick_ledger.errors import LogBusyError
from tallystick_ledger.writing import store
from tallystick_ledger.writing.arrival import read_event
from tallystick_ledger.writing.receipts import receipt_messages
from tallystick_ledger.writing.writer import Outcome
from tallystick_tlog.checkpoint import open_checkpoint
from tallystick_tlog.entry import FIRST_PREV, build_line, parse_entry
from tallystick_tlog.hashing import leaf_hash
from tallystick_tlog.receipt import Receipt, verify_receipt
from tallystick_tlog.tree import CompactRange

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tallystick_chassis.database import DutyDatabase
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.batch import Batch
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader, SettableClock, StoredLog

L, A = LogKind.COMPLIANCE, LogKind.AUDIT


def expect_whole(stored: StoredLog) -> None:
    """Check a log from its lines alone: chain, order, source numbers, tree, every checkpoint."""
    prev, tree, last, roots = FIRST_PREV, CompactRange(), dict[tuple[str, str], int](), {}
    times = []
    for seq, line in enumerate(stored.lines):
        entry = parse_entry(line)
        assert (entry.seq, entry.prev, entry.log) == (seq, prev, stored.log["origin"])
        feed = (entry.event.source, entry.event.aggregate)
        assert entry.source_seq == last.get(feed, entry.source_seq - 1) + 1
        last[feed] = entry.source_seq
        times.append(entry.recorded)
        prev = leaf_hash(line)
        tree = tree.append(prev)
        roots[tree.end] = tree.root()
    assert times == sorted(times)
    assert (stored.log["size"], stored.log["head"]) == (len(stored.lines), prev)
    for row in stored.checkpoints:
        checkpoint = open_checkpoint(row["note"].encode(), [stored.verifier])
        assert (checkpoint.size, checkpoint.root) == (row["size"], roots[row["size"]]) == (row["size"], row["root"])
        assert CompactRange.from_bytes(row["frontier"]).end == row["size"]
    assert [row["start"] for row in stored.checkpoints] == [0, *(row["size"] for row in stored.checkpoints[:-1])]
    assert stored.checkpoints[-1]["size"] == len(stored.lines)


def confirmed(outcome: Outcome, arrivals: list[Arrival], stored: StoredLog) -> set[str]:
    """Verify the receipts as their sources would and return the ids that they prove."""
    bodies = {str(arrival.event.id): arrival.body for arrival in arrivals}
    proved: set[str] = set()
    for message in receipt_messages(outcome.committed):
        receipt = Receipt.from_json(message.payload)
        sources = {
            arrival.feed.source for arrival in arrivals if str(arrival.event.id) in {e.id for e in receipt.events}
        }
        assert {f"rcpt.{source}" for source in sources} == {message.subject}
        proved.update(verify_receipt(receipt, bodies, [stored.verifier]))
    return proved


async def test_a_batch_becomes_entries_a_checkpoint_and_receipts(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 3) + source.exports(tenant, 2)
    outcome = await writer.record(tenant, L, arrivals)
    (stored,) = await reader.logs(tenant)
    assert stored.log["origin"] == f"ledger.test/{tenant}/compliance"
    assert [arrival.body in line for arrival, line in zip(arrivals, stored.lines, strict=True)] == [True] * 5
    expect_whole(stored)
    assert confirmed(outcome, arrivals, stored) == {str(arrival.event.id) for arrival in arrivals}


async def test_the_log_is_what_a_naive_reference_makes_of_the_same_events(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader, clock: SettableClock
) -> None:
    recorded = []
    arrivals = []
    for count in (1, 300, 2, 256):
        clock.advance(seconds=1)
        batch = source.compliance(tenant, count)
        arrivals += batch
        recorded += [clock.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")] * count
        await writer.record(tenant, L, batch)
    (stored,) = await reader.logs(tenant)
    prev, lines = FIRST_PREV, []
    for seq, (arrival, at) in enumerate(zip(arrivals, recorded, strict=True)):
        lines.append(build_line(arrival.body, f"ledger.test/{tenant}/compliance", prev, at, seq, arrival.source_seq))
        prev = leaf_hash(lines[-1])
    assert stored.lines == lines
    expect_whole(stored)


async def test_what_arrives_out_of_order_is_recorded_in_order(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 40) + source.exports(tenant, 40)
    shuffled = random.Random(7).sample(arrivals, len(arrivals))  # noqa: S311 - a fixed shuffle
    source.down = True
    for start in range(0, 80, 80):
        await writer.record(tenant, L, shuffled[start : start + 80])
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 80
    expect_whole(stored)


async def test_a_duplicate_is_not_recorded_twice_but_gets_its_receipt_again(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    first, second = source.compliance(tenant, 2), source.exports(tenant, 3)
    await writer.record(tenant, L, [*first, *second])
    await writer.record(tenant, L, source.compliance(tenant, 4))
    again = await writer.record(tenant, L, [first[1], first[1], second[0]])
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 9
    assert confirmed(again, [*first, *second], stored) >= {str(first[1].event.id), str(second[0].event.id)}
    only_first = await writer.record(tenant, L, first[:1])
    assert [message.subject for message in receipt_messages(only_first.committed)] == ["rcpt.identity"]


async def test_a_gap_is_filled_from_the_source_at_once(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 1_203)
    outcome = await writer.record(tenant, L, arrivals[-3:])
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 1_203
    assert not outcome.held
    expect_whole(stored)
    assert confirmed(outcome, arrivals, stored) == {str(arrival.event.id) for arrival in arrivals}


async def test_what_lies_behind_a_gap_waits_while_the_source_is_away(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 5)
    source.down = True
    outcome = await writer.record(tenant, L, [arrivals[0], arrivals[3], arrivals[4]])
    assert outcome.held == arrivals[3:]
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 1
    source.down = False
    await writer.record(tenant, L, arrivals[3:])
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 5
    expect_whole(stored)


async def test_another_event_under_a_recorded_number_is_a_conflict(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 2)
    await writer.record(tenant, L, arrivals)
    other = replace(source.emit(tenant, TenantCreated(slug="other", name="B")), source_seq=2)
    outcome = await writer.record(tenant, L, [other])
    assert outcome.conflicts == [other]
    assert not outcome.committed
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 2


async def test_a_recorded_event_under_another_number_is_a_conflict(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 2)
    await writer.record(tenant, L, arrivals)
    moved = read_event(tenant, 3, arrivals[0].body)
    source.down = True
    outcome = await writer.record(tenant, L, [moved])
    assert outcome.conflicts == [moved]
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 2


async def test_two_writers_at_once_make_one_log(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 200) + source.exports(tenant, 200)
    audit = source.audit(tenant, 100)
    pieces = [arrivals[start : start + 25] for start in range(0, 400, 25)]
    overlapping = [*pieces, *random.Random(3).sample(pieces, 6)]  # noqa: S311 - a fixed choice
    await asyncio.gather(
        *(writer.record(tenant, L, piece) for piece in overlapping),
        *(writer.record(tenant, A, audit[start : start + 10]) for start in range(0, 100, 10)),
    )
    compliance, month = await reader.logs(tenant)
    assert (len(compliance.lines), len(month.lines)) == (400, 100)
    expect_whole(compliance)
    expect_whole(month)


async def test_two_writers_that_both_remember_the_log_take_turns(
    make_writer: Callable[[], LedgerWriter], source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    writers = [make_writer(), make_writer()]
    everything: list[Arrival] = []
    for _ in range(10):
        batches = [source.compliance(tenant, 20), source.exports(tenant, 20)]
        everything += [*batches[0], *batches[1]]
        await asyncio.gather(*(one.record(tenant, L, batch) for one, batch in zip(writers, batches, strict=True)))
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == len(everything) == 400
    expect_whole(stored)


async def test_what_another_writer_recorded_is_no_gap(
    make_writer: Callable[[], LedgerWriter], source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    first, second = make_writer(), make_writer()
    await first.record(tenant, L, source.compliance(tenant, 2))
    await second.record(tenant, L, source.compliance(tenant, 2))
    await first.record(tenant, L, source.compliance(tenant, 2))
    assert source.asked == 0
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 6
    expect_whole(stored)


async def test_batches_given_at_once_are_built_ahead_and_recorded_in_order(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    batches = [source.compliance(tenant, 30) for _ in range(6)]
    await writer.record(tenant, L, batches[0])
    source.down = True  # so what is not in order would be held
    outcomes = await asyncio.gather(*(writer.record(tenant, L, batch) for batch in batches[1:]))
    (stored,) = await reader.logs(tenant)
    assert not any(outcome.held for outcome in outcomes)
    assert [len(outcome.committed) for outcome in outcomes] == [1] * 5
    assert len(stored.lines) == 180
    expect_whole(stored)


async def test_what_was_built_upon_a_batch_that_failed_is_built_again(
    *,
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await writer.record(tenant, L, source.compliance(tenant, 2))
    lost, other = source.compliance(tenant, 2), source.exports(tenant, 2)
    await writer.record(tenant, L, other[:1])
    original, failures = store.append, [asyncpg.PostgresConnectionError("gone")]

    async def failing_once(connection: asyncpg.Connection, batch: Batch, *, signed_at: datetime) -> bool:
        if failures:
            raise failures.pop()
        return await original(connection, batch, signed_at=signed_at)

    monkeypatch.setattr(store, "append", failing_once)
    failed, outcome = await asyncio.gather(
        writer.record(tenant, L, lost), writer.record(tenant, L, other[1:]), return_exceptions=True
    )
    assert isinstance(failed, asyncpg.PostgresConnectionError)
    assert isinstance(outcome, Outcome)
    assert len(outcome.committed) == 1
    await writer.record(tenant, L, lost)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 6
    expect_whole(stored)


async def test_a_writer_does_not_wait_for_a_log_that_another_holds(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, superuser: asyncpg.Connection, reader: LedgerReader
) -> None:
    await writer.record(tenant, L, source.compliance(tenant, 2))
    arrivals = source.compliance(tenant, 2)
    async with superuser.transaction():
        await superuser.execute("select from ledger.logs where tenant_id = $1 for update", tenant)
        for _ in range(2):  # from memory, then under the lock
            with pytest.raises(LogBusyError):
                await writer.record(tenant, L, arrivals)
    await writer.record(tenant, L, arrivals)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 4


async def test_an_audit_log_is_opened_for_each_month_and_source_numbers_go_on(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader, clock: SettableClock
) -> None:
    first = source.audit(tenant, 3)
    await writer.record(tenant, A, first)
    clock.advance(days=12)
    await writer.record(tenant, A, [*first, *source.audit(tenant, 2)])
    november, december = await reader.logs(tenant)
    assert (november.log["period"], december.log["period"]) == ("2026-11", "2026-12")
    assert (len(november.lines), len(december.lines)) == (3, 2)
    expect_whole(november)
    expect_whole(december)
    assert parse_entry(december.lines[0]).source_seq == 4


async def test_duplicates_alone_open_no_log(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader, clock: SettableClock
) -> None:
    first = source.audit(tenant, 3)
    await writer.record(tenant, A, first)
    clock.advance(days=12)
    again = await writer.record(tenant, A, first)
    (november,) = await reader.logs(tenant)
    assert confirmed(again, first, november) == {str(arrival.event.id) for arrival in first}


async def test_recorded_does_not_go_back_with_the_clock(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader, clock: SettableClock
) -> None:
    await writer.record(tenant, L, source.compliance(tenant))
    clock.advance(hours=-1)
    await writer.record(tenant, L, source.compliance(tenant))
    (stored,) = await reader.logs(tenant)
    expect_whole(stored)
    assert parse_entry(stored.lines[0]).recorded == parse_entry(stored.lines[1]).recorded


STEPS = ("lock_log", "read_state", "append")


@pytest.mark.parametrize("remembers", [False, True], ids=["new writer", "writer that knows the log"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_connection_that_dies_between_any_two_statements_leaves_nothing_and_loses_nothing(
    *,
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
    make_writer: Callable[[], LedgerWriter],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    moment: str,
    remembers: bool,
) -> None:
    if remembers and step != "append":
        pytest.skip("a writer that knows the log takes no such step")
    await writer.record(tenant, L, source.compliance(tenant, 2))
    arrivals = source.compliance(tenant, 3)
    if not remembers:
        writer = make_writer()
    original = getattr(store, step)

    async def dying(connection: asyncpg.Connection, *args: object, **keywords: object) -> object:
        if moment == "after":
            await original(connection, *args, **keywords)
        await superuser.execute("select pg_terminate_backend($1)", connection.get_server_pid())
        return await original(connection, *args, **keywords)

    monkeypatch.setattr(store, step, dying)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await writer.record(tenant, L, arrivals)
    monkeypatch.undo()
    (stored,) = await reader.logs(tenant)
    # Where the one statement is the whole transaction, an answer that is lost may have been a commit.
    assert len(stored.lines) == (5 if remembers and moment == "after" else 2)
    expect_whole(stored)

    outcome = await writer.record(tenant, L, arrivals)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 5
    expect_whole(stored)
    assert confirmed(outcome, arrivals, stored) == {str(arrival.event.id) for arrival in arrivals}


async def test_what_breaks_after_the_commit_is_made_good_by_the_next_delivery(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    arrivals = source.compliance(tenant, 3)
    await writer.record(tenant, L, arrivals)  # the process dies here: no acknowledgement, no receipt
    outcome = await writer.record(tenant, L, arrivals)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 3
    assert confirmed(outcome, arrivals, stored) == {str(arrival.event.id) for arrival in arrivals}


async def test_two_tenants_have_logs_of_their_own(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    other = TenantId(uuid4())
    await writer.record(tenant, L, source.compliance(tenant, 2))
    await writer.record(other, L, source.compliance(other, 3))
    (mine,), (theirs,) = await reader.logs(tenant), await reader.logs(other)
    assert (len(mine.lines), len(theirs.lines)) == (2, 3)
    assert mine.log["origin"] != theirs.log["origin"]


async def test_the_writers_role_reaches_no_events_to_append(duty: DutyDatabase) -> None:
    async with duty.duty() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        # Of `inbox` and `idempotency` it reaches rows that are a day old, to prune them: libs/chassis/tests.
        for table in ("events", "exports"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with raw.transaction():
                    await raw.execute(f"delete from ledger.{table}")  # noqa: S608 - constants above
