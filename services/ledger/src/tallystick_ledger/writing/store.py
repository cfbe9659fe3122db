"""The writer's SQL. It runs on asyncpg itself: a batch is one statement with arrays, and round trips are what costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from tallystick_contracts.message import LogKind
from tallystick_tlog.entry import FIRST_PREV
from tallystick_tlog.tree import CompactRange

from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.logs.domain import Log, LogId, LogKey, Period, earliest_recorded, origin_of, period_to_write
from tallystick_ledger.writing.arrival import Feed
from tallystick_ledger.writing.receipts import Committed, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    import asyncpg
    from tallystick_chassis.ids import TenantId

    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.batch import Batch

_EVENT_OFFSET: Final = len(b'{"event":')

# A process that is frozen, not dead, holds its transaction's locks as long as the server lets it.
_LIMIT_WAITING: Final = """
select set_config('lock_timeout', '500ms', true), set_config('idle_in_transaction_session_timeout', '3s', true)
"""
_LOCK_NEWEST: Final = """
select
    id, period, origin, size, head, last_recorded, opened_at, closed_at, public_key, previous_key, both_until
from ledger.logs
where tenant_id = $1 and kind = $2
order by period desc nulls first, generation desc
limit 1
for update
"""
# Before the row's lock: whoever has that must not wait for a batch that is on its way, for that one waits for the row.
# The share that `ledger.append` tries to get is taken here as well: before Postgres 17 its holder is refused
# the share while somebody waits for the lock.
_WAIT_FOR_BATCHES: Final = """
select
    pg_advisory_xact_lock(hashtextextended('ledger.log:' || newest.id, 0)),
    pg_advisory_xact_lock_shared(hashtextextended('ledger.log:' || newest.id, 0))
from (
    select id from ledger.logs
    where tenant_id = $1 and kind = $2
    order by period desc nulls first, generation desc
    limit 1
) as newest
"""
_OPEN: Final = """
insert into ledger.logs (tenant_id, org_unit_id, id, kind, period, origin, size, head, last_recorded, opened_at)
values ($1, $1, gen_random_uuid(), $2, $3, $4, 0, $5, $6, $7)
on conflict do nothing
"""
_STATE: Final = """
select
    (
        select newest.id from ledger.logs as newest
        where newest.tenant_id = $1 and newest.kind = $3
        order by newest.period desc nulls first, newest.generation desc
        limit 1
    ) as newest,
    (
        select checkpoints.frontier from ledger.checkpoints
        where checkpoints.tenant_id = $1 and checkpoints.log_id = $2 and checkpoints.size = $4
    ) as frontier,
    wanted.source,
    wanted.aggregate,
    coalesce(heads.last_seq, 0) as last_seq
from unnest($5::text[], $6::text[]) as wanted (source, aggregate)
left join ledger.source_heads as heads
    on heads.tenant_id = $1 and heads.source = wanted.source and heads.aggregate = wanted.aggregate
"""
# Each value is a parameter, but for the lines: asyncpg inspects every element of an array, and a dozen arrays cost more
# than everything else together. So hashes come as one row of bytes, and texts and numbers with line feeds between.
_APPEND: Final = f"select ledger.append({', '.join(f'${n}' for n in range(1, 29))})"
_FIND: Final = """
select
    logs.id as log_id, entries.seq, entries.source, entries.aggregate, entries.source_seq,
    substr(entries.line, $6 + 1, entries.event_size) as body
from unnest($3::text[], $4::text[], $5::bigint[]) as wanted (source, aggregate, source_seq)
inner join ledger.logs on logs.tenant_id = $1 and logs.kind = $2
inner join ledger.entries
    on entries.tenant_id = $1 and entries.log_id = logs.id and entries.source = wanted.source
    and entries.aggregate = wanted.aggregate and entries.source_seq = wanted.source_seq
"""
_FIND_IDS: Final = """
select entries.event_id
from ledger.logs
inner join ledger.entries on entries.tenant_id = logs.tenant_id and entries.log_id = logs.id
where logs.tenant_id = $1 and logs.kind = $2 and entries.event_id = any($3::uuid[])
"""
_COVERING: Final = """
select distinct on (covering.size)
    logs.origin, covering.note, covering.start, covering.size, before.frontier
