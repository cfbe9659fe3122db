"""Opening a log to anybody, and closing it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.ledger import PublicationStarted, PublicationStopped

from tallystick_ledger.reading.store import get_log
from tallystick_ledger.tiles.store import publish, withdraw

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log


async def set_publication(tx: Transaction, log_id: UUID, *, is_open: bool) -> Log:
    """Let anybody read the log's checkpoint and hash tiles, or nobody without a session; record a change.

    Raises:
        LogNotFound: there is none in reach.
    """
    log = await get_log(tx, log_id)
    changed = await publish(tx, log, tx.clock()) if is_open else await withdraw(tx, log)
    if changed:
        stream = f"publication-{log.id}"
        kind = PublicationStarted if is_open else PublicationStopped
        version = len(await tx.load(stream))
        await tx.append(stream, version, [EventDraft(kind(log=str(log.id), size=log.size))])
    return log
