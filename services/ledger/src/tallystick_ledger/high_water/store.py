"""SQL of the high-water mark: what the database has of a log, and the breaks that were found.

The writer's questions run on asyncpg inside its transaction, under the log's lock; the others as the duty role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text
from tallystick_chassis.ids import TenantId
from tallystick_contracts.message import LogKind
from tallystick_tlog.entry import FIRST_PREV

from tallystick_ledger.high_water.mark import MOST_UNMARKED, NOTHING, Head, Verdict
from tallystick_ledger.logs.domain import Log, LogId, Period, earliest_recorded, period_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.writing.arrival import Feed

_SEEN_FROM_MARK: Final = """
select
    (select root from ledger.checkpoints where tenant_id = $1 and log_id = $2 and size = $3) as root_at_mark,
    (
        select count(*) from (
            select from ledger.checkpoints where tenant_id = $1 and log_id = $2 and size > $3 limit $4
        ) as beyond
    ) as unmarked
"""
_SHOWN_FROM_MARK: Final = text("""
select
    (
        select root from ledger.checkpoints where tenant_id = :tenant and log_id = :log and size = :mark
    ) as root_at_mark,
    (
        select count(*) from (
            select from ledger.checkpoints
            where tenant_id = :tenant and log_id = :log and size > :mark and size <= :size
            limit :limit
        ) as beyond
    ) as unmarked
""")
_UNMARKED: Final = text("""
select logs.tenant_id, logs.origin, newest.size, newest.root
from ledger.logs
inner join ledger.checkpoints as newest
    on newest.tenant_id = logs.tenant_id and newest.log_id = logs.id and newest.size = logs.size
where logs.origin <> all(cast(:marked as text[]))
""")
_HEADS: Final = text("""
select
    logs.tenant_id, logs.origin, logs.size, newest.root, marked.root as root_at_mark
from unnest(cast(:tenants as uuid[]), cast(:origins as text[]), cast(:sizes as bigint[])) as mark (tenant, origin, size)
inner join ledger.logs on logs.tenant_id = mark.tenant and logs.origin = mark.origin
left join ledger.checkpoints as newest
    on newest.tenant_id = logs.tenant_id and newest.log_id = logs.id and newest.size = logs.size
left join ledger.checkpoints as marked
    on marked.tenant_id = logs.tenant_id and marked.log_id = logs.id and marked.size = mark.size
""")
_NOTE_BREAK: Final = text("""
insert into ledger.breaks (
    tenant_id, origin, kind, period, verdict, marked_size, marked_root, kept_size, kept_root, found_at
)
values (
    :tenant, :origin, :kind, :period, :verdict, :marked_size, :marked_root, :kept_size, :kept_root, :now
)
on conflict (tenant_id, origin) do nothing
""")
_FORGET_BREAK: Final = text("""
delete from ledger.breaks where tenant_id = :tenant and origin = :origin and successor is null
""")
_BREAKS: Final = text("""
select
    tenant_id, origin, kind, period, verdict, marked_size, marked_root, kept_size, kept_root, found_at, successor,
    refilled_at
from ledger.breaks
order by tenant_id, origin
""")
_LOCK_BREAKS: Final = """
select origin from ledger.breaks
where tenant_id = $1 and origin = any($2::text[]) and successor is null
for update
"""
_CLOSE_BROKEN: Final = """
update ledger.logs
set
    closed_at = coalesce(closed_at, $4),
    announced_at = coalesce(announced_at, case when kind = 'compliance' or origin = any($3::text[]) then $4 end)
where
    tenant_id = $1 and kind = $2
    and (closed_at is null or (announced_at is null and origin = any($3::text[])))
"""
_OPEN_SUCCESSOR: Final = """
insert into ledger.logs
(tenant_id, org_unit_id, id, kind, period, generation, origin, size, head, last_recorded, opened_at)
values ($1, $1, gen_random_uuid(), $2, $3, $4, $5, 0, $6, $7, $8)
returning id
"""
_SETTLE: Final = """
update ledger.breaks set successor = $3, succeeded_at = $4
where tenant_id = $1 and origin = any($2::text[]) and successor is null
"""
_REFILLED: Final = text("""
update ledger.breaks set refilled_at = :now
where tenant_id = :tenant and origin = any(cast(:origins as text[])) and refilled_at is null
""")
_SOURCE_HEAD: Final = text("""
select last_seq from ledger.source_heads
where tenant_id = :tenant and source = :source and aggregate = :aggregate
""")


class SeenFromMark(NamedTuple):
    """The root that a log has at its mark's size, if it has one there, and how many checkpoints beyond (or five)."""

    root_at_mark: bytes | None
    unmarked: int


@dataclass(frozen=True, slots=True)
class KeptLog:
    """How far a log has come in the database, and its root at its mark's size, if it has a checkpoint there."""

    head: Head
    root_at_mark: bytes | None


@dataclass(frozen=True, slots=True)
class Break:
    """A log whose signed history the database does not have: ``marked`` was signed, ``kept`` is still there.

    ``successor`` is the origin of the log that goes on, once there is one; ``refilled_at`` says since when that log has
    what its sources still had.
    """

    tenant: TenantId
    origin: str
    kind: LogKind
    period: Period | None
    verdict: Verdict
    marked: Head
    kept: Head
    found_at: datetime
    successor: str | None = None
    refilled_at: datetime | None = None


