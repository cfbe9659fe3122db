"""Asking for an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.ids import new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.ledger import ExportCreated

from tallystick_ledger.exports.store import add_export
from tallystick_ledger.reading.store import get_log

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log


async def create_export(tx: Transaction, log_id: UUID) -> Log:
    """Let the log be downloaded at its present size and record that; return the log as it is.

    Raises:
        LogNotFound: there is none in reach.
    """
    log = await get_log(tx, log_id)
    await add_export(tx, log, log.size, tx.clock())
    event = ExportCreated(log=str(log.id), size=log.size, entries=log.size)
    await tx.append(f"export-{new_id()}", 0, [EventDraft(event)])
    return log
