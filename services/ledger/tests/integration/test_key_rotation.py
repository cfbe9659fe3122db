"""Rotating the checkpoint key on real Postgres: under load, in every log, and cut off at every step."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.transaction import Transaction
from tallystick_contracts.generated.ledger import KeyRotated
from tallystick_contracts.message import LogKind
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.mark import NOTHING
from tallystick_ledger.keys import store
from tallystick_ledger.keys.ring import CheckpointKeyMissingError, KeyRing, KeyRingError, public_of
from tallystick_ledger.keys.rotation import KeyRotator, NoNextKeyError
from tallystick_ledger.keys.signing import CheckpointKeys, KeyRotationRefusedError
from tallystick_ledger.writing.arrival import read_event
from tallystick_ledger.writing.connection import raw_transaction
from tallystick_ledger.writing.receipts import receipt_messages
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog import (
    KeyHistory,
    KeyRotation,
    Receipt,
    Signer,
    UnverifiedNoteError,
    VerifierKey,
    follow_keys,
    format_recorded,
    open_checkpoint,
    parse_note,
    sign_rotation,
    to_base64,
    verify_receipt,
)

from .conftest import PREFIX, SEED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.high_water.mark import Head
    from tallystick_ledger.writing.arrival import Arrival

    from .conftest import FakeSource, LedgerReader, SettableClock, StoredLog

L, A = LogKind.COMPLIANCE, LogKind.AUDIT
FIRST = public_of(SEED)
WEEK = timedelta(days=7)

pytestmark = pytest.mark.control("X-10", "EV-24e")


@pytest.fixture
def ledger_databases(copy_ledger: Callable[[], Databases]) -> Databases:
    """A database for each test: a rotation is the installation's."""
    return copy_ledger()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def writer(duty: DutyDatabase, source: FakeSource, clock: SettableClock, folder: Path) -> LedgerWriter:
    return writer_of(duty, source, clock, folder)


@pytest.fixture
def rotator(database: Database, duty: DutyDatabase, clock: SettableClock, folder: Path) -> KeyRotator:
    return KeyRotator(database=database, duty=duty, ring=KeyRing(SEED, folder), prefix=PREFIX, clock=clock)


class Unmarked:
    """Marks that nobody keeps: a rotation has nothing to do with them."""

    async def read(self, log_name: str) -> Head | None:
        return None if log_name else NOTHING

    async def recall(self, log_name: str) -> Head | None:
        return await self.read(log_name)

    async def read_all(self) -> Mapping[str, Head]:
        return {}

    async def raise_to(self, marks: Mapping[str, Head]) -> None:
        assert marks


def writer_of(duty: DutyDatabase, source: FakeSource, clock: SettableClock, folder: Path | None) -> LedgerWriter:
    keys = CheckpointKeys(KeyRing(SEED, folder), PREFIX)
    guard = HighWaterGuard(Unmarked())
    return LedgerWriter(duty=duty, feeds=source, prefix=PREFIX, keys=keys, clock=clock, high_water=guard)


async def sent(superuser: asyncpg.Connection, tenant: TenantId) -> list[Arrival]:
    """Return the rotations' events as the relay would deliver them."""
    rows = await superuser.fetch(
        "select body from ledger.events where tenant_id = $1 and type like 'ledger.%key.rotated' order by stream",
        tenant,
    )
    numbers: dict[str, int] = {}
    arrivals = []
    for row in rows:
        kind = read_event(tenant, 1, row["body"]).feed.aggregate
        numbers[kind] = numbers.get(kind, 0) + 1
        arrivals.append(read_event(tenant, numbers[kind], row["body"]))
    return arrivals


async def deliver(superuser: asyncpg.Connection, writer: LedgerWriter, tenant: TenantId) -> None:
    for arrival in await sent(superuser, tenant):
        await writer.record(tenant, arrival.log_kind, [arrival])


