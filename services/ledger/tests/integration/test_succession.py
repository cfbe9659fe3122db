"""After a restore: a signed entry names the break, a successor goes on, and the sources give back what was lost."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from tallystick_chassis.catch_up import FeedClient, OwnFeed
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.relay import Relay
from tallystick_chassis.scope import Scope
from tallystick_chassis.sealing import Sealer
from tallystick_contracts.envelope import decode_event
from tallystick_contracts.generated.ledger import LogSucceeded, PeriodSucceeded
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.high_water.refill import Refill, feeds_of
from tallystick_ledger.high_water.succession import Succession
from tallystick_ledger.high_water.watch import BreakWatch
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.logs.domain import Period, origin_of
from tallystick_ledger.retention.dropping import LogDropper
from tallystick_ledger.retention.store import Expired, break_is_recorded
from tallystick_ledger.search.indexing import Indexer
from tallystick_tlog.entry import parse_entry

from .conftest import PREFIX, SEED, FakeSource
from .test_high_water import House, Killed, KilledBefore
from .test_writer import expect_whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from tallystick_chassis.catch_up import FeedPage
    from tallystick_chassis.ids import TenantId
    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.high_water.guard import HighWater

    from .conftest import SettableClock, StoredLog

L, A = LogKind.COMPLIANCE, LogKind.AUDIT


class Feeds:
    """The sources' feeds, and the ledger's own from its database."""

    def __init__(self, source: FakeSource, own: OwnFeed) -> None:
        self._source = source
        self._own = own

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:
        return await (self._own if source == self._own.source else self._source).read(tenant, source, aggregate, after)


class Steps:
    """Stands in for a collaborator of the command, which is killed before its n-th call."""

    def __init__(self, real: object, before: int, calls: count[int]) -> None:
        self._real = real
        self._before = before
        self._calls = calls

    def __getattr__(self, name: str) -> object:
        def call(*values: object, **named: object) -> object:
            if next(self._calls) == self._before:
                raise Killed
            return getattr(self._real, name)(*values, **named)

        return call


@asynccontextmanager
async def _database(house: House) -> AsyncIterator[Database]:
    database = Database(
        house.databases.dsn(ServiceName.LEDGER, "app"),
        "ledger",
        ca_file=house.databases.servers.layout.ca_file,
        clock=house.clock,
    )
    try:
        yield database
    finally:
        await database.dispose()


async def succeed(house: House, tenant: TenantId, killed_before: int = -1) -> list[str]:
    """Give the operator's command, in a process that is killed before its n-th step."""
    calls = count()
    async with _database(house) as database, house.duty() as duty:
        watch = BreakWatch(duty=duty, marks=house.marks, prefix=PREFIX, clock=house.clock)
        relay = Relay(duty=duty, bus=None, service="ledger", clock=house.clock)  # type: ignore[arg-type]
        succession = Succession(
            database=Steps(database, killed_before, calls),  # type: ignore[arg-type]
            duty=duty,
            relay=Steps(relay, killed_before, calls),  # type: ignore[arg-type]
            feeds=Steps(OwnFeed(database), killed_before, calls),  # type: ignore[arg-type]
            marks=Steps(house.marks, killed_before, calls),  # type: ignore[arg-type]
            sealer=Sealer(house.clock),
            keys=CheckpointKeys(KeyRing(SEED), PREFIX),
            prefix=PREFIX,
            clock=house.clock,
        )
        found = [one for one in await watch.find() if one.tenant == tenant]
        return [
            await succession.succeed(tenant, kind, breaks, "the disk broke")
            for kind in (L, A)
            if (breaks := [one for one in found if one.kind is kind])
        ]


async def refill(house: House) -> None:
    """Let the worker ask the sources once."""
    async with _database(house) as database, house.duty() as duty, house.writer() as writer:
        feeds: FeedClient = Feeds(house.source, OwnFeed(database))
        await Refill(duty=duty, feeds=feeds, writer=writer, clock=house.clock).step()


async def index(house: House) -> None:
    """Let the worker index what is recorded."""
    async with house.duty() as duty:
        await Indexer(duty).step()


