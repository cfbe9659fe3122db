"""The SQL of retention: what has expired, what is held, and the purge role's deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import text
from tallystick_chassis.ids import TenantId
from tallystick_contracts.generated.ledger import BrokenLog
from tallystick_tlog import to_base64

from tallystick_ledger.logs.domain import Period

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

_UNSET = text("""
select tenant_id, id, period from ledger.logs
where kind = 'audit' and closed_at is not null and kept_until is null
limit 500
""")
_KEEP = text("""
update ledger.logs set kept_until = :until where tenant_id = :tenant and id = :log and kept_until is null
""")
# The closing must stand in the compliance log itself: what is dropped has its root known there.
_EXPIRED = text("""
select logs.tenant_id, logs.id, logs.period, logs.origin, logs.size, checkpoints.root
from ledger.logs
inner join ledger.checkpoints
    on checkpoints.tenant_id = logs.tenant_id and checkpoints.log_id = logs.id and checkpoints.size = logs.size
where
    logs.kind = 'audit' and logs.announced_at is not null and logs.dropped_at is null and logs.kept_until <= :now
    and not exists (
        select from ledger.holds
        where
            holds.tenant_id = logs.tenant_id and holds.released_at is null
            and (holds.log_id is null or holds.log_id = logs.id)
    )
order by logs.tenant_id, logs.period
limit 100
""")
_CLOSING_RECORDED = text("""
select exists (
    select from ledger.search
    inner join ledger.entries
        on entries.tenant_id = search.tenant_id and entries.log_id = search.log_id and entries.seq = search.seq
    inner join ledger.logs on logs.tenant_id = search.tenant_id and logs.id = search.log_id
    where
        search.tenant_id = :tenant and search.stream = :stream
        and entries.type = 'ledger.audit_log.closed' and logs.kind = 'compliance'
)
""")
# A log that broke is closed by the entry that says so, which has the size and root that were kept of it.
_BREAK_RECORDED = text("""
select entries.line
from ledger.breaks
inner join ledger.search on search.tenant_id = breaks.tenant_id and search.stream = 'log-' || breaks.successor
inner join ledger.entries
    on entries.tenant_id = search.tenant_id and entries.log_id = search.log_id and entries.seq = search.seq
inner join ledger.logs on logs.tenant_id = search.tenant_id and logs.id = search.log_id
where
    breaks.tenant_id = :tenant and breaks.origin = :origin
    and entries.type = 'ledger.log.succeeded' and logs.kind = 'compliance'
""")
_DROP = text("""
update ledger.logs set dropped_at = :now where tenant_id = :tenant and id = :log and dropped_at is null
""")
_DROPPED = text("""
select tenant_id, id from ledger.logs where dropped_at is not null and gone_at is null limit 100
""")
_FIRST = text("select min(seq) from ledger.entries where tenant_id = :tenant and log_id = :log")
_DELETE_ENTRIES = text("""
delete from ledger.entries where tenant_id = :tenant and log_id = :log and seq < :until
""")
_DELETE_SEARCH = text("""
delete from ledger.search where tenant_id = :tenant and log_id = :log and seq < :until
""")
_DELETE_CURSOR = text("delete from ledger.search_cursors where tenant_id = :tenant and log_id = :log")
_DELETE_TREE = text("delete from ledger.tree_hashes where tenant_id = :tenant and log_id = :log")
_GONE = text("update ledger.logs set gone_at = :now where tenant_id = :tenant and id = :log and gone_at is null")

_PLACE = text("""
insert into ledger.holds (tenant_id, id, log_id, code, placed_at) values (:tenant, :hold, :log, :code, :now)
""")
_HOLDS = text("""
select id, log_id, code, placed_at, released_at from ledger.holds where tenant_id = :tenant order by placed_at, id
""")
_RELEASE = text("""
update ledger.holds set released_at = :now where tenant_id = :tenant and id = :hold and released_at is null
returning log_id, code
""")
_POWERS = text("""
select distinct grants.table_name || '.' || lower(grants.privilege_type) as power
from information_schema.column_privileges as grants
where grants.grantee = current_user and grants.table_schema = 'ledger'
union
select distinct grants.table_name || '.' || lower(grants.privilege_type)
from information_schema.table_privileges as grants
where grants.grantee = current_user and grants.table_schema = 'ledger'
union
select 'role.' || rolname from pg_roles
where rolname = current_user and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)
""")

POWERS: Final = frozenset(
    {
        "logs.select",
        "logs.update",
        *(
            f"{table}.{verb}"
            for table in ("entries", "tree_hashes", "search", "search_cursors")
            for verb in ("select", "delete")
        ),
    }
)
"""All that the purge role may do; which rows, its policies say."""


class Expired(NamedTuple):
    """An audit log that nothing keeps any longer; ``root`` is 32 bytes, over ``size`` entries."""

    tenant: TenantId
    log: UUID
    period: Period
    origin: str
    size: int
    root: bytes


class _Data(msgspec.Struct):
    broken: tuple[BrokenLog, ...]


class _Event(msgspec.Struct):
    data: _Data


class _Line(msgspec.Struct):
    event: _Event


class Dropped(NamedTuple):
    """A log whose rows are to be deleted."""

    tenant: UUID
    log: UUID


class Hold(NamedTuple):
    """A hold; ``log`` is ``None`` if it covers all of the tenant's."""

    id: UUID
    log: UUID | None
    code: str
    placed_at: datetime
    released_at: datetime | None


