"""The SQL of exports: those that were asked for, how long their files are, and where in a file an entry lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log

PART_ENTRIES: Final = 5_000
"""The beginning of every so manieth entry is stored: a range costs one look-up, and this many lengths at most."""

_ADD = text("""
insert into ledger.exports (tenant_id, org_unit_id, log_id, size, created_at)
values (:tenant, :tenant, :log, :size, :now)
on conflict do nothing
""")
_ADD_FILE = text("""
insert into ledger.export_files (tenant_id, org_unit_id, log_id, size, bytes, sha256)
values (:tenant, :tenant, :log, :size, :bytes, :sha256)
on conflict do nothing
""")
_NEWEST = text("""
select max(size) from ledger.export_files where tenant_id = :tenant and log_id = :log
""")
# Of a file that is not measured to its end, the last part below its end says how far that has come.
_FILE = text("""
select
    files.bytes, files.sha256,
    case when files.bytes is null then (
        select max(parts.first_seq) from ledger.export_parts as parts
        where parts.tenant_id = files.tenant_id and parts.log_id = files.log_id and parts.first_seq < files.size
    ) else files.size end as measured
from ledger.export_files as files
where files.tenant_id = :tenant and files.log_id = :log and files.size = :size
""")
_ENTRY_AT = text("""
with part as (
    select parts.first_seq, parts.start_byte from ledger.export_parts as parts
    where parts.tenant_id = :tenant and parts.log_id = :log and parts.start_byte <= :byte
    order by parts.start_byte desc
    limit 1
),
beginning as (
    select coalesce(max(first_seq), 0) as first_seq, coalesce(max(start_byte), 0) as start_byte from part
)
select places.seq, places.start_byte
from (
    select
        entries.seq,
        beginning.start_byte
        + sum(octet_length(entries.line) + 1) over (order by entries.seq) - octet_length(entries.line) - 1
            as start_byte
    from beginning
    inner join ledger.entries
        on entries.tenant_id = :tenant and entries.log_id = :log
        and entries.seq >= beginning.first_seq and entries.seq < beginning.first_seq + :part
) as places
where places.start_byte <= :byte
order by places.seq desc
limit 1
""")

_UNMEASURED = text("""
select files.tenant_id, files.log_id, files.size, files.bytes
from ledger.export_files as files
inner join ledger.logs on logs.tenant_id = files.tenant_id and logs.id = files.log_id
where files.sha256 is null and files.bytes is null and logs.dropped_at is null
order by files.tenant_id, files.log_id, files.size
limit :limit
""")
_UNHASHED = text("""
select files.tenant_id, files.log_id, files.size, files.bytes
from ledger.export_files as files
inner join ledger.logs on logs.tenant_id = files.tenant_id and logs.id = files.log_id
where files.sha256 is null and files.bytes is not null and logs.dropped_at is null
order by files.tenant_id, files.log_id, files.size
limit :limit
""")
# Not a lock on the row: that takes a transaction id, and a digest of minutes would then hold back every vacuum.
_LOCK = text("""
select pg_try_advisory_xact_lock(hashtextextended(:name, 0))
""")
_STATE = text("""
select bytes, sha256 from ledger.export_files where tenant_id = :tenant and log_id = :log and size = :size
""")
_LAST_PART = text("""
select first_seq, start_byte from ledger.export_parts
where tenant_id = :tenant and log_id = :log and first_seq < :size
order by first_seq desc
limit 1
""")
_MEASURE = text("""
select count(*) as entries, coalesce(sum(octet_length(line) + 1), 0) as bytes from ledger.entries
where tenant_id = :tenant and log_id = :log and seq >= :start and seq < :until
""")
# Exports of one log at two sizes come to the same parts, with the same numbers.
_ADD_PART = text("""
insert into ledger.export_parts (tenant_id, log_id, first_seq, start_byte) values (:tenant, :log, :seq, :byte)
on conflict do nothing
""")
_SET_BYTES = text("""
update ledger.export_files set bytes = :bytes
where tenant_id = :tenant and log_id = :log and size = :size and bytes is null
""")
_SET_SHA256 = text("""
update ledger.export_files set sha256 = :sha256
where tenant_id = :tenant and log_id = :log and size = :size and sha256 is null
""")
_LINES = text("""
select line from ledger.entries
where tenant_id = :tenant and log_id = :log and seq >= :start and seq < :until
order by seq
""")


class ExportFile(NamedTuple):
    """An export's entries as a file: ``length`` (in bytes) is ``None`` until all ``size`` entries are measured.

    ``measured`` entries are so far; ``sha256`` (32 bytes) may come later than the length.
    """

    size: int
    length: int | None
    sha256: bytes | None
    measured: int


class EntryPlace(NamedTuple):
    """Where an entry's line begins in the log's file."""

    seq: int
    start_byte: int


class Unfinished(NamedTuple):
    """An export whose file's length or digest is not known yet."""

    tenant: UUID
    log: UUID
    size: int
    length: int | None


