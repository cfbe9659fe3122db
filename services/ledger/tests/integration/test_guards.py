"""The database's own guards: a hand-made row that does not continue the chain is refused, whoever inserts it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text
from tallystick_contracts.message import LogKind
from tallystick_tlog.entry import build_line, format_recorded
from tallystick_tlog.hashing import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.ids import TenantId
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource

NOON = datetime(2026, 11, 21, 13, tzinfo=UTC)
COLUMNS = (
    "tenant_id, log_id, seq, org_unit_id, origin, line, event_size, leaf_hash, prev_hash, recorded, source, aggregate, "
    "source_seq, event_id, type, actor"
)
INSERT = f"insert into ledger.entries ({COLUMNS}) values ({', '.join(f'${n}' for n in range(1, 17))})"  # noqa: S608 - constants


@dataclass(frozen=True)
class Row:
    """One row for ledger.entries; ``told`` is what the line says where it differs from the columns."""

    tenant: UUID
    log: UUID
    origin: str
    seq: int
    prev: bytes
    recorded: datetime = NOON
    source_seq: int = 3
    event: bytes = b'{"made":"by hand"}'
    event_id: UUID = field(default_factory=uuid4)
    line: bytes | None = None
    leaf: bytes | None = None
    event_size: int | None = None

    def built(self) -> bytes:
        if self.line is not None:
            return self.line
        return build_line(self.event, self.origin, self.prev, format_recorded(self.recorded), self.seq, self.source_seq)

    def values(self) -> tuple[object, ...]:
        line = self.built()
        return (
            self.tenant,
            self.log,
            self.seq,
            self.tenant,
            self.origin,
            line,
            len(self.event) if self.event_size is None else self.event_size,
            leaf_hash(line) if self.leaf is None else self.leaf,
            self.prev,
            self.recorded,
            "identity",
            "tenant",
            self.source_seq,
            self.event_id,
            "identity.tenant.created",
            "identity",
        )


@pytest.fixture
async def log(
    writer: LedgerWriter, source: FakeSource, tenant: TenantId, superuser: asyncpg.Connection
) -> asyncpg.Record:
    """A compliance log of two entries."""
    await writer.record(tenant, LogKind.COMPLIANCE, source.compliance(tenant, 2))
    row = await superuser.fetchrow("select * from ledger.logs where tenant_id = $1", tenant)
    assert row is not None
    return row


@pytest.fixture
def good(log: asyncpg.Record) -> Row:
    """The row that continues the log."""
    return Row(log["tenant_id"], log["id"], log["origin"], log["size"], log["head"])


def telling(row: Row, **changes: object) -> Row:
    """The row with a line that says something else than its columns, and the right hash of that line."""
    return replace(row, line=replace(row, **changes).built())  # type: ignore[arg-type]


BAD: dict[str, tuple[str, Callable[[Row], Row]]] = {
    "a leaf hash that is not the line's": ("leaf_is_hash_of_line", lambda r: replace(r, leaf=bytes(32))),
    "a leaf hash without the leaf prefix": (
        "leaf_is_hash_of_line",
        lambda r: replace(r, leaf=sha256(r.built()).digest()),
    ),
    "a line that names another previous hash": (
        "line_says_what_columns_say",
        lambda r: telling(r, prev=bytes(range(32))),
    ),
    "a line that names another number": ("line_says_what_columns_say", lambda r: telling(r, seq=r.seq + 1)),
    "a line that names another source number": ("line_says_what_columns_say", lambda r: telling(r, source_seq=4)),
    "a line that names another log": ("line_says_what_columns_say", lambda r: telling(r, origin="other")),
    "a line that names another time": (
        "line_says_what_columns_say",
        lambda r: telling(r, recorded=NOON + timedelta(microseconds=1)),
    ),
    "a line with something after it": (
        "line_says_what_columns_say",
        lambda r: replace(r, line=r.built() + b" "),
    ),
    "a line with something before it": (
        "line_says_what_columns_say",
        lambda r: replace(r, line=b" " + r.built()),
    ),
    "an event longer than it is": ("line_says_what_columns_say", lambda r: replace(r, event_size=len(r.event) + 1)),
    "a gap": ("entries_continue_log", lambda r: replace(r, seq=r.seq + 1)),
    "a number below zero": ("line_fits_and_numbers_count", lambda r: replace(r, seq=-1)),
    "a source number of zero": ("line_fits_and_numbers_count", lambda r: replace(r, source_seq=0)),
    "a previous hash that is not the head": ("entries_continue_log", lambda r: replace(r, prev=bytes(32))),
    "a previous hash that is none": (
        "line_fits_and_numbers_count",
        lambda r: replace(r, prev=b"short", line=r.built().replace(b64encode(r.prev), b64encode(b"short"))),
    ),
    "a time before the newest": (
        "entries_continue_log",
        lambda r: replace(r, recorded=datetime(2026, 11, 21, 11, tzinfo=UTC)),
    ),
    "another log's name": ("entries_continue_log", lambda r: replace(r, origin="ledger.test/other")),
    "a log that does not exist": ("entries_continue_log", lambda r: replace(r, log=uuid4())),
    "a tenant that does not have the log": ("entries_continue_log", lambda r: replace(r, tenant=uuid4())),
    "a line too long": ("line_fits_and_numbers_count", lambda r: replace(r, line=bytes(65_536), event=b"")),
}


async def insert(connection: asyncpg.Connection, *rows: Row) -> None:
    """Insert rows in one statement, as the writer does."""
    columns = list(zip(*(row.values() for row in rows), strict=True))
    types = [
        "uuid",
        "uuid",
        "bigint",
        "uuid",
        "text",
        "bytea",
        "integer",
        "bytea",
        "bytea",
        "timestamptz",
        "text",
        "text",
        "bigint",
        "uuid",
        "text",
        "text",
    ]
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types, start=1))
    await connection.execute(
        f"insert into ledger.entries ({COLUMNS}) select * from unnest({arrays})",  # noqa: S608 - constants above
        *(list(column) for column in columns),
    )


def following(row: Row, **changes: object) -> Row:
    """The row that continues ``row``."""
    after = replace(row, seq=row.seq + 1, prev=leaf_hash(row.built()), source_seq=row.source_seq + 1, event_id=uuid4())
    return replace(after, **changes)  # type: ignore[arg-type]


async def test_the_row_that_continues_the_log_is_accepted_and_moves_the_head(
    good: Row, superuser: asyncpg.Connection
) -> None:
    await insert(superuser, good, following(good))
    row = await superuser.fetchrow("select size, head, last_recorded from ledger.logs where id = $1", good.log)
    assert row is not None
    assert tuple(row) == (4, leaf_hash(following(good).built()), NOON)


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_row_is_refused_also_to_the_superuser(good: Row, superuser: asyncpg.Connection, case: str) -> None:
    constraint, spoil = BAD[case]
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await insert(superuser, spoil(good))
    assert refused.value.constraint_name == constraint
    assert await superuser.fetchval("select count(*) from ledger.entries where log_id = $1", good.log) == 2


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_row_is_refused_to_the_writers_role(good: Row, duty: DutyDatabase, case: str) -> None:
    async with duty.duty() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            async with raw.transaction():
                await insert(raw, BAD[case][1](good))


@pytest.mark.parametrize(
    "changes", [{"seq": 9}, {"prev": bytes(32)}, {"recorded": NOON - timedelta(seconds=1)}], ids=lambda c: next(iter(c))
)
async def test_a_break_inside_one_statement_is_refused(
    good: Row, superuser: asyncpg.Connection, changes: dict[str, object]
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not continue"):
        await insert(superuser, good, following(good, **changes))


@pytest.mark.parametrize("column", COLUMNS.split(", "))
async def test_no_column_that_a_guard_reads_may_be_null(good: Row, superuser: asyncpg.Connection, column: str) -> None:
    values = list(good.values())
    values[COLUMNS.split(", ").index(column)] = None
    with pytest.raises(asyncpg.NotNullViolationError):
        await superuser.execute(INSERT, *values)


async def test_an_event_and_a_source_number_stand_once_in_a_log(good: Row, superuser: asyncpg.Connection) -> None:
    known = await superuser.fetchrow("select event_id, source_seq from ledger.entries where log_id = $1", good.log)
    assert known is not None
    for changes, constraint in (
        ({"event_id": known["event_id"]}, "entries_event_once"),
        ({"source_seq": known["source_seq"]}, "entries_source_seq_once"),
    ):
        with pytest.raises(asyncpg.UniqueViolationError) as refused:
            await insert(superuser, replace(good, **changes))  # type: ignore[arg-type]
        assert refused.value.constraint_name == constraint


async def test_a_closed_log_takes_nothing_more_and_does_not_reopen(good: Row, superuser: asyncpg.Connection) -> None:
    await superuser.execute("update ledger.logs set closed_at = now() where id = $1", good.log)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="does not continue"):
        await insert(superuser, good)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="cannot be rewritten"):
        await superuser.execute("update ledger.logs set closed_at = null where id = $1", good.log)


@pytest.mark.parametrize(
    "change",
    [
        "size = size + 1",
        "size = size - 1",
        "size = 0, head = decode(repeat('00', 32), 'hex')",
        "head = decode(repeat('00', 32), 'hex')",
        "last_recorded = last_recorded - interval '1 day'",
        "origin = 'elsewhere'",
        "kind = 'audit', period = '2026-11'",
        "id = gen_random_uuid()",
        "opened_at = now() + interval '1 day'",
    ],
)
async def test_a_log_cannot_be_rewritten_by_hand(
    log: asyncpg.Record, superuser: asyncpg.Connection, change: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await superuser.execute(f"update ledger.logs set {change} where id = $1", log["id"])  # noqa: S608 - constants above
    assert await superuser.fetchrow("select * from ledger.logs where id = $1", log["id"]) == log


async def test_a_log_is_opened_empty(log: asyncpg.Record, superuser: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="must be opened empty"):
        await superuser.execute(
            "insert into ledger.logs select tenant_id, org_unit_id, gen_random_uuid(), 'audit', '2026-11', 'o', 5, "
            "head, last_recorded, opened_at from ledger.logs where id = $1",
            log["id"],
        )
    assert log["size"] == 2


@pytest.mark.parametrize("table", ["entries", "tree_hashes", "checkpoints", "logs", "events", "feed", "exports"])
@pytest.mark.parametrize("statement", ["delete from ledger.{}", "truncate ledger.{} cascade"])
async def test_nobody_deletes_not_even_the_superuser(
    log: asyncpg.Record, superuser: asyncpg.Connection, table: str, statement: str
) -> None:
    assert log["size"] == 2
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
        await superuser.execute(statement.format(table))


@pytest.mark.parametrize("change", ["line = line", "actor = 'x'", "leaf_hash = leaf_hash"])
async def test_nobody_updates_an_entry_not_even_the_superuser(
    log: asyncpg.Record, superuser: asyncpg.Connection, change: str
) -> None:
    assert log["size"] == 2
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
        await superuser.execute(f"update ledger.entries set {change}")  # noqa: S608 - constants above


async def test_the_owner_is_refused_as_everyone(good: Row, superuser: asyncpg.Connection) -> None:
    await superuser.execute("set role tally_ledger_owner")
    # Row-level security binds the owner (FORCE), and the triggers would refuse it without.
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        await insert(superuser, good)
    for statement in ("update ledger.entries set line = line", "delete from ledger.entries", "truncate ledger.entries"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            await superuser.execute(statement)


@pytest.mark.control("DI-01")
@pytest.mark.control("EV-11c")
@pytest.mark.control("EV-11d")
async def test_no_runtime_role_may_change_what_is_recorded(superuser: asyncpg.Connection) -> None:
    tables = ("entries", "tree_hashes", "checkpoints", "events", "feed")
    for role in ("tally_ledger_app", "tally_ledger_duty"):
        for table in tables:
            for privilege in ("update", "delete", "truncate"):
                allowed = await superuser.fetchval(
                    "select has_any_column_privilege($1, $2, 'update')"
                    if privilege == "update"
                    else f"select has_table_privilege($1, $2, '{privilege}')",
                    role,
                    f"ledger.{table}",
                )
                assert not allowed, f"{role} may {privilege} {table}"
    for table in ("logs", "entries", "tree_hashes", "checkpoints", "source_heads", "quarantine"):
        assert not await superuser.fetchval(
            "select has_table_privilege('tally_ledger_app', $1, 'insert')", f"ledger.{table}"
        )


@pytest.mark.control("EV-22d")
@pytest.mark.control("X-13")
async def test_without_a_scope_the_runtime_role_sees_no_row(log: asyncpg.Record, database: Database) -> None:
    assert log["size"] == 2
    async with database.unscoped() as connection:
        for table in ("logs", "entries", "checkpoints", "tree_hashes", "source_heads"):
            rows = await connection.execute(text(f"select count(*) from ledger.{table}"))  # noqa: S608 - constants above
            assert rows.scalar() == 0
