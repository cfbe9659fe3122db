# ruff: noqa: S608 - only this module's own list of columns is put into its statements
"""The SQL of service keys. Of the secret only its SHA-256 is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.ids import OrgUnitId

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A key as stored."""

    id: UUID
    org_unit: OrgUnitId
    subtree: bool
    name: str
    prefix: str
    secret_hash: bytes
    capabilities: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


_COLUMNS = (
    "id, org_unit_id, subtree, name, prefix, secret_hash, capabilities, created_by, created_at, expires_at, "
    "last_used_at, revoked_at"
)
_INSERT = text(
    "insert into identity.service_keys (tenant_id, id, org_unit_id, subtree, name, prefix, secret_hash, capabilities, "
    "created_by, created_at, expires_at) values (:tenant, :id, :org_unit, :subtree, :name, :prefix, :secret_hash, "
    "cast(:capabilities as text[]), :created_by, :created_at, :expires_at)"
)
_ALL = text(
    f"select {_COLUMNS} from identity.service_keys where tenant_id = :tenant and revoked_at is null "
    "order by created_at, id"
)
_ONE = text(f"select {_COLUMNS} from identity.service_keys where tenant_id = :tenant and id = :id")
_REVOKE = text(
    "update identity.service_keys set revoked_at = :now where tenant_id = :tenant and id = :id and revoked_at is null "
    f"returning {_COLUMNS}"
)
_USED = text(
    "update identity.service_keys set last_used_at = :now where tenant_id = :tenant and id = :id "
    "and (last_used_at is null or last_used_at < cast(:now as timestamptz) - interval '1 minute')"
)


def _key(row: tuple[Any, ...]) -> ServiceKey:
    identifier, unit, subtree, name, prefix, secret_hash, capabilities, *rest = row
    return ServiceKey(
        identifier, OrgUnitId(unit), subtree, name, prefix, bytes(secret_hash), tuple(capabilities), *rest
    )


async def insert_key(tx: Transaction, key: ServiceKey) -> None:
    """Store a key; row-level security refuses a unit outside the scope."""
    await tx.execute(
        _INSERT,
        {
            "tenant": tx.scope.tenant,
            "id": key.id,
            "org_unit": key.org_unit,
            "subtree": key.subtree,
            "name": key.name,
            "prefix": key.prefix,
            "secret_hash": key.secret_hash,
            "capabilities": list(key.capabilities),
            "created_by": key.created_by,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        },
    )


async def keys_in_reach(tx: Transaction) -> list[ServiceKey]:
    """Return the keys of the scope's units that are not revoked, oldest first."""
    return [_key(tuple(row)) for row in await tx.execute(_ALL, {"tenant": tx.scope.tenant})]


async def find_key(tx: Transaction, identifier: UUID) -> ServiceKey | None:
    """Return one key, revoked or not."""
    row = (await tx.execute(_ONE, {"tenant": tx.scope.tenant, "id": identifier})).first()
    return None if row is None else _key(tuple(row))


async def revoke_key(tx: Transaction, identifier: UUID, *, now: datetime) -> ServiceKey | None:
    """Take a key back; ``None`` when none is in force under this id."""
    row = (await tx.execute(_REVOKE, {"tenant": tx.scope.tenant, "id": identifier, "now": now})).first()
    return None if row is None else _key(tuple(row))


async def note_use(tx: Transaction, identifier: UUID, *, now: datetime) -> None:
    """Write down that a key was used, once a minute at most."""
    await tx.execute(_USED, {"tenant": tx.scope.tenant, "id": identifier, "now": now})
