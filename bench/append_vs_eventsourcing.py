"""`append_vs_eventsourcing`, `…_function`: the ledger's writer against the Postgres recorder of `eventsourcing`.

Both take batches of 100 into the same server over TLS, in turns of ten. The library stores the same bytes (the
finished line as the event's state) with its own primary key and notification ids, through psycopg's C implementation.
It has two ways to insert: as it comes, under a lock on its table, one batch at a time; and with `enable_db_functions`,
by a function in the database, which lets two go side by side (`append_vs_eventsourcing_function`). The writer does all
that it does in `append_one_log`, with as many batches in hand as there.

TALLY_BENCH_BATCHES is the number of batches in all (200). The library comes with `make bench`.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import uvloop
from tallystick_chassis.clock import utc_now
from tallystick_chassis.ids import TenantId
from tallystick_cli.stack.temporary import Databases, running_servers
from tallystick_contracts.message import LogKind
from tallystick_ledger.logs.domain import Log, LogId, origin_of
from tallystick_ledger.writing.arrival import Arrival
from tallystick_ledger.writing.batch import chain
from tallystick_tlog import FIRST_PREV

from bench.append import PREFIX, batches, connect, ledger_writer, make_tables
from bench.append_one_log import append_ahead
from bench.measure import Measure, Result, result

if TYPE_CHECKING:
    from eventsourcing.persistence import StoredEvent
    from eventsourcing.postgres import PostgresApplicationRecorder

GOAL: Final = 2.0
_BATCH: Final = 100
_ROUND: Final = 10


class _Way(NamedTuple):
    """One of the library's ways to insert; ``in_hand`` is with how many batches at a time it is fastest."""

    schema: str
    words: str
    by_function: bool
    in_hand: int


_AS_IT_COMES: Final = _Way("es_locked_table", "as it comes", by_function=False, in_hand=1)
_BY_FUNCTION: Final = _Way("es_function", "with `enable_db_functions`", by_function=True, in_hand=2)


def take() -> Result:
    """Append against the library as it comes."""
    return _take("append_vs_eventsourcing", _AS_IT_COMES)


def take_function() -> Result:
    """Append against the library's function in the database, which is to be switched on."""
    return _take("append_vs_eventsourcing_function", _BY_FUNCTION)


def _take(name: str, way: _Way) -> Result:
    rounds = max(1, int(os.environ.get("TALLY_BENCH_BATCHES", "200")) // _ROUND)
    with running_servers(durable=True) as servers:
        writer_s, library_s = uvloop.run(_measure(servers.fresh_databases(), servers.ca_file, rounds, way))
    return result(
        name=name,
        value=_ROUND * _BATCH / median(writer_s),
        unit="entries/s",
        reference=f"the `eventsourcing` library's Postgres recorder {way.words}, batches of {_BATCH}",
        reference_value=_ROUND * _BATCH / median(library_s),
        goal=GOAL,
    )


async def _measure(databases: Databases, ca_file: Path, rounds: int, way: _Way) -> tuple[list[float], list[float]]:
    await make_tables(databases, ca_file)
    superuser = await connect(databases, ca_file)
    await superuser.execute(f"create schema {way.schema}")
    await superuser.close()
    tenant = TenantId(uuid4())
    writer_s: list[float] = []
    library_s: list[float] = []
    with ExitStack() as closing:
        recorder = _recorder(databases, ca_file, way, closing)
        async with ledger_writer(databases, ca_file) as writer:
            for number in range(-1, rounds):  # the first warms up
                work = batches(tenant, (number + 1) * _ROUND * _BATCH + 1, _ROUND, _BATCH)
                events = [_stored(batch) for batch in work]
                begin = perf_counter()
                await append_ahead(writer, work)
                between = perf_counter()
                await _record(recorder, events, way.in_hand)
                end = perf_counter()
                if number >= 0:
                    writer_s.append(between - begin)
                    library_s.append(end - between)
    return writer_s, library_s


def _recorder(databases: Databases, ca_file: Path, way: _Way, closing: ExitStack) -> "PostgresApplicationRecorder":
    from eventsourcing.postgres import (  # noqa: PLC0415 - comes with `make bench-tools`
        PostgresApplicationRecorder,
        PostgresDatastore,
    )

    address = urlsplit(databases.superuser_dsn())
    datastore = PostgresDatastore(
        dbname=address.path.removeprefix("/"),
        host=address.hostname or "",
        port=address.port or 0,
        user=unquote(address.username or ""),
        password=unquote(address.password or ""),
        pool_size=way.in_hand,
        schema=way.schema,
        enable_db_functions=way.by_function,
    )
    closing.callback(datastore.close)
    # Its constructor has no parameter for TLS; its connections are not opened yet.
    tls = {"sslmode": "verify-full", "sslrootcert": str(ca_file)}
    datastore.pool.kwargs = {**datastore.pool.kwargs, **tls}
    recorder = PostgresApplicationRecorder(datastore)
    recorder.create_table()
    return recorder


def _stored(arrivals: Sequence[Arrival]) -> "list[StoredEvent]":
    """Return the same events as the library's own, finished before the clock runs."""
    from eventsourcing.persistence import StoredEvent  # noqa: PLC0415 - comes with `make bench-tools`

    now = utc_now()
    tenant, size = arrivals[0].tenant, arrivals[0].source_seq - 1
    origin = origin_of(PREFIX, tenant, None)
    log = Log(tenant, LogId(tenant), LogKind.COMPLIANCE, None, origin, size, FIRST_PREV, now, now, None)
    lines, _ = chain(log, arrivals, now)
    return [
        StoredEvent(UUID(one.event.stream.partition("-")[2]), one.event.stream_version, one.event.type, line)
        for one, line in zip(arrivals, lines, strict=True)
    ]


async def _record(recorder: "PostgresApplicationRecorder", work: "Sequence[list[StoredEvent]]", in_hand: int) -> None:
    """Insert batches with ``in_hand`` of them on their way, each in a thread: the library waits in its own."""
    waiting = iter(work)

    async def take() -> None:
        for events in waiting:
            numbers = await asyncio.to_thread(recorder.insert_events, events)
            if numbers is None or len(numbers) != len(events):
                message = "a batch was not recorded"
                raise RuntimeError(message)

    await asyncio.gather(*(take() for _ in range(in_hand)))


AS_IT_COMES: Final = Measure("append_vs_eventsourcing", take)
BY_FUNCTION: Final = Measure("append_vs_eventsourcing_function", take_function)