async def retain(house: House) -> None:
    """Let the worker drop what has expired."""
    purge = DutyDatabase(
        house.databases.dsn(ServiceName.LEDGER, "purge"), "ledger", ca_file=house.databases.servers.layout.ca_file
    )
    async with _database(house) as database, house.duty() as duty:
        dropper = LogDropper(database=database, duty=duty, purge=purge, clock=house.clock, retention_months=12)
        await dropper.step()
        await dropper.close()


@pytest.fixture
def house(
    copy_ledger: Callable[[], Databases],
    source: FakeSource,
    open_marks: Callable[[str], HighWater],
    clock: SettableClock,
) -> House:
    return House(copy_ledger(), source, open_marks, clock)


def events_of(stored: StoredLog) -> list[bytes]:
    """Return the producers' bytes of a log's entries."""
    return [line[len(b'{"event":') : line.rindex(b',"log":"')] for line in stored.lines]


@pytest.mark.control("EV-41b")
async def test_a_successor_begins_with_the_break_and_takes_in_what_was_lost(house: House, tenant: TenantId) -> None:
    await house.record(tenant, 3)
    await house.record(tenant, 2, A)
    backup = house.backup()
    await house.record(tenant, 4)
    await house.record(tenant, 5, A)
    lost_compliance, lost_audit = await house.stored(tenant, 0), await house.stored(tenant, 1)
    house.restore(backup)
    old, old_audit = origin_of(PREFIX, tenant, None), origin_of(PREFIX, tenant, "2026-11")

    assert await succeed(house, tenant) == [f"{old}.2", f"{old_audit}.2"]
    assert await house.breaks() == {}
    await refill(house)

    kept, successor, kept_audit, audit_successor = [await house.stored(tenant, place) for place in range(4)]
    assert [one.log["origin"] for one in (kept, successor, kept_audit, audit_successor)] == [
        old,
        f"{old}.2",
        old_audit,
        f"{old_audit}.2",
    ]
    for stored in (kept, successor, kept_audit, audit_successor):
        expect_whole(stored)
    assert kept.log["closed_at"] is not None
    assert kept_audit.log["closed_at"] is not None

    said = decode_event(events_of(successor)[0]).data
    assert isinstance(said, LogSucceeded)
    (broken,) = said.broken
    assert (said.log, broken.log, broken.signed_size, broken.kept_size) == (f"{old}.2", old, 7, 3)
    assert broken.signed_root == lost_compliance.checkpoints[-1]["note"].split("\n")[2]
    assert broken.kept_root == kept.checkpoints[-1]["note"].split("\n")[2]
    first = decode_event(events_of(audit_successor)[0]).data
    assert isinstance(first, PeriodSucceeded)
    assert (first.log, first.broken[0].signed_size, first.broken[0].kept_size) == (f"{old_audit}.2", 7, 2)

    # Nothing is lost and nothing is there twice.
    assert events_of(kept) + events_of(successor)[1:] == [
        *events_of(lost_compliance),
        *[body for body in events_of(successor) if b"ledger.log.succeeded" in body][1:],
    ]
    assert events_of(kept_audit) + events_of(audit_successor)[1:] == events_of(lost_audit)

    await house.record(tenant, 1)
    assert (await house.marks.read(f"{old}.2") or Head(0, b"")).size == len(successor.lines) + 1


@pytest.mark.control("EV-41b")
async def test_what_is_left_of_a_broken_audit_log_is_dropped_once_its_break_is_recorded(
    house: House, tenant: TenantId, clock: SettableClock
) -> None:
    clock.now = datetime(2024, 2, 10, tzinfo=UTC)
    await house.record(tenant, 3)
    await house.record(tenant, 2, A)
    backup = house.backup()
    await house.record(tenant, 1)
    await house.record(tenant, 4, A)
    house.restore(backup)
    await succeed(house, tenant)
    clock.now = datetime(2025, 3, 1, tzinfo=UTC)
    await index(house)
    await retain(house)
    assert (await house.stored(tenant, 2)).log["dropped_at"] is None
    await refill(house)
    await index(house)
    kept, scope = await house.stored(tenant, 2), Scope.for_duty(tenant, "ledger")
    assert (kept.log["origin"], kept.log["size"]) == (origin_of(PREFIX, tenant, Period("2024-02")), 2)
    one = Expired(
        tenant, kept.log["id"], Period("2024-02"), kept.log["origin"], kept.log["size"], kept.checkpoints[-1]["root"]
    )
    others = (one._replace(size=3), one._replace(root=bytes(32)), one._replace(origin="another"))
    async with _database(house) as database, database.transaction(scope) as tx:
        assert [await break_is_recorded(tx, each) for each in (one, *others)] == [True, False, False, False]
    await retain(house)
    gone = await house.stored(tenant, 2)
    assert (gone.lines, gone.log["dropped_at"], gone.log["gone_at"]) == ([], clock.now, clock.now)
    await retain(house)
    said = text("select stream_version from ledger.events where type = 'ledger.audit_log.dropped'")
    async with _database(house) as database, database.transaction(scope) as tx:
        assert [row.stream_version for row in await tx.execute(said)] == [1]
    assert len((await house.stored(tenant, 3)).lines) == 1  # the successor stays: nothing has closed it
    assert await house.breaks() == {}