async def find_unset(connection: AsyncConnection) -> list[tuple[UUID, UUID, Period]]:
    """Return closed audit logs of which nobody has said yet how long they are kept: tenant, log, period."""
    return [(row.tenant_id, row.id, Period(row.period)) for row in await connection.execute(_UNSET)]


async def keep_until(connection: AsyncConnection, tenant: UUID, log: UUID, until: datetime) -> None:
    """Say once until when a log is kept."""
    await connection.execute(_KEEP, {"tenant": tenant, "log": log, "until": until})


async def find_expired(connection: AsyncConnection, now: datetime) -> list[Expired]:
    """Return audit logs that are closed, announced, expired and not held."""
    rows = await connection.execute(_EXPIRED, {"now": now})
    return [
        Expired(TenantId(row.tenant_id), row.id, Period(row.period), row.origin, row.size, row.root) for row in rows
    ]


async def closing_is_recorded(tx: Transaction, log: UUID) -> bool:
    """Say whether the log's final checkpoint stands in the compliance log."""
    given = {"tenant": tx.scope.tenant, "stream": f"audit_log-{log}"}
    return bool((await tx.execute(_CLOSING_RECORDED, given)).scalar())


async def break_is_recorded(tx: Transaction, expired: Expired) -> bool:
    """Say whether the compliance log has it that the log broke, and of how many entries with which root."""
    kept = (expired.origin, expired.size, to_base64(expired.root))
    given = {"tenant": tx.scope.tenant, "origin": expired.origin}
    lines = (await tx.execute(_BREAK_RECORDED, given)).scalars()
    broken = (one for line in lines for one in msgspec.json.decode(line, type=_Line).event.data.broken)
    return any((one.log, one.kept_size, one.kept_root) == kept for one in broken)


async def drop(tx: Transaction, log: UUID, now: datetime) -> bool:
    """Note that the log's content is gone for everybody; say whether it was not noted before."""
    return (await tx.execute(_DROP, {"tenant": tx.scope.tenant, "log": log, "now": now})).rowcount == 1


async def find_dropped(purge: AsyncConnection) -> list[Dropped]:
    """Return logs that were dropped and whose rows are not all deleted."""
    return [Dropped(row.tenant_id, row.id) for row in await purge.execute(_DROPPED)]


async def delete_chunk(purge: AsyncConnection, dropped: Dropped, entries: int) -> bool:
    """Delete up to that many entries, oldest first, with what was made of them; say whether there were any."""
    place = {"tenant": dropped.tenant, "log": dropped.log}
    # The cursor first: whoever fills the index waits here, and then finds none.
    await purge.execute(_DELETE_CURSOR, place)
    first = (await purge.execute(_FIRST, place)).scalar()
    if first is None:
        return False
    chunk = place | {"until": first + entries}
    await purge.execute(_DELETE_SEARCH, chunk)
    await purge.execute(_DELETE_ENTRIES, chunk)
    return True


async def finish(purge: AsyncConnection, dropped: Dropped, now: datetime) -> None:
    """Delete the tree's hashes and note that nothing is left."""
    place = {"tenant": dropped.tenant, "log": dropped.log}
    await purge.execute(_DELETE_TREE, place)
    await purge.execute(_GONE, place | {"now": now})


async def powers(purge: AsyncConnection) -> frozenset[str]:
    """Return what the connection's role may do in the ledger's schema, as ``table.verb``."""
    return frozenset((await purge.execute(_POWERS)).scalars())


async def place_hold(tx: Transaction, hold: UUID, log: UUID | None, code: str) -> None:
    """Hold one log, or all."""
    given = {"tenant": tx.scope.tenant, "hold": hold, "log": log, "code": code, "now": tx.clock()}
    await tx.execute(_PLACE, given)


async def list_holds(tx: Transaction) -> Sequence[Hold]:
    """Return the tenant's holds, released ones too."""
    rows = await tx.execute(_HOLDS, {"tenant": tx.scope.tenant})
    return [Hold(row.id, row.log_id, row.code, row.placed_at, row.released_at) for row in rows]


async def release_hold(tx: Transaction, hold: UUID) -> tuple[UUID | None, str] | None:
    """Release a hold; return its log and code, or ``None`` if there is none to release."""
    given = {"tenant": tx.scope.tenant, "hold": hold, "now": tx.clock()}
    row = (await tx.execute(_RELEASE, given)).first()
    return None if row is None else (row.log_id, row.code)
