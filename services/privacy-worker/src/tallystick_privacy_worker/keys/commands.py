"""Minting: key pairs for people to come, and the tenant's sealing key of each day.

The private half is in the key store before the public half is announced, so nothing is ever sealed to a key that nobody
holds. A crash between the two leaves an unused private key, which harms nobody.
"""

from __future__ import annotations

import secrets
from datetime import date, timedelta
from math import ceil
from typing import TYPE_CHECKING

from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.privacy import KeyMinted, PooledKey, TenantKeyMinted

from tallystick_privacy_worker.keys import store
from tallystick_privacy_worker.keys.domain import POOL_BATCH, POOL_LOW, PublicKey, new_private_key, public_half

if TYPE_CHECKING:
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.keystore import KeyStore
    from tallystick_chassis.transaction import Transaction

DAYS_AHEAD = 1
"""A day's key is made the day before, so that it is everywhere when the day begins."""


def _new_key_id() -> str:
    return "k_" + secrets.token_urlsafe(16)


async def _mint(keys: KeyStore, tenant: TenantId, count: int) -> list[PublicKey]:
    private = {_new_key_id(): new_private_key() for _ in range(count)}
    await keys.add(tenant, private)
    return [public_half(key_id, key) for key_id, key in private.items()]


async def fill_pool(tx: Transaction, keys: KeyStore) -> int:
    """Mint batches for the tenant while its pool is low; return how many keys were minted.

    Each batch is a stream of its own (named by its first key), so that two mintings never conflict.
    """
    missing = POOL_LOW - await store.free_keys(tx)
    batches = max(0, ceil(missing / POOL_BATCH))
    for _ in range(batches):
        minted = await _mint(keys, tx.scope.tenant, POOL_BATCH)
        await store.add_to_pool(tx, minted)
        pooled = tuple(PooledKey(key_id=key.key_id, public_key=key.base64) for key in minted)
        await tx.append(f"key-batch:{minted[0].key_id}", 0, [EventDraft(KeyMinted(keys=pooled))])
    return batches * POOL_BATCH


async def ensure_tenant_keys(tx: Transaction, keys: KeyStore, today: date) -> int:
    """Mint the tenant's sealing keys of ``today`` and of the days ahead where they are missing; return how many."""
    minted = 0
    for ahead in range(DAYS_AHEAD + 1):
        day = today + timedelta(days=ahead)
        if await store.has_key_of_day(tx, day):
            continue
        (key,) = await _mint(keys, tx.scope.tenant, 1)
        data = TenantKeyMinted(day=day.isoformat(), key_id=key.key_id, public_key=key.base64)
        await tx.append(f"tenant-key:{day.isoformat()}", 0, [EventDraft(data)])
        await store.add_day_key(tx, day, key)
        minted += 1
    return minted