@pytest.mark.parametrize("step", range(6))
async def test_the_command_goes_on_after_a_kill_before_any_of_its_steps(
    house: House, tenant: TenantId, step: int
) -> None:
    await house.record(tenant, 3)
    backup = house.backup()
    await house.record(tenant, 2)
    house.restore(backup)
    origin = origin_of(PREFIX, tenant, None)
    with pytest.raises(Killed):
        await succeed(house, tenant, step)
    await succeed(house, tenant)
    await refill(house)
    successor = await house.stored(tenant, 1)
    assert successor.log["origin"] == f"{origin}.2"
    expect_whole(successor)
    assert [parse_entry(line).event.source for line in successor.lines] == ["ledger", "identity", "identity"]
    assert await house.breaks() == {}


async def test_a_second_restore_finds_another_free_name(house: House, tenant: TenantId) -> None:
    await house.record(tenant, 3)
    backup = house.backup()
    again = house.backup()
    await house.record(tenant, 2)
    origin = origin_of(PREFIX, tenant, None)
    house.restore(backup)
    assert await succeed(house, tenant) == [f"{origin}.2"]
    await refill(house)
    house.restore(again)
    assert set(await house.breaks()) == {origin, f"{origin}.2"}
    assert await succeed(house, tenant) == [f"{origin}.3"]
    await refill(house)
    successor = await house.stored(tenant, 1)
    said = decode_event(events_of(successor)[0]).data
    assert isinstance(said, LogSucceeded)
    assert [(one.log, one.signed_size, one.kept_size) for one in said.broken] == [(origin, 5, 3), (f"{origin}.2", 3, 0)]
    assert await house.breaks() == {}


async def test_a_log_that_the_backup_never_had_is_succeeded_too(house: House, tenant: TenantId) -> None:
    backup = house.backup()
    await house.record(tenant, 600)
    house.restore(backup)
    (origin,) = await succeed(house, tenant)
    await refill(house)
    successor = await house.stored(tenant, 0)
    assert successor.log["origin"] == origin == f"{origin_of(PREFIX, tenant, None)}.2"
    assert len(successor.lines) == 601
    expect_whole(successor)


async def test_a_source_that_is_away_is_asked_again(house: House, tenant: TenantId) -> None:
    await house.record(tenant, 1)
    backup = house.backup()
    await house.record(tenant, 2)
    house.restore(backup)
    await succeed(house, tenant)
    house.source.down = True
    await refill(house)
    assert len((await house.stored(tenant, 1)).lines) == 1
    house.source.down = False
    await refill(house)
    assert len((await house.stored(tenant, 1)).lines) == 3


async def test_a_log_killed_between_its_opening_and_its_first_mark_goes_on(house: House, tenant: TenantId) -> None:
    await house.record(tenant, 1)
    backup = house.backup()
    await house.record(tenant, 2)
    house.restore(backup)
    real = house.marks
    house.marks = KilledBefore(real)  # type: ignore[assignment]
    with pytest.raises(Killed):
        await succeed(house, tenant)
    house.marks = real
    await refill(house)
    await house.record(tenant, 1)
    assert len((await house.stored(tenant, 1)).lines) == 4


def test_every_aggregate_goes_to_one_kind_of_log() -> None:
    compliance, audit = set(feeds_of(L)), set(feeds_of(A))
    assert not compliance & audit
    assert ("identity", "tenant") in compliance
    assert ("ledger", "access") in audit
    assert {source for source, _ in audit | compliance} == set(ServiceName)