async def see_from_mark(connection: asyncpg.Connection, log: Log, mark: Head) -> SeenFromMark:
    """Look the mark's place up in the log that the writer has locked."""
    row = await connection.fetchrow(_SEEN_FROM_MARK, log.tenant, log.id, mark.size, MOST_UNMARKED + 1)
    return SeenFromMark(row["root_at_mark"], row["unmarked"])


async def show_from_mark(tx: Transaction, log: Log, head: Head, mark: Head) -> SeenFromMark:
    """Look the mark's place up in a log whose checkpoint at ``head`` somebody wants to see."""
    values = {
        "tenant": log.tenant,
        "log": log.id,
        "mark": mark.size,
        "size": head.size,
        "limit": MOST_UNMARKED + 1,
    }
    row = (await tx.execute(_SHOWN_FROM_MARK, values)).one()
    return SeenFromMark(row.root_at_mark, row.unmarked)


async def find_unmarked(connection: AsyncConnection, marked: Collection[str]) -> dict[str, Head]:
    """Return the logs with entries that are not among those ``marked``, by origin."""
    rows = await connection.execute(_UNMARKED, {"marked": sorted(marked)})
    return {row.origin: Head(row.size, bytes(row.root)) for row in rows}


async def find_kept(
    connection: AsyncConnection, marks: Sequence[tuple[TenantId, str, Head]]
) -> dict[tuple[TenantId, str], KeptLog]:
    """Return how far the marked logs have come; a log that the database lacks is left out."""
    rows = await connection.execute(
        _HEADS,
        {
            "tenants": [tenant for tenant, _, _ in marks],
            "origins": [origin for _, origin, _ in marks],
            "sizes": [mark.size for _, _, mark in marks],
        },
    )
    return {
        (TenantId(row.tenant_id), row.origin): KeptLog(
            NOTHING if row.root is None else Head(row.size, bytes(row.root)),
            None if row.root_at_mark is None else bytes(row.root_at_mark),
        )
        for row in rows
    }


async def note_breaks(connection: AsyncConnection, breaks: Iterable[Break]) -> None:
    """Note what was found; what is noted already stays as it is."""
    for one in breaks:
        await connection.execute(
            _NOTE_BREAK,
            {
                "tenant": one.tenant,
                "origin": one.origin,
                "kind": one.kind.value,
                "period": one.period,
                "verdict": one.verdict.value,
                "marked_size": one.marked.size,
                "marked_root": one.marked.root,
                "kept_size": one.kept.size,
                "kept_root": one.kept.root,
                "now": one.found_at,
            },
        )


async def forget_breaks(connection: AsyncConnection, breaks: Iterable[Break]) -> None:
    """Forget breaks without a successor: the right database is back."""
    for one in breaks:
        await connection.execute(_FORGET_BREAK, {"tenant": one.tenant, "origin": one.origin})


async def list_breaks(connection: AsyncConnection) -> list[Break]:
    """Return every break that this database knows of."""
    return [
        Break(
            tenant=TenantId(row.tenant_id),
            origin=row.origin,
            kind=LogKind(row.kind),
            period=None if row.period is None else Period(row.period),
            verdict=Verdict(row.verdict),
            marked=Head(row.marked_size, bytes(row.marked_root)),
            kept=Head(row.kept_size, bytes(row.kept_root)),
            found_at=row.found_at,
            successor=row.successor,
            refilled_at=row.refilled_at,
        )
        for row in await connection.execute(_BREAKS)
    ]


async def lock_breaks(connection: asyncpg.Connection, tenant: TenantId, origins: Sequence[str]) -> int:
    """Lock these breaks and return how many of them have no successor."""
    return len(await connection.fetch(_LOCK_BREAKS, tenant, origins))


async def close_broken(
    connection: asyncpg.Connection, tenant: TenantId, kind: LogKind, broken: Sequence[str], now: datetime
) -> None:
    """Close the tenant's open logs of a kind. A sound one among them is announced later, as at its month's end."""
    await connection.execute(_CLOSE_BROKEN, tenant, kind.value, broken, now)


async def open_successor(  # noqa: PLR0917 - a row's values
    connection: asyncpg.Connection, tenant: TenantId, kind: LogKind, origin: str, generation: int, now: datetime
) -> Log:
    """Open an empty log that goes on for others."""
    period = None if kind is LogKind.COMPLIANCE else period_of(now)
    earliest = earliest_recorded(period, now)
    log_id = await connection.fetchval(
        _OPEN_SUCCESSOR, tenant, kind.value, period, generation, origin, FIRST_PREV, earliest, now
    )
    return Log(tenant, LogId(log_id), kind, period, origin, 0, FIRST_PREV, earliest, now, None)


async def settle(
    connection: asyncpg.Connection, tenant: TenantId, origins: Sequence[str], successor: str, now: datetime
) -> None:
    """Say which log goes on for the broken ones."""
    await connection.execute(_SETTLE, tenant, origins, successor, now)


async def note_refilled(connection: AsyncConnection, tenant: TenantId, origins: Sequence[str], now: datetime) -> None:
    """Say that the successor of these logs has what the sources had."""
    await connection.execute(_REFILLED, {"tenant": tenant, "origins": list(origins), "now": now})


async def read_source_heads(connection: AsyncConnection, tenant: TenantId, feed: Feed) -> int:
    """Return the last recorded number of a feed; 0: none yet."""
    values = {"tenant": tenant, "source": feed.source, "aggregate": feed.aggregate}
    return (await connection.execute(_SOURCE_HEAD, values)).scalar() or 0
