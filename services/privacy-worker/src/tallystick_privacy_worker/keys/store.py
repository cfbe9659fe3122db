"""The pool of public keys: which are free, which belong to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from tallystick_privacy_worker.keys.domain import PublicKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tallystick_chassis.transaction import Transaction

_INSERT = text(
    "insert into privacy.pool_keys (tenant_id, key_id, public_key, minted_at) "
    "select :tenant, k, p, :now from unnest(cast(:ids as text[]), cast(:keys as bytea[])) as minted (k, p)"
)
_CLAIM = text(
    "update privacy.pool_keys set person = :person, claimed_at = :now "
    "where tenant_id = :tenant and key_id = :key_id and person is null"
)
_FREE = text("select count(*) from privacy.pool_keys where tenant_id = :tenant and person is null")
_KEY_OF = text("select key_id, public_key from privacy.pool_keys where tenant_id = :tenant and person = :person")
_HAS_DAY = text("select 1 from privacy.tenant_keys where tenant_id = :tenant and day = :day")

_ADD_DAY = text(
    "insert into privacy.tenant_keys (tenant_id, day, key_id, public_key) values (:tenant, :day, :key_id, :public_key)"
)


async def add_to_pool(tx: Transaction, keys: Sequence[PublicKey]) -> None:
    """Store freshly minted public keys as free."""
    await tx.execute(
        _INSERT,
        {
            "tenant": tx.scope.tenant,
            "now": tx.clock(),
            "ids": [key.key_id for key in keys],
            "keys": [key.public_key for key in keys],
        },
    )


async def claim(tx: Transaction, key_id: str, person: str) -> None:
    """Note that identity gave the key to a person."""
    await tx.execute(_CLAIM, {"tenant": tx.scope.tenant, "key_id": key_id, "person": person, "now": tx.clock()})


async def free_keys(tx: Transaction) -> int:
    """Return how many keys nobody has claimed."""
    return int((await tx.execute(_FREE, {"tenant": tx.scope.tenant})).scalar_one())


async def key_of(tx: Transaction, person: str) -> PublicKey | None:
    """Return the person's key, or ``None``."""
    row = (await tx.execute(_KEY_OF, {"tenant": tx.scope.tenant, "person": person})).first()
    return None if row is None else PublicKey(row.key_id, bytes(row.public_key))


async def has_key_of_day(tx: Transaction, day: date) -> bool:
    """Whether the tenant has a sealing key that begins on ``day``."""
    return (await tx.execute(_HAS_DAY, {"tenant": tx.scope.tenant, "day": day})).first() is not None


async def add_day_key(tx: Transaction, day: date, key: PublicKey) -> None:
    """Store the tenant's sealing key that begins on ``day``."""
    await tx.execute(
        _ADD_DAY,
        {"tenant": tx.scope.tenant, "day": day, "key_id": key.key_id, "public_key": key.public_key},
    )
