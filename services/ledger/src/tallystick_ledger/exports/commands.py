"""Asking for an export, and noting that somebody fetches it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid5

from tallystick_chassis.ids import new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.ledger import ExportCreated, ExportDownloaded

from tallystick_ledger.exports.preparing import length_and_digest
from tallystick_ledger.exports.store import PART_ENTRIES, ExportFile, add_export, add_file, find_file
from tallystick_ledger.reading.store import get_lines, get_log

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log


async def create_export(tx: Transaction, log_id: UUID) -> tuple[Log, ExportFile]:
    """Let the log be downloaded at its present size and record that; return the log as it is, and its file.

    The file of a log of one part (5,000 entries) is ready at once, a longer one's when the worker has measured it.

    Raises:
        LogNotFound: there is none in reach.
    """
    log = await get_log(tx, log_id)
    file = await find_file(tx, log, log.size)
    if file is None:
        await add_export(tx, log, tx.clock())
        file = await _prepare(tx, log)
    event = ExportCreated(log=str(log.id), size=log.size, entries=log.size)
    await tx.append(f"export-{new_id()}", 0, [EventDraft(event)])
    return log, file


async def record_download(tx: Transaction, log: Log, size: int) -> None:
    """Record that the person fetches the export's entries, unless this hour's record is there.

    The stream's id is made of what is recorded once, so that two requests at one moment cannot both record it.

    Raises:
        ConcurrencyError: another request did so at this moment. Try the transaction again.
    """
    hour = tx.clock().strftime("%Y-%m-%dT%H")
    stream = f"export-{uuid5(log.id, f'{size}:{tx.scope.actor}:{hour}')}"
    if not await tx.load(stream):
        await tx.append(stream, 0, [EventDraft(ExportDownloaded(log=str(log.id), size=size))])


async def _prepare(tx: Transaction, log: Log) -> ExportFile:
    if log.size > PART_ENTRIES:
        await add_file(tx, log, None, None)
        return ExportFile(log.size, None, None, measured=0)

    async def read(start: int, until: int) -> list[bytes]:
        return [line.line for line in await get_lines(tx, log, start, until)]

    length, digest = await length_and_digest(read, log.size)
    await add_file(tx, log, length, digest)
    return ExportFile(log.size, length, digest, measured=log.size)
