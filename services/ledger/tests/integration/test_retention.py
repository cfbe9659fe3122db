"""Expired audit logs are dropped whole, by a role that can do only that; what remains still verifies, and says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_cli.audit.kept import load_since
from tallystick_cli.audit.sources import FolderSource
from tallystick_cli.audit.verify import verify_log
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.errors import LedgerStateError, LogDropped
from tallystick_ledger.logs.closing import LogCloser
from tallystick_ledger.reading.store import get_log, list_logs
from tallystick_ledger.retention import dropping, store
from tallystick_ledger.retention.commands import place_hold, release_hold
from tallystick_ledger.retention.dropping import LogDropper
from tallystick_ledger.search.indexing import Indexer
from tallystick_ledger.writing.arrival import read_event
from tallystick_tlog import VerifierKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.high_water.watch import BreakWatch
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader, SettableClock

pytestmark = pytest.mark.control("X-10")

A, L = LogKind.AUDIT, LogKind.COMPLIANCE
FEBRUARY = datetime(2024, 2, 10, tzinfo=UTC)
MARCH = datetime(2024, 3, 1, 0, 5, tzinfo=UTC)
LAST_MOMENT = datetime(2025, 2, 28, 23, 59, tzinfo=UTC)
EXPIRED = datetime(2025, 3, 1, tzinfo=UTC)
TABLES = ("entries", "tree_hashes", "search", "search_cursors")


@pytest.fixture
async def purge(ledger_databases: Databases) -> AsyncIterator[DutyDatabase]:
    database = DutyDatabase(
        ledger_databases.dsn(ServiceName.LEDGER, "purge"), "ledger", ca_file=ledger_databases.servers.layout.ca_file
    )
    yield database
    await database.dispose()


@pytest.fixture
def dropper(database: Database, duty: DutyDatabase, purge: DutyDatabase, clock: SettableClock) -> LogDropper:
    return LogDropper(database=database, duty=duty, purge=purge, clock=clock, retention_months=12, chunk_entries=100)


class Tenancy:
    """A tenant whose February is closed, recorded in the compliance log, and followed by March."""

    def __init__(self, tenant: TenantId, writer: LedgerWriter, superuser: asyncpg.Connection) -> None:
        self.tenant, self._writer, self._superuser = tenant, writer, superuser
        self.february = UUID(int=0)

    @property
    def scope(self) -> Scope:
        return Scope.for_duty(self.tenant, "ledger")

    async def record_own_events(self) -> list[str]:
        """Let the compliance log record what the ledger itself has said, as the relay would; return the types."""
        rows = await self._superuser.fetch(
            "select events.body, events.aggregate, events.type from ledger.events "
            "inner join ledger.outbox using (tenant_id, event_id) where tenant_id = $1 order by outbox.position",
            self.tenant,
        )
        numbers: dict[str, int] = {}
        arrivals = []
        for row in rows:
            numbers[row["aggregate"]] = numbers.get(row["aggregate"], 0) + 1
            arrivals.append(read_event(self.tenant, numbers[row["aggregate"]], row["body"]))
        await self._writer.record(self.tenant, L, arrivals)
        return [row["type"] for row in rows]

    async def left(self) -> dict[str, int]:
        """Count February's rows."""
        return {
            table: await self._superuser.fetchval(
                f"select count(*) from ledger.{table} where log_id = $1",  # noqa: S608 - a constant
                self.february,
            )
            for table in (*TABLES, "checkpoints")
        }


@pytest.fixture
async def tenancy(  # noqa: PLR0917 - fixtures
    database: Database,
    duty: DutyDatabase,
    writer: LedgerWriter,
    source: FakeSource,
    clock: SettableClock,
    tenant: TenantId,
    reader: LedgerReader,
    superuser: asyncpg.Connection,
    watch: BreakWatch,
) -> Tenancy:
    clock.now = FEBRUARY
    await writer.record(tenant, L, source.compliance(tenant, 3))
    await writer.record(tenant, A, source.audit(tenant, 520))
    clock.now = MARCH
    await LogCloser(database=database, duty=duty, clock=clock, watch=watch).step()
    await writer.record(tenant, A, source.audit(tenant, 5))
    made = Tenancy(tenant, writer, superuser)
    await made.record_own_events()
    await Indexer(duty).step()
    made.february = (await reader.logs(tenant))[1].log["id"]
    clock.now = EXPIRED
    return made