async def rotate(rotator: KeyRotator, superuser: asyncpg.Connection, writer: LedgerWriter, *tenants: TenantId) -> bytes:
    statement = await rotator.begin(overlap=WEEK, make=True)
    while (await rotator.step(statement)).lagging:
        for tenant in tenants:
            await deliver(superuser, writer, tenant)
    return statement.new


def history_of(stored: StoredLog) -> KeyHistory:
    """Follow the rotations as an auditor does, from the lines alone."""
    history = KeyHistory(stored.log["origin"])
    for seq, line in enumerate(stored.lines):
        if b'"type":"ledger.key.rotated"' in line or b'"type":"ledger.audit_key.rotated"' in line:
            history = history.add(seq, json.loads(line)["event"]["data"]["statement"])
    return history


def expect_all_signed(stored: StoredLog) -> None:
    history = history_of(stored)
    for row in stored.checkpoints:
        keys = history.verifiers_at(row["size"]) or (VerifierKey.ed25519(stored.log["origin"], FIRST),)
        assert open_checkpoint(row["note"].encode(), keys).size == row["size"]


def names(note: str) -> set[bytes]:
    return {signature.key_id for signature in parse_note(note.encode()).signatures}


def key_id(stored: StoredLog, public: bytes) -> bytes:
    return VerifierKey.ed25519(stored.log["origin"], public).key_id


async def test_a_rotation_reaches_every_log_of_every_tenant(
    writer: LedgerWriter,
    source: FakeSource,
    rotator: KeyRotator,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
) -> None:
    tenants = [TenantId(uuid4()) for _ in range(3)]
    for tenant in tenants:
        await writer.record(tenant, L, source.compliance(tenant, 3))
        await writer.record(tenant, A, source.audit(tenant, 2))
    new = await rotate(rotator, superuser, writer, *tenants)
    for tenant in tenants:
        await writer.record(tenant, L, source.compliance(tenant, 2))
        logs = await reader.logs(tenant)
        assert len(logs) == 2
        for stored in logs:
            assert history_of(stored).keys == (FIRST, new)
            expect_all_signed(stored)
            assert bytes(stored.log["public_key"]) == new


async def test_the_platforms_log_says_that_the_key_was_rotated_whether_or_not_there_was_one(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
) -> None:
    await writer.record(tenant, L, source.compliance(tenant, 3))
    first = await rotate(rotator, superuser, writer, tenant)
    assert await reader.logs(PLATFORM_TENANT) == []
    await deliver(superuser, writer, PLATFORM_TENANT)
    (stored,) = await reader.logs(PLATFORM_TENANT)
    assert history_of(stored).keys == (FIRST, first)
    assert bytes(stored.log["public_key"]) == first
    # Now it is a log like any other's: the next rotation reaches it, once.
    second = await rotate(rotator, superuser, writer, tenant, PLATFORM_TENANT)
    (stored,) = await reader.logs(PLATFORM_TENANT)
    assert history_of(stored).keys == (FIRST, first, second)
    assert len(stored.lines) == 2
    expect_all_signed(stored)


async def test_a_rotation_reaches_the_successor_of_a_log_that_was_closed(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    duty: DutyDatabase,
    superuser: asyncpg.Connection,
) -> None:
    """Whichever of the two rows was written last: the database gives rows that sort alike in any order."""
    for kind, events in ((L, source.compliance(tenant, 2)), (A, source.audit(tenant, 2))):
        await writer.record(tenant, kind, events)
    statement = await rotator.begin(overlap=WEEK, make=True)
    for closed, generation in ((1, 2), (2, 3), (3, 4)):
        await superuser.execute("alter table ledger.logs disable trigger user")
        await superuser.execute(
            "insert into ledger.logs select (jsonb_populate_record(logs, jsonb_build_object("
            "'id', gen_random_uuid(), 'generation', $2::integer, 'origin', logs.origin || '.' || $2))).* "
            "from ledger.logs where tenant_id = $1 and generation = $3",
            tenant,
            generation,
            closed,
        )
        await superuser.execute(
            "update ledger.logs set closed_at = now() where tenant_id = $1 and generation = $2", tenant, closed
        )
        await superuser.execute("alter table ledger.logs enable trigger user")
        async with raw_transaction(duty) as connection:
            lagging = await store.lagging(connection, statement)
        assert [one.origin.endswith(f".{generation}") for one in lagging] == [True, True]


