"""`append_one_log`: the ledger's writer on one log, against bare inserts of the same bytes on the same server.

A step of the writer is everything from checked events to the commit: lock, state, lines, chain, tree, signature, insert
with all guards and indexes, feeds' heads, checkpoint. A step of the reference is one insert of the same rows, finished,
into a table without constraint, index, trigger or policy, and its commit (append_reference_*.sql). Both take batches of
500 through asyncpg over TLS, in turns, on a Postgres of this run's own, in memory and without fsync.
"""

import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import uvloop
from tallystick_chassis.catch_up import FeedPage
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.migrate import migrate
from tallystick_cli.stack.temporary import Databases, running_servers
from tallystick_contracts.envelope import encode_event
from tallystick_contracts.generated.assessment import ItemType, QuestionVersionPublished
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.logs.domain import Log, LogId, origin_of
from tallystick_ledger.writing.arrival import Arrival, read_event
from tallystick_ledger.writing.batch import chain, signer_of
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog import FIRST_PREV

from bench.measure import Measure, Result, result

GOAL: Final = 0.50
BATCH: Final = 500
_REFERENCE: Final = "bare unnest inserts of the same bytes, batches of 500"
_TABLE: Final = Path(__file__).with_name("append_reference_table.sql")
_INSERT: Final = Path(__file__).with_name("append_reference_insert.sql")
_WARM_UP_BATCHES: Final = 10
_PREFIX: Final = "ledger.bench.tallystick.example"


_SIGNER: Final = signer_of(bytes(range(32)))


class _NoFeeds:
    """Nothing is missing here, so nobody is asked."""

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:
        raise NotImplementedError((tenant, source, aggregate, after))


def take() -> Result:
    """Append TALLY_BENCH_BATCHES batches (200) both ways and compare the medians of their times."""
    batches = int(os.environ.get("TALLY_BENCH_BATCHES", "200"))
    with running_servers() as servers:
        databases = servers.fresh_databases()
        writer_s, bare_s = uvloop.run(_measure(databases, servers.ca_file, batches))
    # Medians: a checkpoint of the server or another process falls on a few batches of either side.
    return result(
        name="append_one_log",
        value=BATCH / median(writer_s),
        unit="entries/s",
        reference=_REFERENCE,
        reference_value=BATCH / median(bare_s),
        goal=GOAL,
    )


async def _measure(databases: Databases, ca_file: Path, batches: int) -> tuple[list[float], list[float]]:
    await migrate(
        databases.dsn(ServiceName.LEDGER, "migrate"), service="ledger", package="tallystick_ledger", ca_file=ca_file
    )
    tenant = TenantId(uuid4())
    numbers = count(1)
    writer_s, bare_s = [], []
    async with _writer(databases, ca_file) as writer, _bare(databases, ca_file) as bare:
        insert = await bare.prepare(_INSERT.read_text())
        for number in range(-_WARM_UP_BATCHES, batches):
            arrivals = [_arrival(tenant, next(numbers)) for _ in range(BATCH)]
            rows = _rows(arrivals)
            begin = perf_counter()
            await writer.record(tenant, LogKind.COMPLIANCE, arrivals)
            between = perf_counter()
            await insert.fetch(*rows)
            end = perf_counter()
            if number >= 0:
                writer_s.append(between - begin)
                bare_s.append(end - between)
    return writer_s, bare_s


@asynccontextmanager
async def _writer(databases: Databases, ca_file: Path) -> AsyncIterator[LedgerWriter]:
    duty = DutyDatabase(databases.dsn(ServiceName.LEDGER, "duty"), "ledger", ca_file=ca_file)
    try:
        yield LedgerWriter(duty=duty, feeds=_NoFeeds(), prefix=_PREFIX, signer=_SIGNER, clock=utc_now)
    finally:
        await duty.dispose()


@asynccontextmanager
async def _bare(databases: Databases, ca_file: Path) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(databases.superuser_dsn(), ssl=ssl.create_default_context(cafile=str(ca_file)))
    try:
        await connection.execute(_TABLE.read_text())
        yield connection
    finally:
        await connection.close()


def _arrival(tenant: TenantId, source_seq: int) -> Arrival:
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


def _rows(arrivals: Sequence[Arrival]) -> tuple[object, ...]:
    """Return rows like the ledger's; what the reference stores is finished before the clock runs."""
    now = utc_now()
    tenant, size = arrivals[0].tenant, arrivals[0].source_seq - 1
    origin = origin_of(_PREFIX, tenant, None)
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


MEASURE: Final = Measure("append_one_log", take)
