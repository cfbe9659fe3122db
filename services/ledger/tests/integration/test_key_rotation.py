"""Rotating the checkpoint key on real Postgres: under load, in every log, and cut off at every step."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tallystick_chassis.ids import TenantId
from tallystick_chassis.transaction import Transaction
from tallystick_ledger.keys import store
from tallystick_ledger.keys.ring import CheckpointKeyMissingError, KeyRing, KeyRingError, public_of
from tallystick_ledger.keys.rotation import KeyRotator
from tallystick_ledger.writing.receipts import receipt_messages
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog import (
    Receipt,
    UnverifiedNoteError,
    VerifierKey,
    follow_keys,
    open_checkpoint,
    verify_receipt,
)

from .conftest import PREFIX, SEED
from .rotating import (
    FIRST,
    L,
    expect_all_signed,
    folder,
    history_of,
    key_id,
    ledger_databases,
    names,
    rotate,
    rotator,
    writer,
    writer_of,
)

if TYPE_CHECKING:
    from tallystick_chassis.database import Database, DutyDatabase

    from .conftest import FakeSource, LedgerReader, SettableClock

__all__ = ["folder", "ledger_databases", "rotator", "writer"]  # fixtures

pytestmark = pytest.mark.control("X-10", "EV-24e")


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