async def test_an_expired_log_is_dropped_whole_and_nothing_else(
    tenancy: Tenancy, dropper: LogDropper, clock: SettableClock, reader: LedgerReader, superuser: asyncpg.Connection
) -> None:
    clock.now = LAST_MOMENT
    await dropper.step()
    assert (await tenancy.left())["entries"] == 520
    clock.now = EXPIRED
    before = await reader.logs(tenancy.tenant)
    await dropper.step()
    assert await tenancy.left() == dict.fromkeys(TABLES, 0) | {"checkpoints": 1}
    compliance, february, march = await reader.logs(tenancy.tenant)
    assert compliance.lines == before[0].lines
    assert march.lines == before[2].lines
    assert february.log["size"] == 520
    assert february.log["head"] == before[1].log["head"]
    assert (february.log["dropped_at"], february.log["gone_at"]) == (EXPIRED, EXPIRED)
    assert await tenancy.record_own_events() == ["ledger.audit_log.closed", "ledger.audit_log.dropped"]
    clock.advance(days=1)
    await dropper.step()
    assert (await reader.logs(tenancy.tenant))[1].log == february.log
    count = "select count(*) from ledger.events where tenant_id = $1 and type = 'ledger.audit_log.dropped'"
    assert await superuser.fetchval(count, tenancy.tenant) == 1


async def test_readers_are_told_that_the_content_is_gone(
    tenancy: Tenancy, dropper: LogDropper, database: Database
) -> None:
    await dropper.step()
    async with database.transaction(tenancy.scope) as tx:
        with pytest.raises(LogDropped):
            await get_log(tx, tenancy.february)
        log = await get_log(tx, tenancy.february, dropped_too=True)
        assert (log.size, log.dropped_at) == (520, EXPIRED)
        assert [one.dropped_at for one in await list_logs(tx)] == [None, EXPIRED, None]


async def test_a_closing_that_is_not_recorded_keeps_the_log(
    tenancy: Tenancy, dropper: LogDropper, superuser: asyncpg.Connection
) -> None:
    await superuser.execute("update ledger.search set stream = 'x' where tenant_id = $1", tenancy.tenant)
    await dropper.step()
    assert (await tenancy.left())["entries"] == 520


@pytest.mark.parametrize("whole_tenant", [True, False])
async def test_a_hold_keeps_the_log_until_it_is_released(
    tenancy: Tenancy, dropper: LogDropper, database: Database, *, whole_tenant: bool
) -> None:
    async with database.transaction(tenancy.scope) as tx:
        hold = await place_hold(tx, None if whole_tenant else tenancy.february, "case-7")
    await dropper.step()
    assert (await tenancy.left())["entries"] == 520
    with pytest.raises(DBAPIError, match="is held"):
        async with database.transaction(tenancy.scope) as tx:
            await store.drop(tx, tenancy.february, EXPIRED)
    async with database.transaction(tenancy.scope) as tx:
        await release_hold(tx, hold)
    await dropper.step()
    assert (await tenancy.left())["entries"] == 0
    assert (await tenancy.record_own_events())[-3:] == [
        "ledger.hold.placed",
        "ledger.hold.released",
        "ledger.audit_log.dropped",
    ]
    async with database.transaction(tenancy.scope) as tx:
        with pytest.raises(LogDropped):
            await place_hold(tx, tenancy.february, "too-late")


async def test_a_kill_in_the_middle_of_deleting_is_made_good_by_the_next_run(
    tenancy: Tenancy, dropper: LogDropper, monkeypatch: pytest.MonkeyPatch, reader: LedgerReader
) -> None:
    real, chunks = store.delete_chunk, 0

    async def dies(*arguments: object) -> bool:
        nonlocal chunks
        chunks += 1
        done = await real(*arguments)  # type: ignore[arg-type]
        if chunks == 3:
            raise ConnectionError
        return done

    monkeypatch.setattr(dropping.store, "delete_chunk", dies)
    with pytest.raises(ConnectionError):
        await dropper.step()
    assert await tenancy.left() == {
        "entries": 320,
        "tree_hashes": 2,
        "search": 320,
        "search_cursors": 0,
        "checkpoints": 1,
    }
    monkeypatch.undo()
    await dropper.step()
    assert (await tenancy.left())["entries"] == 0
    assert (await reader.logs(tenancy.tenant))[1].log["gone_at"] == EXPIRED


