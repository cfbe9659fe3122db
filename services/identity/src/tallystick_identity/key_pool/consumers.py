"""Fill the key pool from the privacy worker's events."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tallystick_contracts.generated.privacy import KeyMinted

from tallystick_identity.key_pool.store import PoolKey, add_keys

if TYPE_CHECKING:
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.envelope import Event


async def on_key_minted(tx: Transaction, event: Event) -> None:
    """Put freshly minted public keys into the tenant's pool. The inbox sees to it that a claimed key never returns."""
    if not isinstance(event.data, KeyMinted):
        msg = f"{event.type} does not carry keys"
        raise TypeError(msg)
    keys = [PoolKey(key.key_id, base64.b64decode(key.public_key, validate=True)) for key in event.data.keys]
    await add_keys(tx, keys)
