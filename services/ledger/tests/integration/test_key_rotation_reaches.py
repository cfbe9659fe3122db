"""A rotation of the checkpoint key reaches every log there is, each log once, and none that nobody announced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_contracts.generated.ledger import KeyRotated
from tallystick_contracts.message import LogKind
from tallystick_ledger.keys import store
from tallystick_ledger.keys.ring import public_of
from tallystick_ledger.keys.rotation import KeyRotator, NoNextKeyError
from tallystick_ledger.keys.signing import KeyRotationRefusedError
from tallystick_ledger.writing.connection import raw_transaction
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog import (
    KeyRotation,
    Signer,
    follow_keys,
    format_recorded,
    sign_rotation,
    to_base64,
)

from .conftest import PREFIX, SEED
from .rotating import (
    FIRST,
    WEEK,
    A,
    L,
    deliver,
    expect_all_signed,
    folder,
    history_of,
    ledger_databases,
    rotate,
    rotator,
    sent,
    writer,
    writer_of,
)

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase

    from .conftest import FakeSource, LedgerReader, SettableClock

__all__ = ["folder", "ledger_databases", "rotator", "writer"]  # fixtures

pytestmark = pytest.mark.control("X-10", "EV-24e")


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