@pytest.mark.control("AU-01")
async def test_the_purge_role_reaches_nothing_before_the_log_is_dropped(tenancy: Tenancy, purge: DutyDatabase) -> None:
    async with purge.duty() as connection:
        assert await store.powers(connection) == store.POWERS
        for table in TABLES:
            deleted = await connection.execute(text(f"delete from ledger.{table}"))  # noqa: S608 - a constant
            assert deleted.rowcount == 0, table
    for refused in (
        "select line from ledger.entries",
        "insert into ledger.search_cursors values (gen_random_uuid(), gen_random_uuid(), 0)",
        "update ledger.logs set dropped_at = now()",
        "update ledger.entries set seq = 1",
        "truncate ledger.entries",
        "delete from ledger.checkpoints",
        "delete from ledger.events",
        "delete from ledger.logs",
        "select * from ledger.holds",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with purge.duty() as connection:
                await connection.execute(text(refused))
    assert (await tenancy.left())["entries"] == 520


async def test_the_purge_roles_connection_goes_with_the_job(
    tenancy: Tenancy, dropper: LogDropper, superuser: asyncpg.Connection
) -> None:
    count = "select count(*) from pg_stat_activity where usename = 'tally_ledger_purge' and datname = current_catalog"
    assert tenancy.scope
    await dropper.step()
    assert await superuser.fetchval(count) == 1
    await dropper.close()
    async with asyncio.timeout(10):
        while await superuser.fetchval(count):  # noqa: ASYNC110 - the server ends a session a moment later
            await asyncio.sleep(0.02)


@pytest.mark.control("AU-01")
async def test_nothing_is_dropped_by_a_role_that_can_do_more(
    tenancy: Tenancy, dropper: LogDropper, superuser: asyncpg.Connection
) -> None:
    await superuser.execute("grant delete on ledger.events to tally_ledger_purge")
    try:
        with pytest.raises(LedgerStateError, match=r"events\.delete"):
            await dropper.step()
    finally:
        await superuser.execute("revoke delete on ledger.events from tally_ledger_purge")
    assert (await tenancy.left())["entries"] == 520


@pytest.mark.control("AU-01")
async def test_other_roles_delete_nothing_even_of_a_dropped_log(
    tenancy: Tenancy, database: Database, duty: DutyDatabase, superuser: asyncpg.Connection
) -> None:
    async with duty.duty() as connection:
        await store.keep_until(connection, tenancy.tenant, tenancy.february, EXPIRED)
    async with database.transaction(tenancy.scope) as tx:
        assert await store.drop(tx, tenancy.february, EXPIRED)

    async def as_app(statement: str) -> None:
        async with database.transaction(tenancy.scope) as tx:
            await tx.execute(text(statement))

    async def as_duty(statement: str) -> None:
        async with duty.duty() as connection:
            await connection.execute(text(statement))

    for table in TABLES:
        for act in (as_app, as_duty):
            with pytest.raises(DBAPIError, match="permission denied"):
                await act(f"delete from ledger.{table}")  # noqa: S608 - a constant
    for table in ("entries", "tree_hashes"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await superuser.execute(f"delete from ledger.{table}")  # noqa: S608 - a constant


@pytest.mark.parametrize(
    "change",
    [
        "kept_until = '2024-04-01Z' where period = '2024-02'",
        "kept_until = null where period = '2024-02'",
        "dropped_at = now() where kind = 'compliance'",
        "dropped_at = now() where period = '2024-03'",
        "gone_at = now() where period = '2024-02'",
    ],
)
async def test_the_database_keeps_what_has_not_expired(
    tenancy: Tenancy, dropper: LogDropper, clock: SettableClock, superuser: asyncpg.Connection, change: str
) -> None:
    clock.now = LAST_MOMENT
    await dropper.step()
    statement = f"update ledger.logs set {change} and tenant_id = $1"  # noqa: S608 - constants
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=r"kept|not gone"):
        await superuser.execute(statement, tenancy.tenant)


@pytest.mark.control("EV-41b")
async def test_what_remains_verifies_and_says_what_is_gone(
    tenancy: Tenancy, dropper: LogDropper, reader: LedgerReader, tmp_path: Path
) -> None:
    async def export(place: int, name: str) -> tuple[FolderSource, VerifierKey]:
        log = (await reader.logs(tenancy.tenant))[place]
        folder = tmp_path / name
        folder.mkdir()
        (folder / "entries.ndjson").write_bytes(b"".join(line + b"\n" for line in log.lines))
        (folder / "checkpoint").write_text(log.checkpoints[-1]["note"])
        return FolderSource(folder), log.verifier

    kept = tmp_path / "kept"
    before, key = await export(0, "before")
    assert verify_log(before, (key,), (), 1, lambda _: None, kept).notes == ()
    await dropper.step()
    await tenancy.record_own_events()
    compliance, key = await export(0, "compliance")
    for since in ((), load_since(kept)):
        report = verify_log(compliance, (key,), since, 1, lambda _: None)
        assert (report.status, report.entries) == ("intact", 5)
        (note,) = report.notes
        assert "audit-2024-02" in note
        assert "2025-03-01" in note
        assert "520 entries" in note
    march, key = await export(2, "march")
    report = verify_log(march, (key,), (), 1, lambda _: None)
    assert report.status == "intact"
    assert any("identity/magic_link goes on at 521" in one for one in report.limits), report.limits
