"""The SQL of passwords: slow hashes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from tallystick_identity.passwords.domain import StoredPassword

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tallystick_chassis.ids import PersonRef
    from tallystick_chassis.transaction import Transaction

_FIND = text("select hash, set_at from identity.passwords where tenant_id = :tenant and person = :person")
_FIND_LOCKED = text(_FIND.text + " for update")
_SAVE = text(
    "insert into identity.passwords (tenant_id, person, hash, set_at) values (:tenant, :person, :hash, :now) "
    "on conflict (tenant_id, person) do update set hash = excluded.hash, set_at = excluded.set_at"
)
_UPGRADE = text("update identity.passwords set hash = :hash where tenant_id = :tenant and person = :person")
_IMPORT = text(
    "insert into identity.passwords (tenant_id, person, hash, set_at) "
    "select cast(:tenant as uuid), new.*, cast(:now as timestamptz) "
    "from unnest(cast(:people as text[]), cast(:hashes as text[])) as new"
)
_ERASE = text("delete from identity.passwords where tenant_id = :tenant and person = :person")


async def find_password(tx: Transaction, person: str, *, lock: bool = False) -> StoredPassword | None:
    """Return what is stored of a person's password."""
    row = (await tx.execute(_FIND_LOCKED if lock else _FIND, {"tenant": tx.scope.tenant, "person": person})).first()
    return None if row is None else StoredPassword(*tuple(row))


async def save_password(tx: Transaction, person: str, *, hashed: str, now: datetime) -> None:
    """Store a new password's hash in the place of the old one's."""
    await tx.execute(_SAVE, {"tenant": tx.scope.tenant, "person": person, "hash": hashed, "now": now})


async def upgrade_hash(tx: Transaction, person: str, *, hashed: str) -> None:
    """Store another hash of the same password."""
    await tx.execute(_UPGRADE, {"tenant": tx.scope.tenant, "person": person, "hash": hashed})


async def import_hashes(tx: Transaction, hashes: Mapping[PersonRef, str], *, now: datetime) -> None:
    """Store hashes that another system made, by pseudonym, for people who have just been created."""
    if hashes:
        columns = {"people": list(hashes), "hashes": list(hashes.values())}
        await tx.execute(_IMPORT, {"tenant": tx.scope.tenant, "now": now, **columns})


async def erase_password(tx: Transaction, person: str) -> int:
    """Delete a person's password; return how many: 0 or 1."""
    return (await tx.execute(_ERASE, {"tenant": tx.scope.tenant, "person": person})).rowcount