@pytest.mark.parametrize("kind", [L, A])
async def test_a_rotation_that_was_sent_to_a_log_that_stands_still_is_recorded_by_its_successor(  # noqa: PLR0917 - fixtures, by name
    kind: LogKind,
    writer: LedgerWriter,
    duty: DutyDatabase,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    clock: SettableClock,
    folder: Path,
    superuser: asyncpg.Connection,
) -> None:
    events = source.compliance if kind is L else source.audit
    await writer.record(tenant, kind, events(tenant, 3))
    statement = await rotator.begin(overlap=WEEK, make=True)
    assert len((await rotator.step(statement)).lagging) == 1
    await succeed_by_hand(superuser, tenant)
    later = writer_of(duty, source, clock, folder)
    await later.record(tenant, kind, await sent(superuser, tenant))
    await later.record(tenant, kind, events(tenant, 1))
    _, stored = await reader.logs(tenant)
    assert stored.log["origin"].endswith(".2")
    assert history_of(stored).keys == (FIRST, statement.new)
    assert len(stored.lines) == 2
    expect_all_signed(stored)
    assert not (await rotator.step(statement)).lagging


async def succeed_by_hand(superuser: asyncpg.Connection, tenant: TenantId) -> None:
    """Close the tenant's log and open its successor, empty."""
    await superuser.execute("alter table ledger.logs disable trigger user")
    await superuser.execute(
        "insert into ledger.logs (tenant_id, org_unit_id, id, kind, period, generation, origin, size, head, "
        "last_recorded, opened_at) select tenant_id, org_unit_id, gen_random_uuid(), kind, period, 2, origin || '.2', "
        "0, decode(repeat('00', 32), 'hex'), last_recorded, opened_at from ledger.logs where tenant_id = $1",
        tenant,
    )
    await superuser.execute(
        "update ledger.logs set closed_at = now(), announced_at = now() where tenant_id = $1 and generation = 1", tenant
    )
    await superuser.execute("alter table ledger.logs enable trigger user")


async def test_both_keys_sign_until_the_window_ends_and_then_the_new_one_alone(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    clock: SettableClock,
    superuser: asyncpg.Connection,
) -> None:
    await writer.record(tenant, L, source.compliance(tenant))
    new = await rotate(rotator, superuser, writer, tenant)
    clock.advance(days=6)
    await writer.record(tenant, L, source.compliance(tenant))
    clock.advance(days=2)
    await writer.record(tenant, L, source.compliance(tenant))
    (stored,) = await reader.logs(tenant)
    old_id, new_id = key_id(stored, FIRST), key_id(stored, new)
    assert [names(row["note"]) for row in stored.checkpoints] == [
        {old_id},
        {old_id, new_id},
        {old_id, new_id},
        {new_id},
    ]
    with pytest.raises(UnverifiedNoteError):
        open_checkpoint(stored.checkpoints[-1]["note"].encode(), [VerifierKey.ed25519(stored.log["origin"], FIRST)])


