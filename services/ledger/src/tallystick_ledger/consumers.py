"""What the ledger does when others speak, beyond recording it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.common import ErasureOutcome, StoreErasure
from tallystick_contracts.generated.ledger import ErasureReceiptGiven
from tallystick_contracts.generated.privacy import ErasureOrdered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.service import Handler
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.envelope import Event


async def on_erasure_ordered(tx: Transaction, event: Event) -> None:
    """Say that nothing had to be destroyed: the logs hold pseudonyms and boxes that others' keys open.

    An order that comes again finds its receipt and does nothing.
    """
    order = event.data
    if not isinstance(order, ErasureOrdered):
        msg = f"{event.type} is no order to erase"
        raise TypeError(msg)
    stream = f"erasure_receipt-{order.job_id}"
    if await tx.load(stream):
        return
    logs = StoreErasure(name="logs", items=0, outcome=ErasureOutcome.NOTHING_HELD)
    receipt = ErasureReceiptGiven(job_id=order.job_id, person=order.person, stores=(logs,))
    await tx.append(stream, 0, [EventDraft(receipt)])


HANDLERS: Mapping[str, Handler] = MappingProxyType({"privacy.erasure.ordered": on_erasure_ordered})
