"""A search finds what a naive filter over all entries finds: by whatever filters, in pages of any size, in both orders,
however far the index has come."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import text
from tallystick_chassis.ids import OrgUnitId, TenantId
from tallystick_chassis.scope import Scope
from tallystick_contracts.generated import identity
from tallystick_contracts.message import LogKind
from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.search import indexing, store
from tallystick_ledger.search.domain import CursorError, Order, Place, Search, cursor_after, read_cursor
from tallystick_ledger.search.indexing import Indexer
from tallystick_ledger.search.store import Found, find_entries

if TYPE_CHECKING:
    import asyncpg
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, SettableClock

L, A = LogKind.COMPLIANCE, LogKind.AUDIT
UNITS = tuple(uuid4() for _ in range(3))
ACTORS = ("identity", "p_aaaaaaaaaaaaaaaaaaaaaa", "p_bbbbbbbbbbbbbbbbbbbbbb")
SUBJECTS = (None, "p_cccccccccccccccccccccc", "p_dddddddddddddddddddddd")
STREAMS = ("tenant-1", "tenant-2", "tenant-3")
CORRELATIONS = ("c1", "c2", "c3")


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)  # noqa: S311 - the same test draws the same


async def record(  # noqa: PLR0917 - fixtures, handed on
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, clock: SettableClock, dice: random.Random, batches: int
) -> None:
    """Fill both logs of a tenant with entries of every kind; several share a moment."""
    for _ in range(batches):
        clock.advance(seconds=dice.choice((0, 0, 1, 30)))
        kind = dice.choice((L, A))
        arrivals = []
        for _ in range(dice.randint(1, 9)):
            data = (
                dice.choice(
                    (
                        identity.TenantCreated(slug="t", name='","stream":"fake","stream_version":'),
                        identity.RoleAssigned(
                            grant_id=str(uuid4()), person=ACTORS[1], role_id=str(uuid4()), unit_id=str(uuid4())
                        ),
                    )
                )
                if kind is L
                else identity.MagicLinkRejected(reason=identity.MagicLinkRejection.EXPIRED)
            )
            arrivals.append(
                source.emit(
                    tenant,
                    data,
                    actor=dice.choice(ACTORS),
                    subject=dice.choice(SUBJECTS),
                    correlation=dice.choice(CORRELATIONS),
                    org_unit=dice.choice((*UNITS, tenant)),
                    stream=dice.choice(STREAMS),
                )
            )
        await writer.record(tenant, kind, arrivals)


async def all_entries(superuser: asyncpg.Connection, tenant: TenantId) -> list[dict[str, Any]]:
    rows = await superuser.fetch("select * from ledger.entries where tenant_id = $1", tenant)
    return [dict(row) | {"event": msgspec.json.decode(row["line"])["event"]} for row in rows]


def naive(entries: list[dict[str, Any]], search: Search, units: frozenset[UUID] | None) -> list[tuple[UUID, int]]:
    """Filter and sort in Python, from the lines themselves."""

    def fits(entry: dict[str, Any]) -> bool:
        event = entry["event"]
        return (
            all(event.get("org_unit" if name == "org_unit_id" else name) == str(v) for name, v in search.equal.items())
            and (search.since is None or entry["recorded"] >= search.since)
            and (search.until is None or entry["recorded"] < search.until)
            and (units is None or entry["org_unit_id"] in units)
        )

    found = sorted(filter(fits, entries), key=lambda one: (one["recorded"], one["log_id"], one["seq"]))
    return [(one["log_id"], one["seq"]) for one in (found if search.order is Order.OLDEST else reversed(found))]


def drawn(dice: random.Random, entries: list[dict[str, Any]]) -> Search:
    """Draw any combination of filters; most name what some entry has."""
    model = dice.choice(entries)["event"]
    values = {
        "type": model["type"],
        "actor": model["actor"],
        "subject": model.get("subject", SUBJECTS[1]),
        "correlation": model["correlation"],
        "stream": model["stream"],
        "org_unit_id": UUID(model["org_unit"]),
    }
    equal = {name: values[name] for name in dice.sample(sorted(values), dice.choice((0, 0, 1, 1, 2, 3, 6)))}
    times = sorted(dice.choice(entries)["recorded"] + timedelta(microseconds=dice.choice((-1, 0, 1))) for _ in range(2))
    return Search(
        equal,
        since=dice.choice((None, times[0])),
        until=dice.choice((None, times[1])),
        order=dice.choice(tuple(Order)),
    )


async def pages(
    database: Database, tenant: TenantId, search: Search, size: int, units: frozenset[UUID] | None
) -> list[tuple[UUID, int]]:
    """Read everything page by page, each cursor through its text."""
    scope = Scope.for_duty(tenant, "ledger")
    if units is not None:
        scope = replace(scope, org_units=frozenset(OrgUnitId(unit) for unit in units))
    found: list[Found] = []
    after: Place | None = None
    while True:
        async with database.transaction(scope) as tx:
            page, complete = await find_entries(tx, search, after=after, limit=size)
        assert complete
        found += page
        if len(page) < size:
            return [(one.place.log, one.place.seq) for one in found]
        after = read_cursor(cursor_after(page[-1].place, search.order), search.order)


@pytest.mark.control("EV-25b")
@pytest.mark.control("EV-22b")
@pytest.mark.parametrize("indexed", ["nothing", "a part", "everything"])
async def test_a_search_finds_what_a_naive_filter_finds(  # noqa: PLR0917 - fixtures
    database: Database,
    duty: DutyDatabase,
    writer: LedgerWriter,
    source: FakeSource,
    clock: SettableClock,
    superuser: asyncpg.Connection,
    tenant: TenantId,
    dice: random.Random,
    indexed: str,
) -> None:
    await record(writer, source, tenant, clock, dice, 25)
    if indexed != "nothing":
        indexer = Indexer(duty, chunk_entries=7)
        while await indexer.step():
            pass
    if indexed == "a part":
        await record(writer, source, tenant, clock, dice, 10)
    entries = await all_entries(superuser, tenant)
    for _ in range(60):
        search = drawn(dice, entries)
        units = dice.choice(
            (None, frozenset({UNITS[0]}), frozenset(UNITS[:2]), frozenset({tenant}), frozenset({uuid4()}))
        )
        # Whoever holds the capability in the root unit reads every unit's entries.
        seen = None if units == frozenset({tenant}) else units
        found = await pages(database, tenant, search, dice.choice((1, 3, 50, 500)), units)
        assert found == naive(entries, search, seen), (search, units)


async def test_workers_in_parallel_index_each_entry_once(
    duty: DutyDatabase,
    writer: LedgerWriter,
    source: FakeSource,
    superuser: asyncpg.Connection,
    tenant: TenantId,
) -> None:
    async def work() -> None:
        indexer = Indexer(duty, chunk_entries=5)
        for _ in range(20):
            await indexer.step()

    workers = [asyncio.create_task(work()) for _ in range(3)]
    for _ in range(10):
        await writer.record(tenant, L, source.compliance(tenant, 6))
    await asyncio.gather(*workers)
    while await Indexer(duty).step():
        pass
    rows = await superuser.fetch("select seq from ledger.search where tenant_id = $1 order by seq", tenant)
    assert [row["seq"] for row in rows] == list(range(60))
    assert await superuser.fetchval("select indexed_to from ledger.search_cursors where tenant_id = $1", tenant) == 60


async def test_a_crash_between_copying_and_noting_leaves_nothing_behind(
    *,
    duty: DutyDatabase,
    writer: LedgerWriter,
    source: FakeSource,
    superuser: asyncpg.Connection,
    tenant: TenantId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await writer.record(tenant, L, source.compliance(tenant, 6))
    monkeypatch.setattr(store, "_MOVE", text("select 1 / 0"))
    with pytest.raises(Exception, match="division by zero"):
        await Indexer(duty).step()
    monkeypatch.undo()
    count = "select count(*) from ledger.search where tenant_id = $1"
    assert await superuser.fetchval(count, tenant) == 0
    await Indexer(duty).step()
    assert await superuser.fetchval(count, tenant) == 6


async def test_a_log_that_lacks_entries_does_not_hold_back_the_others(
    *,
    duty: DutyDatabase,
    writer: LedgerWriter,
    source: FakeSource,
    superuser: asyncpg.Connection,
    tenant: TenantId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = TenantId(uuid4())
    for each in (tenant, other):
        await writer.record(each, L, source.compliance(each, 3))
    real = store.index

    async def index(connection: Any, log: store.Behind, start: int, until: int) -> int:
        if log.tenant == tenant:
            raise LedgerStateError
        return await real(connection, log, start, until)

    monkeypatch.setattr(indexing.store, "index", index)
    assert not await Indexer(duty).step()
    count = "select count(*) from ledger.search where tenant_id = $1"
    assert [await superuser.fetchval(count, each) for each in (tenant, other)] == [0, 3]


@pytest.mark.control("EV-25b")
async def test_a_search_says_when_the_index_is_too_far_behind(
    *,
    database: Database,
    duty: DutyDatabase,
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "TAIL_ENTRIES", 4)

    async def search() -> tuple[int, bool]:
        async with database.transaction(Scope.for_duty(tenant, "ledger")) as tx:
            found, complete = await find_entries(tx, Search(), after=None, limit=100)
        return len(found), complete

    await writer.record(tenant, L, source.compliance(tenant, 4))
    assert await search() == (4, True)
    await writer.record(tenant, L, source.compliance(tenant, 1))
    assert await search() == (4, False)
    await Indexer(duty).step()
    assert await search() == (5, True)


def test_a_cursor_of_the_other_order_or_of_nobody_is_refused() -> None:
    place = Place(datetime(2026, 11, 22, tzinfo=UTC), uuid4(), 7)
    assert read_cursor(cursor_after(place, Order.NEWEST), Order.NEWEST) == place
    for text_, order in (
        (cursor_after(place, Order.NEWEST), Order.OLDEST),
        ("garbage", Order.OLDEST),
        ("", Order.NEWEST),
    ):
        with pytest.raises(CursorError):
            read_cursor(text_, order)
