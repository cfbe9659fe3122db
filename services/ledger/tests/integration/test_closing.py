"""Audit logs close after their month, once, and the compliance log says so; whatever crashes in between."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import Transaction
from tallystick_contracts.generated.ledger import AuditLogClosed
from tallystick_contracts.message import LogKind
from tallystick_ledger.logs import closing
from tallystick_ledger.logs.closing import LogCloser
from tallystick_ledger.writing.arrival import read_event
from tallystick_tlog import open_checkpoint, to_base64
from tallystick_tlog.entry import parse_entry

if TYPE_CHECKING:
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_contracts.envelope import Event
    from tallystick_ledger.high_water.watch import BreakWatch
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, LedgerReader, SettableClock

A, L = LogKind.AUDIT, LogKind.COMPLIANCE
DECEMBER = datetime(2026, 12, 1, 0, 5, tzinfo=UTC)


@pytest.fixture
def closer(database: Database, duty: DutyDatabase, clock: SettableClock, watch: BreakWatch) -> LogCloser:
    return LogCloser(database=database, duty=duty, clock=clock, watch=watch)


@pytest.fixture
async def november(writer: LedgerWriter, source: FakeSource, tenant: TenantId) -> None:
    """An audit log of November with four entries in two batches."""
    await writer.record(tenant, A, source.audit(tenant, 3))
    await writer.record(tenant, A, source.audit(tenant, 1))


async def announced(database: Database, tenant: TenantId, log: object) -> list[Event]:
    async with database.transaction(Scope.for_duty(tenant, "ledger")) as tx:
        return await tx.load(f"audit_log-{log}")


@pytest.mark.usefixtures("november")
async def test_a_log_closes_when_its_month_and_the_grace_are_over(
    closer: LogCloser, reader: LedgerReader, tenant: TenantId, database: Database
) -> None:
    await closer.close(DECEMBER.replace(minute=4, second=59))
    (log,) = await reader.logs(tenant)
    assert log.log["closed_at"] is None
    await closer.close(DECEMBER)
    (log,) = await reader.logs(tenant)
    assert log.log["closed_at"] == log.log["announced_at"] == DECEMBER
    (event,) = await announced(database, tenant, log.log["id"])
    assert isinstance(event.data, AuditLogClosed)
    checkpoint = open_checkpoint(event.data.checkpoint.encode(), [log.verifier])
    assert (checkpoint.size, event.data.size, event.data.period) == (4, 4, "2026-11")
    assert event.data.root == to_base64(checkpoint.root)


@pytest.mark.usefixtures("november")
async def test_closing_again_changes_nothing(
    closer: LogCloser, reader: LedgerReader, tenant: TenantId, database: Database
) -> None:
    await closer.close(DECEMBER)
    (before,) = await reader.logs(tenant)
    await closer.close(DECEMBER.replace(hour=1))
    (after,) = await reader.logs(tenant)
    assert before.log == after.log
    assert len(await announced(database, tenant, after.log["id"])) == 1


@pytest.mark.usefixtures("november")
async def test_what_comes_after_the_closing_goes_to_the_next_month(
    closer: LogCloser, writer: LedgerWriter, source: FakeSource, reader: LedgerReader, tenant: TenantId
) -> None:
    await closer.close(DECEMBER)
    # This writer's clock is still in November.
    await writer.record(tenant, A, source.audit(tenant, 2))
    november, december = await reader.logs(tenant)
    assert (len(november.lines), len(december.lines)) == (4, 2)
    assert december.log["period"] == "2026-12"
    assert parse_entry(december.lines[0]).recorded == "2026-12-01T00:00:00.000000Z"
    assert parse_entry(december.lines[0]).source_seq == 5


@pytest.mark.usefixtures("november")
@pytest.mark.parametrize("moment", ["before the event", "after the event"])
async def test_a_crash_in_between_is_made_good_by_the_next_run(
    *,
    closer: LogCloser,
    reader: LedgerReader,
    tenant: TenantId,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    class CrashError(Exception):
        pass

    if moment == "before the event":

        async def crash(*_arguments: object) -> None:
            raise CrashError

        monkeypatch.setattr(Transaction, "append", crash)
        with pytest.raises(CrashError):
            await closer.close(DECEMBER)
    else:
        monkeypatch.setattr(closing, "_ANNOUNCED", None)
        with pytest.raises(Exception, match=r"NoneType|executable|Not an"):
            await closer.close(DECEMBER)
    monkeypatch.undo()
    (log,) = await reader.logs(tenant)
    assert log.log["closed_at"] == DECEMBER
    assert log.log["announced_at"] is None
    await closer.close(DECEMBER)
    (log,) = await reader.logs(tenant)
    assert log.log["announced_at"] == DECEMBER
    assert len(await announced(database, tenant, log.log["id"])) == 1


@pytest.mark.usefixtures("november")
async def test_the_compliance_log_records_the_closing_as_any_event(
    closer: LogCloser,
    writer: LedgerWriter,
    reader: LedgerReader,
    tenant: TenantId,
    superuser: asyncpg.Connection,
) -> None:
    await closer.close(DECEMBER)
    body = await superuser.fetchval(
        "select body from ledger.events where tenant_id = $1 and type = 'ledger.audit_log.closed'", tenant
    )
    assert await superuser.fetchval("select count(*) from ledger.outbox where tenant_id = $1", tenant) == 1
    await writer.record(tenant, L, [read_event(tenant, 1, body)])
    compliance, _ = await reader.logs(tenant)
    assert body in compliance.lines[0]
