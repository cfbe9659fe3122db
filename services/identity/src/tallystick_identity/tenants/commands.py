"""Set how a tenant's people may sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.ids import new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import SignInPolicyChanged

from tallystick_identity.tenants.store import set_passwords

if TYPE_CHECKING:
    from tallystick_chassis.transaction import Transaction


async def set_sign_in_policy(tx: Transaction, *, passwords: bool) -> None:
    """Let people sign in by password, or not; nothing happens when that is so already. Sessions go on."""
    if await set_passwords(tx, passwords=passwords):
        event_id = new_id()
        # A stream of its own for each change: the tenant's row has put them in order.
        draft = EventDraft(SignInPolicyChanged(passwords=passwords), id=event_id)
        await tx.append(f"sign_in_policy-{event_id}", 0, [draft])