async def add_export(tx: Transaction, log: Log, now: datetime) -> None:
    """Note that the log may be downloaded at its present size."""
    await tx.execute(_ADD, {"tenant": log.tenant, "log": log.id, "size": log.size, "now": now})


async def add_file(tx: Transaction, log: Log, length: int | None, sha256: bytes | None) -> None:
    """Note the file's length and digest; without them the worker is asked for both."""
    given = {"tenant": log.tenant, "log": log.id, "size": log.size, "bytes": length, "sha256": sha256}
    await tx.execute(_ADD_FILE, given)


async def newest_export(tx: Transaction, log: Log) -> int | None:
    """Return the size of the log's newest export."""
    size = (await tx.execute(_NEWEST, {"tenant": log.tenant, "log": log.id})).scalar()
    return None if size is None else int(size)


async def find_file(tx: Transaction, log: Log, size: int) -> ExportFile | None:
    """Return the export's file; `None` if nobody has asked for the log at this size."""
    row = (await tx.execute(_FILE, {"tenant": log.tenant, "log": log.id, "size": size})).first()
    return None if row is None else ExportFile(size, row.bytes, row.sha256, row.measured or 0)


async def entry_at(tx: Transaction, log: Log, byte: int) -> EntryPlace | None:
    """Return the entry whose line the byte of the log's file lies in; `None` if the log's content is gone."""
    given = {"tenant": log.tenant, "log": log.id, "byte": byte, "part": PART_ENTRIES}
    row = (await tx.execute(_ENTRY_AT, given)).first()
    return None if row is None else EntryPlace(row.seq, int(row.start_byte))


async def find_unmeasured(connection: AsyncConnection, limit: int) -> list[Unfinished]:
    """Return exports of any tenant whose files' length is not known."""
    return [Unfinished(*row) for row in await connection.execute(_UNMEASURED, {"limit": limit})]


async def find_unhashed(connection: AsyncConnection, limit: int) -> list[Unfinished]:
    """Return exports of any tenant whose files' length is known, and their digest is not."""
    return [Unfinished(*row) for row in await connection.execute(_UNHASHED, {"limit": limit})]


async def lock(connection: AsyncConnection, one: Unfinished) -> bool:
    """Take the export for this transaction; false if another worker has it, or has done the work since."""
    name = f"ledger.export_files:{one.tenant}:{one.log}:{one.size}"
    if not (await connection.execute(_LOCK, {"name": name})).scalar():
        return False
    row = (await connection.execute(_STATE, _named(one))).first()
    return row is not None and row.sha256 is None and row.bytes == one.length


async def last_part(connection: AsyncConnection, one: Unfinished) -> EntryPlace:
    """Return how far the file is measured: the first entry, if nowhere yet."""
    row = (await connection.execute(_LAST_PART, _named(one))).first()
    return EntryPlace(0, 0) if row is None else EntryPlace(row.first_seq, row.start_byte)


async def measure(connection: AsyncConnection, one: Unfinished, start: int, until: int) -> tuple[int, int]:
    """Return how many of the entries ``[start, until)`` there are, and their length with the line feeds."""
    given = {"tenant": one.tenant, "log": one.log, "start": start, "until": until}
    row = (await connection.execute(_MEASURE, given)).one()
    return row.entries, int(row.bytes)


async def add_part(connection: AsyncConnection, one: Unfinished, place: EntryPlace) -> None:
    """Note where an entry begins."""
    given = {"tenant": one.tenant, "log": one.log, "seq": place.seq, "byte": place.start_byte}
    await connection.execute(_ADD_PART, given)


async def set_bytes(connection: AsyncConnection, one: Unfinished, length: int) -> None:
    """Note how long the file is; from then on it can be downloaded."""
    await connection.execute(_SET_BYTES, _named(one) | {"bytes": length})


async def set_sha256(connection: AsyncConnection, one: Unfinished, digest: bytes) -> None:
    """Note the file's digest."""
    await connection.execute(_SET_SHA256, _named(one) | {"sha256": digest})


async def read_lines(connection: AsyncConnection, one: Unfinished, start: int, until: int) -> list[bytes]:
    """Return the lines of the entries ``[start, until)`` as far as there are any."""
    given = {"tenant": one.tenant, "log": one.log, "start": start, "until": until}
    return list((await connection.execute(_LINES, given)).scalars())


def _named(one: Unfinished) -> dict[str, object]:
    return {"tenant": one.tenant, "log": one.log, "size": one.size}
