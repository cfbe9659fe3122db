"""The SQL of the pool of public keys. A claimed key leaves the pool in the transaction that creates its person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.transaction import Transaction


@dataclass(frozen=True, slots=True)
class PoolKey:
    """A public key whose private half only the privacy worker holds; ``public_key`` is 32 bytes of X25519."""

    key_id: str
    public_key: bytes


_ADD = text(
    "insert into identity.public_key_pool (tenant_id, key_id, public_key) "
    "select cast(:tenant as uuid), new.* from unnest(cast(:key_ids as text[]), cast(:public_keys as bytea[])) as new "
    "on conflict do nothing"
)
# Rows that another transaction is claiming are passed over; `limit` picks any: keys have no order.
# Materialised, because Postgres may run a plain subquery once for each row and delete more than were wanted (seen).
_CLAIM = text(
    "with picked as materialized ("
    "select key_id from identity.public_key_pool where tenant_id = :tenant limit :wanted for update skip locked) "
    "delete from identity.public_key_pool pool using picked "
    "where pool.tenant_id = :tenant and pool.key_id = picked.key_id returning pool.key_id, pool.public_key"
)
_COUNT = text("select count(*) from identity.public_key_pool where tenant_id = :tenant")


async def add_keys(tx: Transaction, keys: Sequence[PoolKey]) -> None:
    """Put keys into the tenant's pool; those already there stay as they are."""
    await tx.execute(
        _ADD,
        {
            "tenant": tx.scope.tenant,
            "key_ids": [key.key_id for key in keys],
            "public_keys": [key.public_key for key in keys],
        },
    )


async def claim_keys(tx: Transaction, wanted: int) -> list[PoolKey]:
    """Take ``wanted`` keys out of the pool, or fewer when it holds fewer."""
    rows = await tx.execute(_CLAIM, {"tenant": tx.scope.tenant, "wanted": wanted})
    return [PoolKey(key_id, bytes(public_key)) for key_id, public_key in map(tuple, rows)]


async def pool_size(tx: Transaction) -> int:
    """Return how many keys the tenant's pool holds."""
    return int((await tx.execute(_COUNT, {"tenant": tx.scope.tenant})).scalar_one())
