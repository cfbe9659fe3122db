"""The readers' SQL, in the reader's scope: row-level security decides what is there.

A log's row belongs to the root unit, and whoever reads its entries, checkpoints and hashes has found that row first.
So a log is read whole by those who hold the capability in the root unit, and by nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text
from tallystick_contracts.message import LogKind

from tallystick_ledger.errors import EntryNotFound, LogDropped, LogNotFound, NoCheckpointAtSize
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.logs.domain import Log, LogId, LogKey, Period

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from sqlalchemy import Row
    from tallystick_chassis.transaction import Transaction

_LOG_COLUMNS = (
    "tenant_id, id, kind, period, origin, size, head, last_recorded, opened_at, closed_at, kept_until, dropped_at, "
    "public_key, previous_key, both_until"
)
_LOGS = text(f"""
select {_LOG_COLUMNS} from ledger.logs where tenant_id = :tenant order by period nulls first, generation
""")  # noqa: S608 - a constant
_LOG = text(f"""
select {_LOG_COLUMNS} from ledger.logs where tenant_id = :tenant and id = :log
""")  # noqa: S608 - a constant
_CHECKPOINT = text("""
select size, root, note from ledger.checkpoints
where tenant_id = :tenant and log_id = :log and size = :size
""")
_LINES = text("""
select seq, line from ledger.entries
where tenant_id = :tenant and log_id = :log and seq >= :start and seq < :end
order by seq
""")
_PUBLIC = text("""
select logs.id as log_id, entries.seq, entries.line
from ledger.logs
inner join ledger.entries on entries.tenant_id = logs.tenant_id and entries.log_id = logs.id
where
    logs.tenant_id = :tenant and logs.kind = 'compliance'
    and entries.event_id = :event and entries.type = any(cast(:types as text[]))
""")
_KEY_CHANGES = text("""
select old_key from ledger.key_changes where tenant_id = :tenant and log_id = :log order by seq
""")


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint as stored; ``note`` is the signed note, ``root`` 32 bytes."""

    size: int
    root: bytes
    note: str

    @property
    def head(self) -> Head:
        """What the note signs."""
        return Head(self.size, self.root)


@dataclass(frozen=True, slots=True)
class Line:
    """An entry's line, verbatim, with its place."""

    log: LogId
    seq: int
    line: bytes


async def list_logs(tx: Transaction) -> list[Log]:
    """Return the tenant's logs: the compliance log, then audit logs by period."""
    return [_log(row) for row in await tx.execute(_LOGS, {"tenant": tx.scope.tenant})]


async def get_log(tx: Transaction, log: UUID, *, dropped_too: bool = False) -> Log:
    """Return one log; ``dropped_too`` where its entries and hashes are not needed.

    Raises:
        LogNotFound: there is none in reach.
        LogDropped: its content is gone.
    """
    row = (await tx.execute(_LOG, {"tenant": tx.scope.tenant, "log": log})).first()
    if row is None:
        raise LogNotFound
    if row.dropped_at is not None and not dropped_too:
        raise LogDropped
    return _log(row)


async def get_checkpoint(tx: Transaction, log: Log, size: int) -> SignedHead:
    """Return the checkpoint that was signed at ``size``.

    Raises:
        NoCheckpointAtSize: none was: batches end at other sizes.
    """
    row = (await tx.execute(_CHECKPOINT, {"tenant": log.tenant, "log": log.id, "size": size})).first()
    if row is None:
        raise NoCheckpointAtSize
    return SignedHead(row.size, row.root, row.note)


async def get_old_keys(tx: Transaction, log: Log) -> list[bytes]:
    """Return the public keys that rotations in the log have retired, the newest first."""
    rows = await tx.execute(_KEY_CHANGES, {"tenant": log.tenant, "log": log.id})
    return [row.old_key for row in rows][::-1]


async def get_lines(tx: Transaction, log: Log, start: int, end: int) -> list[Line]:
    """Return the entries ``[start, end)`` as far as there are any."""
    rows = await tx.execute(_LINES, {"tenant": log.tenant, "log": log.id, "start": start, "end": end})
    return [Line(log.id, row.seq, row.line) for row in rows]


async def get_line(tx: Transaction, log: Log, seq: int) -> Line:
    """Return one entry.

    Raises:
        EntryNotFound: the log is not that long.
    """
    found = await get_lines(tx, log, seq, seq + 1)
    if not found:
        raise EntryNotFound
    return found[0]


async def find_public(tx: Transaction, event_id: UUID, types: Collection[str]) -> Line:
    """Return the entry of an event if it is of one of the public ``types``.

    Raises:
        EntryNotFound: it is not, or there is none.
    """
    rows = await tx.execute(_PUBLIC, {"tenant": tx.scope.tenant, "event": event_id, "types": list(types)})
    row = rows.first()
    if row is None:
        raise EntryNotFound
    return Line(LogId(row.log_id), row.seq, row.line)


def _log(row: Row[tuple[object, ...]]) -> Log:
    return Log(
        tenant=row.tenant_id,
        id=LogId(row.id),
        kind=LogKind(row.kind),
        period=None if row.period is None else Period(row.period),
        origin=row.origin,
        size=row.size,
        head=row.head,
        last_recorded=row.last_recorded,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        kept_until=row.kept_until,
        dropped_at=row.dropped_at,
        key=LogKey.of(row.public_key, row.previous_key, row.both_until),
    )
