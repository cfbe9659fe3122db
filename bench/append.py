"""What the measures of appending share: a ledger of this run's own, events, and rows for the bare insert."""

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import asyncpg
from tallystick_chassis.catch_up import FeedPage
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import DutyDatabase
from tallystick_chassis.heap import freeze_heap
from tallystick_chassis.ids import TenantId
from tallystick_chassis.migrate import migrate
from tallystick_cli.stack.temporary import Databases
from tallystick_contracts.envelope import encode_event
from tallystick_contracts.generated.assessment import ItemType, QuestionVersionPublished
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.logs.domain import Log, LogId, origin_of
from tallystick_ledger.writing import store
from tallystick_ledger.writing.arrival import Arrival, read_event
from tallystick_ledger.writing.batch import build_batch, chain
from tallystick_ledger.writing.tail import Tail
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog import FIRST_PREV, CompactRange
from tallystick_tlog.note import Signer

BATCH: Final = 500
KEY: Final = bytes(range(32))
PREFIX: Final = "ledger.bench.tallystick.example"
BARE: Final = "bare unnest inserts of the same bytes, batches of 500"
_FILL: Final = 5_000
_TABLE: Final = Path(__file__).with_name("append_reference_table.sql")
_INSERT: Final = Path(__file__).with_name("append_reference_insert.sql")


class NoFeeds:
    """Nothing is missing here, so nobody is asked."""

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:
        """Fail: a measure that asks is not the one that was meant."""
        raise NotImplementedError((tenant, source, aggregate, after))  # there is no source to ask


async def make_tables(databases: Databases, ca_file: Path) -> None:
    """Run the ledger's migrations."""
    await migrate(
        databases.dsn(ServiceName.LEDGER, "migrate"), service="ledger", package="tallystick_ledger", ca_file=ca_file
    )


@asynccontextmanager
async def ledger_writer(databases: Databases, ca_file: Path) -> AsyncIterator[LedgerWriter]:
    """Yield a writer on the ledger's own role."""
    duty = DutyDatabase(databases.dsn(ServiceName.LEDGER, "duty"), "ledger", ca_file=ca_file)
    guard = HighWaterGuard(FileHighWater(databases.servers.layout.high_water / databases.name))
    freeze_heap()  # as the worker's process does when it has started
    try:
        yield LedgerWriter(
            duty=duty,
            feeds=NoFeeds(),
            prefix=PREFIX,
            keys=CheckpointKeys(KeyRing(KEY), PREFIX),
            clock=utc_now,
            high_water=guard,
        )
    finally:
        await duty.dispose()


async def connect(databases: Databases, ca_file: Path) -> asyncpg.Connection:
    """Connect as the superuser, over TLS."""
    return await asyncpg.connect(databases.superuser_dsn(), ssl=ssl.create_default_context(cafile=str(ca_file)))


class BareInserts:
    """The reference: finished rows into a table that guards nothing (append_reference_*.sql)."""

    def __init__(self, connection: asyncpg.Connection, statement: asyncpg.prepared_stmt.PreparedStatement) -> None:
        self._connection = connection
        self._statement = statement

    @classmethod
    async def on(cls, databases: Databases, ca_file: Path) -> "BareInserts":
        """Connect, make the table where there is none, and prepare the insert."""
        connection = await connect(databases, ca_file)
        if await connection.fetchval("select to_regclass('append_reference')") is None:
            await connection.execute(_TABLE.read_text())
        return cls(connection, await connection.prepare(_INSERT.read_text()))

    async def insert(self, rows: tuple[object, ...]) -> None:
        """Insert one batch and commit it."""
        await self._statement.fetch(*rows)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()


def arrival(tenant: TenantId, source_seq: int) -> Arrival:
    """One event as it arrives: with the line around it about 800 bytes."""
    question = uuid4()
    body = encode_event(
        QuestionVersionPublished(
            question_id=str(question),
            version=1,
            item_type=ItemType.SINGLE_CHOICE,
            content_hash=sha256(question.bytes).hexdigest(),
        ),
        id=uuid4(),
        source="assessment",
        stream=f"question-{question}",
        stream_version=1,
        time=datetime(2026, 11, 21, 12, tzinfo=UTC),
        actor="p_0123456789abcdefghijkl",
        correlation=uuid4().hex,
        org_unit=tenant,
    )
    return read_event(tenant, source_seq, body)


def batches(tenant: TenantId, first: int, count: int, size: int = BATCH) -> list[list[Arrival]]:
    """Make ``count`` batches of arrivals, numbered from ``first``."""
    return [[arrival(tenant, first + n * size + k) for k in range(size)] for n in range(count)]


def bare_rows(arrivals: Sequence[Arrival]) -> tuple[object, ...]:
    """Return rows like the ledger's; what the reference stores is finished before the clock runs."""
    now = utc_now()
    tenant, size = arrivals[0].tenant, arrivals[0].source_seq - 1
    origin = origin_of(PREFIX, tenant, None)
    log = Log(tenant, LogId(tenant), LogKind.COMPLIANCE, None, origin, size, FIRST_PREV, now, now, None)
    lines, leaves = chain(log, arrivals, now)
    events = [one.event for one in arrivals]
    return (
        tenant,
        log.id,
        origin,
        now,
        [one.source_seq - 1 for one in arrivals],
        lines,
        [len(one.body) for one in arrivals],
        leaves,
        [FIRST_PREV, *leaves[:-1]],
        [one.feed.source for one in arrivals],
        [one.feed.aggregate for one in arrivals],
        [one.source_seq for one in arrivals],
        [event.id for event in events],
        [event.type for event in events],
        [event.actor for event in events],
        [event.subject for event in events],
        [event.correlation for event in events],
    )


async def fill(connection: asyncpg.Connection, tenant: TenantId, count: int) -> None:
    """Append to the tenant's log by ``ledger.append``, guards and all; only the commit does not wait for the disk."""
    row = await connection.fetchrow("select * from ledger.logs where tenant_id = $1", tenant)
    checkpoint = await connection.fetchval("select frontier from ledger.checkpoints where tenant_id = $1", tenant)
    if row is None:
        message = "the log to fill is not there"
        raise RuntimeError(message)
    log = Log(
        tenant,
        LogId(row["id"]),
        LogKind.COMPLIANCE,
        None,
        origin_of(PREFIX, tenant, None),
        row["size"],
        row["head"],
        row["last_recorded"],
        row["opened_at"],
        None,
    )
    tail = Tail(log, CompactRange.from_bytes(checkpoint), {})
    signer = Signer(log.origin, KEY)
    await connection.execute("set synchronous_commit = off")
    for arrivals in _made(tenant, row["size"] + 1, count):
        batch = build_batch(tail.log, tail.frontier, arrivals, utc_now(), signer)
        if not await store.append(connection, batch, signed_at=batch.recorded):
            message = "the log moved while it was filled"
            raise RuntimeError(message)
        tail = tail.after(batch)
    await connection.execute("set synchronous_commit = on")


def _made(tenant: TenantId, first: int, count: int) -> Iterator[tuple[Arrival, ...]]:
    for start in range(first, first + count, _FILL):
        yield tuple(arrival(tenant, seq) for seq in range(start, min(start + _FILL, first + count)))