from unnest($3::bigint[]) as wanted (seq)
cross join lateral (
    select checkpoints.note, checkpoints.start, checkpoints.size
    from ledger.checkpoints
    where checkpoints.tenant_id = $1 and checkpoints.log_id = $2 and checkpoints.size > wanted.seq
    order by checkpoints.size
    limit 1
) as covering
inner join ledger.logs on logs.tenant_id = $1 and logs.id = $2
left join ledger.checkpoints as before
    on before.tenant_id = $1 and before.log_id = $2 and before.size = covering.start
order by covering.size
"""
_COVERED: Final = """
select seq, leaf_hash, prev_hash, recorded, source, aggregate, source_seq, event_id
from ledger.entries
where tenant_id = $1 and log_id = $2 and seq >= $3 and seq < $4
order by seq
"""
_HEADS: Final = """
select aggregate, last_seq from ledger.source_heads
where tenant_id = $1 and source = $2 and aggregate = any($3::text[])
"""
_QUARANTINE: Final = """
insert into ledger.quarantine
(tenant_id, digest, reason, detail, subject, source_seq, body, seen, first_at, last_at)
values ($1, sha256(convert_to($4, 'UTF8') || $6::bytea), $2, $3, $4, $5, $6, 1, $7, $7)
on conflict (tenant_id, digest) do update set seen = quarantine.seen + 1, last_at = excluded.last_at
returning seen
"""


async def lock_log(
    connection: asyncpg.Connection, tenant: TenantId, kind: LogKind, *, prefix: str, clock: Callable[[], datetime]
) -> tuple[Log, datetime]:
    """Lock the log that what happens now is recorded in, and say when now is; open it if need be.

    The newest log of its kind is locked in any case, so one writer at a time numbers a tenant's events of a kind, also
    around the end of a month. The clock is read under the lock.

    Raises:
        asyncpg.LockNotAvailableError: another transaction holds the log.
    """
    await connection.execute(_LIMIT_WAITING)
    while True:
        await connection.execute(_WAIT_FOR_BATCHES, tenant, kind.value)
        row = await connection.fetchrow(_LOCK_NEWEST, tenant, kind.value)
        newest = _log(tenant, kind, row) if row is not None else None
        now = clock()
        if kind is LogKind.COMPLIANCE:
            if newest is not None:
                return newest, now
            period = None
        else:
            period = period_to_write(newest, now)
            if newest is not None and newest.period == period:
                return newest, now
        await connection.execute(
            _OPEN,
            tenant,
            kind.value,
            period,
            origin_of(prefix, tenant, period),
            FIRST_PREV,
            earliest_recorded(period, now),
            now,
        )


async def read_state(
    connection: asyncpg.Connection, log: Log, feeds: Collection[Feed]
) -> tuple[CompactRange, dict[Feed, int]] | None:
    """Return the log's tree and the last recorded number of each feed (0: none yet).

    ``None`` if a newer log was opened while we waited for this one's lock: lock again.

    Raises:
        LedgerStateError: the log has entries but no checkpoint over them.
    """
    wanted = sorted(feeds)
    rows = await connection.fetch(
        _STATE,
        log.tenant,
        log.id,
        log.kind.value,
        log.size,
        [feed.source for feed in wanted],
        [feed.aggregate for feed in wanted],
    )
    if rows[0]["newest"] != log.id:
        return None
    frontier = rows[0]["frontier"]
    if frontier is None and log.size:
        msg = f"log {log.origin} has no checkpoint at its size {log.size}"
        raise LedgerStateError(msg)
    tree = CompactRange() if frontier is None else CompactRange.from_bytes(frontier)
    return tree, {Feed(row["source"], row["aggregate"]): row["last_seq"] for row in rows}


async def append(connection: asyncpg.Connection, batch: Batch, *, signed_at: datetime) -> bool:
    """Store entries, tree hashes, feeds' heads and checkpoint in one statement; the guards move the log's head.

    ``False`` if the log has gone on otherwise, or another batch is on its way to its place; then nothing is stored.

    Raises:
        asyncpg.LockNotAvailableError: another transaction holds the log.
        asyncpg.IntegrityConstraintViolationError: the log does not end, with a checkpoint, where the batch begins.
    """
    heads = {arrival.feed: arrival.source_seq for arrival in batch.arrivals}
    stored: bool = await connection.fetchval(
        _APPEND,
        *_entry_parameters(batch),
        [feed.source for feed in heads],
        [feed.aggregate for feed in heads],
        list(heads.values()),
        [item.node.level for item in batch.nodes],
        [item.node.index for item in batch.nodes],
        [item.hash for item in batch.nodes],
        batch.size,
        batch.root,
        batch.frontier.to_bytes(),
        batch.note,
        signed_at,
    )
    return stored


def _entry_parameters(batch: Batch) -> tuple[object, ...]:
    """Return the entries as the first 17 parameters of the insert."""
    log, arrivals = batch.log, batch.arrivals
    events = [arrival.event for arrival in arrivals]
    return (
        log.tenant,
        log.id,
        log.origin,
        log.size,
        batch.recorded,
        batch.lines,
        b"".join((log.head, *batch.leaves)),
        "\n".join([str(len(arrival.body)) for arrival in arrivals]),
        "\n".join([arrival.feed.source for arrival in arrivals]),
        "\n".join([arrival.feed.aggregate for arrival in arrivals]),
        "\n".join([str(arrival.source_seq) for arrival in arrivals]),
        "\n".join([event.id.hex for event in events]),
        "\n".join([event.type for event in events]),
        "\n".join([event.actor for event in events]),
        "\n".join([event.subject or "" for event in events]),
        "\n".join([event.correlation or "" for event in events]),
        "\n".join([event.org_unit.hex if event.org_unit else "" for event in events]),
    )


async def find_recorded(
    connection: asyncpg.Connection, tenant: TenantId, kind: LogKind, known: Sequence[Arrival]
) -> dict[tuple[Feed, int], tuple[LogId, int, bytes]]:
    """Return log, seq and event bytes of the entries that have the arrivals' numbers."""
    rows = await connection.fetch(
        _FIND,
        tenant,
        kind.value,
        [arrival.feed.source for arrival in known],
        [arrival.feed.aggregate for arrival in known],
        [arrival.source_seq for arrival in known],
        _EVENT_OFFSET,
    )
    return {
        (Feed(row["source"], row["aggregate"]), row["source_seq"]): (LogId(row["log_id"]), row["seq"], row["body"])
        for row in rows
    }


