"""The search's SQL: for readers in their own scope, and for the worker that fills the index for all tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

from tallystick_ledger.logs.domain import LogId
from tallystick_ledger.reading.store import Line
from tallystick_ledger.search.domain import Order, Place

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.search.domain import Search

TAIL_ENTRIES: Final = 20_000
"""How many entries of each log a search reads itself where the index has not come to them yet."""

COLUMNS: Final = frozenset({"type", "actor", "subject", "correlation", "stream", "org_unit_id"})

# The event's canonical JSON: the last `,"stream":` is the envelope's own, since what stands behind it holds no bare
# quotation mark. (A JSON cast would refuse an event with an escaped NUL in it, and so stop the index for ever.)
_STREAM: Final = r"""
substring(
    convert_from(substr(entries.line, 10, entries.event_size), 'UTF8')
    from '.*,"stream":"([^"\\]*)","stream_version":'
)
""".strip()

_BEHIND = text("""
select logs.tenant_id, logs.id, logs.size
from ledger.logs
inner join ledger.search_cursors as cursors on cursors.tenant_id = logs.tenant_id and cursors.log_id = logs.id
where cursors.indexed_to < logs.size and logs.dropped_at is null
order by logs.tenant_id, logs.id
limit :limit
""")
_LOCK = text("""
select indexed_to from ledger.search_cursors where tenant_id = :tenant and log_id = :log for update skip locked
""")
_INDEX = text(f"""
insert into ledger.search (tenant_id, log_id, seq, org_unit_id, recorded, type, actor, subject, correlation, stream)
select tenant_id, log_id, seq, org_unit_id, recorded, type, actor, subject, correlation, {_STREAM}
from ledger.entries
where tenant_id = :tenant and log_id = :log and seq >= :start and seq < :until
""")  # noqa: S608 - a constant
_MOVE = text("""
update ledger.search_cursors set indexed_to = :until where tenant_id = :tenant and log_id = :log
""")


class Found(NamedTuple):
    """One entry that was found, with its place in the search's order, and the name of its log."""

    place: Place
    line: Line
    origin: str


class Behind(NamedTuple):
    """A log that has entries which are not in the index yet."""

    tenant: UUID
    log: UUID
    size: int


async def find_entries(tx: Transaction, search: Search, *, after: Place | None, limit: int) -> tuple[list[Found], bool]:
    """Return the first ``limit`` entries behind ``after``, and whether every entry in reach was looked at.

    It was unless the index is more than ``TAIL_ENTRIES`` behind in a log: up to there the entries themselves are read.
    Index, tails and the verdict come from one statement, so from one moment.
    """
    bound: dict[str, object] = {"tenant": tx.scope.tenant, "limit": limit, "tail": TAIL_ENTRIES}
    conditions = []
    for column, value in sorted(search.equal.items()):
        if column not in COLUMNS:
            raise KeyError(column)
        conditions.append(f"rows.{column} = :{column}")
        bound[column] = value
    if search.since is not None:
        conditions.append("rows.recorded >= :since")
        bound["since"] = search.since
    if search.until is not None:
        conditions.append("rows.recorded < :until")
        bound["until"] = search.until
    forward = search.order is Order.OLDEST
    if after is not None:
        conditions.append(
            f"(rows.recorded, rows.log_id, rows.seq) {'>' if forward else '<'} "
            "(:after_recorded, cast(:after_log as uuid), :after_seq)"
        )
        bound |= {"after_recorded": after.recorded, "after_log": after.log, "after_seq": after.seq}
    rows = await tx.execute(text(_statement(" and ".join(["true", *conditions]), "asc" if forward else "desc")), bound)
    found, is_complete = [], True
    for row in rows:
        is_complete = not row.is_cut
        if row.line is not None:
            place = Place(row.recorded, UUID(int=row.log_id.int), row.seq)
            found.append(Found(place, Line(LogId(place.log), row.seq, row.line), row.origin))
    return found, is_complete


def _statement(conditions: str, direction: str) -> str:
    return f"""
with hits as (
    (
        select rows.recorded, rows.log_id, rows.seq from ledger.search as rows
        where rows.tenant_id = :tenant and {conditions}
        order by rows.recorded {direction}, rows.log_id {direction}, rows.seq {direction}
        limit :limit
    )
    union all
    (
        select rows.recorded, rows.log_id, rows.seq
        from ledger.search_cursors as cursors
        cross join lateral (
            select
                entries.recorded, entries.log_id, entries.seq, entries.org_unit_id, entries.type, entries.actor,
                entries.subject, entries.correlation, {_STREAM} as stream
            from ledger.entries
            where
                entries.tenant_id = cursors.tenant_id and entries.log_id = cursors.log_id
                and entries.seq >= cursors.indexed_to and entries.seq < cursors.indexed_to + :tail
        ) as rows
        where cursors.tenant_id = :tenant and {conditions}
        order by rows.recorded {direction}, rows.log_id {direction}, rows.seq {direction}
        limit :limit
    )
),
page as (
    select hits.recorded, hits.log_id, hits.seq from hits
    order by hits.recorded {direction}, hits.log_id {direction}, hits.seq {direction}
    limit :limit
),
verdict as (
    select exists (
        select from ledger.search_cursors as cursors
        inner join ledger.entries on entries.tenant_id = cursors.tenant_id and entries.log_id = cursors.log_id
        where cursors.tenant_id = :tenant and entries.seq >= cursors.indexed_to + :tail
    ) as is_cut
)
select verdict.is_cut, page.recorded, page.log_id, page.seq, entries.line, entries.origin
from verdict
left join (
    page inner join ledger.entries
        on entries.tenant_id = :tenant and entries.log_id = page.log_id and entries.seq = page.seq
) on true
order by page.recorded {direction}, page.log_id {direction}, page.seq {direction}
"""  # noqa: S608 - names of columns from a fixed set; values are parameters


async def find_behind(connection: AsyncConnection, limit: int) -> list[Behind]:
    """Return logs of any tenant whose newest entries are not in the index yet."""
    rows = await connection.execute(_BEHIND, {"limit": limit})
    return [Behind(row.tenant_id, row.id, row.size) for row in rows]


async def lock_cursor(connection: AsyncConnection, log: Behind) -> int | None:
    """Return how far the log is indexed, locked; ``None`` if another worker is at it, or the log was dropped."""
    found = (await connection.execute(_LOCK, {"tenant": log.tenant, "log": log.log})).scalar()
    return None if found is None else int(found)


async def index(connection: AsyncConnection, log: Behind, start: int, until: int) -> int:
    """Copy the entries ``[start, until)`` into the index and move its end; return how many there were."""
    place = {"tenant": log.tenant, "log": log.log, "until": until}
    copied = await connection.execute(_INDEX, place | {"start": start})
    await connection.execute(_MOVE, place)
    return copied.rowcount