async def test_a_year_and_three_rotations_later_every_old_checkpoint_verifies(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    clock: SettableClock,
    superuser: asyncpg.Connection,
) -> None:
    keys = [FIRST]
    for _ in range(3):
        await writer.record(tenant, L, source.compliance(tenant, 2))
        clock.advance(days=122)
        keys.append(await rotate(rotator, superuser, writer, tenant))
    await writer.record(tenant, L, source.compliance(tenant, 2))
    (stored,) = await reader.logs(tenant)
    assert history_of(stored).keys == tuple(keys)
    expect_all_signed(stored)
    assert names(stored.checkpoints[0]["note"]) == {key_id(stored, FIRST)}


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs, and what was not committed has not been."""


STEPS = ("statements", "make", "announce", "lagging", "append", "finish")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_rotation_killed_at_any_step_goes_on_when_it_is_run_again(  # noqa: PLR0917 - fixtures, by name
    step: str,
    when: str,
    monkeypatch: pytest.MonkeyPatch,
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    database: Database,
    duty: DutyDatabase,
    rotator: KeyRotator,
    reader: LedgerReader,
    clock: SettableClock,
    folder: Path,
    superuser: asyncpg.Connection,
) -> None:
    await writer.record(tenant, L, source.compliance(tenant))
    place = {"make": KeyRing, "append": Transaction}.get(step, store)
    real = getattr(place, step)

    def killed(*arguments: object, **named: object) -> object:
        if when == "after" and step == "make":
            real(*arguments, **named)
        raise Killed

    async def killed_async(*arguments: object, **named: object) -> object:
        if when == "after":
            await real(*arguments, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, step, killed if step == "make" else killed_async)
        with suppress(Killed):
            await rotate(rotator, superuser, writer, tenant)
            pytest.fail("nothing was killed")
    await writer.record(tenant, L, source.compliance(tenant))

    again = KeyRotator(database=database, duty=duty, ring=KeyRing(SEED, folder), prefix=PREFIX, clock=clock)
    new = await rotate(again, superuser, writer, tenant)
    await writer.record(tenant, L, source.compliance(tenant))
    (stored,) = await reader.logs(tenant)
    assert history_of(stored).keys == (FIRST, new)
    expect_all_signed(stored)
    assert KeyRing(SEED, folder).read() == (FIRST, new)


async def test_a_rotation_under_load_by_two_writers_loses_nothing_and_signs_with_one_key_at_each_size(  # noqa: PLR0917 - fixtures, by name
    duty: DutyDatabase,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    clock: SettableClock,
    folder: Path,
    superuser: asyncpg.Connection,
) -> None:
    writers = [writer_of(duty, source, clock, folder) for _ in range(2)]
    arrivals = source.compliance(tenant, 60)
    await writers[0].record(tenant, L, arrivals[:2])

    async def load(writer: LedgerWriter) -> None:
        for start in range(2, 60, 2):
            await writer.record(tenant, L, arrivals[start : start + 2])

    async def turn() -> None:
        for _ in range(3):
            await rotate(rotator, superuser, writers[1], tenant)

    await asyncio.gather(load(writers[0]), load(writers[1]), turn())
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 63
    assert len(history_of(stored).keys) == 4
    expect_all_signed(stored)


async def test_a_process_without_the_key_in_force_signs_nothing_and_another_records_the_batch(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    duty: DutyDatabase,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    clock: SettableClock,
    superuser: asyncpg.Connection,
) -> None:
    keyless = writer_of(duty, source, clock, None)
    await keyless.record(tenant, L, source.compliance(tenant))
    await rotate(rotator, superuser, writer, tenant)
    late = source.compliance(tenant)
    with pytest.raises(CheckpointKeyMissingError, match="key ring"):
        await keyless.record(tenant, L, late)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 2
    await writer.record(tenant, L, late)
    (stored,) = await reader.logs(tenant)
    assert len(stored.lines) == 3
    expect_all_signed(stored)


async def test_a_producer_that_pinned_any_key_of_the_chain_takes_receipts_old_and_new(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    clock: SettableClock,
    superuser: asyncpg.Connection,
) -> None:
    before = source.compliance(tenant)
    await writer.record(tenant, L, before)
    new = await rotate(rotator, superuser, writer, tenant)
    clock.advance(days=30)
    after = source.compliance(tenant)
    first_time = await writer.record(tenant, L, after)
    once_more = await writer.record(tenant, L, before)
    for outcome, arrivals in ((first_time, after), (once_more, before)):
        (message,) = receipt_messages(outcome.committed)
        receipt = Receipt.from_json(message.payload)
        for pinned in (FIRST, new):
            key = VerifierKey.ed25519(receipt.log, follow_keys(PREFIX, pinned, receipt.keys))
            assert verify_receipt(receipt, {str(one.event.id): one.body for one in arrivals}, [key])


async def test_a_tenant_that_comes_after_a_rotation_begins_with_the_new_key(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
) -> None:
    new = await rotate(rotator, superuser, writer)
    outcome = await writer.record(tenant, L, source.compliance(tenant))
    (stored,) = await reader.logs(tenant)
    assert bytes(stored.log["public_key"]) == new
    assert follow_keys(PREFIX, FIRST, outcome.committed[0].keys) == new


async def test_an_audit_log_opened_in_mid_rotation_goes_on_in_order(  # noqa: PLR0917 - fixtures, by name
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    rotator: KeyRotator,
    reader: LedgerReader,
    clock: SettableClock,
    superuser: asyncpg.Connection,
) -> None:
    await writer.record(tenant, A, source.audit(tenant))
    statement = await rotator.begin(overlap=WEEK, make=True)
    await rotator.step(statement)  # sent, and not yet recorded when the month ends
    clock.advance(days=10)
    await writer.record(tenant, A, source.audit(tenant))
    await deliver(superuser, writer, tenant)
    assert not (await rotator.step(statement)).lagging
    newer = await rotate(rotator, superuser, writer, tenant)
    november, december = await reader.logs(tenant)
    assert history_of(november).keys == ()
    assert history_of(december).keys == (FIRST, statement.new, newer)
    expect_all_signed(december)


async def test_a_rotation_that_nobody_announced_is_not_recorded(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, reader: LedgerReader
) -> None:
    await writer.record(tenant, L, source.compliance(tenant))
    (stored,) = await reader.logs(tenant)
    name, seed = stored.log["origin"], b"x" * 32
    note = sign_rotation(KeyRotation(name, 1, "2026-11-22T00:00:00.000000Z", FIRST, public_of(seed)), SEED, seed)
    only_new = Signer(name, seed).sign(note.partition("\n\n")[0] + "\n").decode()
    for statement, why in ((note, "not announced"), (only_new, "both")):
        event = KeyRotated(
            log=name, size=1, old_key=to_base64(FIRST), new_key=to_base64(public_of(seed)), statement=statement,
            both_until=format_recorded(stored.log["opened_at"]),
        )  # fmt: skip
        with pytest.raises(KeyRotationRefusedError, match=why):
            await writer.record(tenant, L, [source.emit(tenant, event)])
        source.numbered[tenant, "ledger", "key"].clear()
    assert len((await reader.logs(tenant))[0].lines) == 1


async def test_the_database_refuses_another_key_without_a_rotation(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, superuser: asyncpg.Connection
) -> None:
    await writer.record(tenant, L, source.compliance(tenant))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="changes only by a rotation"):
        await superuser.execute("update ledger.logs set public_key = $2 where tenant_id = $1", tenant, bytes(32))


async def test_without_a_new_key_nothing_is_announced(rotator: KeyRotator, duty: DutyDatabase) -> None:
    with pytest.raises(NoNextKeyError):
        await rotator.begin(overlap=WEEK, make=False)
    async with raw_transaction(duty) as connection:
        assert await store.statements(connection) == []


def test_a_folder_of_keys_is_read_again_and_refuses_what_is_no_key(folder: Path) -> None:
    ring, other = KeyRing(SEED, folder), KeyRing(SEED, folder)
    made = ring.make("a")
    assert public_of(other.seed_of(made)) == made
    again = ring.make("a")  # named alike: it takes nobody's place
    assert public_of(KeyRing(SEED, folder).seed_of(made)) == made != again
    assert [path.stat().st_mode & 0o777 for path in folder.glob("a-*.key")] == [0o600] * 2
    (folder / "b.key").write_text("no key")
    with pytest.raises(KeyRingError, match=r"b\.key"):
        KeyRing(SEED, folder).read()
    with pytest.raises(KeyRingError, match="KEYS_DIR"):
        KeyRing(SEED).make("c")