async def find_ids(
    connection: asyncpg.Connection, tenant: TenantId, kind: LogKind, ids: Sequence[UUID]
) -> frozenset[UUID]:
    """Return those of the event ids that a log of this kind already has."""
    # asyncpg's UUID is a subclass of its own; plain ones compare alike.
    return frozenset(
        UUID(int=row["event_id"].int) for row in await connection.fetch(_FIND_IDS, tenant, kind.value, ids)
    )


async def find_committed(
    connection: asyncpg.Connection, tenant: TenantId, log: LogId, positions: Sequence[int]
) -> list[Committed]:
    """Return the committed batches in which the entries at ``positions`` are."""
    found = []
    for row in await connection.fetch(_COVERING, tenant, log, positions):
        entries = await connection.fetch(_COVERED, tenant, log, row["start"], row["size"])
        before = row["frontier"]
        found.append(
            Committed(
                tenant=tenant,
                origin=row["origin"],
                note=row["note"],
                start=row["start"],
                prev=entries[0]["prev_hash"],
                frontier=() if before is None else CompactRange.from_bytes(before).hashes,
                leaves=tuple(entry["leaf_hash"] for entry in entries),
                recorded=entries[0]["recorded"],
                places=tuple(
                    Place(
                        Feed(entry["source"], entry["aggregate"]), entry["source_seq"], entry["event_id"], entry["seq"]
                    )
                    for entry in entries
                ),
            )
        )
    return found


async def read_heads(
    connection: asyncpg.Connection, tenant: TenantId, source: str, aggregates: Collection[str]
) -> dict[str, int]:
    """Return the last recorded number of each aggregate of a source (0: none yet)."""
    rows = await connection.fetch(_HEADS, tenant, source, sorted(aggregates))
    return dict.fromkeys(aggregates, 0) | {row["aggregate"]: row["last_seq"] for row in rows}


async def quarantine(
    connection: asyncpg.Connection,
    tenant: TenantId,
    *,
    reason: str,
    detail: str,
    subject: str,
    source_seq: int | None,
    body: bytes,
    now: datetime,
) -> int:
    """Keep what cannot be recorded, once; return how often it has come."""
    seen = await connection.fetchval(_QUARANTINE, tenant, reason, detail, subject, source_seq, body, now)
    return int(seen)


def _log(tenant: TenantId, kind: LogKind, row: asyncpg.Record) -> Log:
    return Log(
        tenant=tenant,
        id=LogId(row["id"]),
        kind=kind,
        period=None if row["period"] is None else Period(row["period"]),
        origin=row["origin"],
        size=row["size"],
        head=row["head"],
        last_recorded=row["last_recorded"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        key=LogKey.of(row["public_key"], row["previous_key"], row["both_until"]),
    )
