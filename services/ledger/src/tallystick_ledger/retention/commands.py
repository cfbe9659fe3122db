"""Placing and releasing a hold: the row and the event that says so, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.ids import new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.ledger import HoldPlaced, HoldReleased

from tallystick_ledger.errors import EntryNotFound
from tallystick_ledger.reading.store import get_log
from tallystick_ledger.retention import store

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.transaction import Transaction


async def place_hold(tx: Transaction, log: UUID | None, code: str) -> UUID:
    """Keep a log, or all of the tenant's, whatever its retention says; return the hold's id.

    Raises:
        LogNotFound: there is no such log.
        LogDropped: it is too late.
    """
    if log is not None:
        await get_log(tx, log)
    hold = new_id()
    await store.place_hold(tx, hold, log, code)
    event = HoldPlaced(hold_id=str(hold), log=None if log is None else str(log), code=code)
    await tx.append(f"hold-{hold}", 0, [EventDraft(event)])
    return hold


async def release_hold(tx: Transaction, hold: UUID) -> None:
    """End a hold.

    Raises:
        EntryNotFound: there is none, or it was released before.
    """
    released = await store.release_hold(tx, hold)
    if released is None:
        raise EntryNotFound
    log, code = released
    event = HoldReleased(hold_id=str(hold), log=None if log is None else str(log), code=code)
    await tx.append(f"hold-{hold}", 1, [EventDraft(event)])
