"""The SQL of tenants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text
from tallystick_chassis.ids import TenantId

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Names:
    """What a tenant is called: in addresses, and by people."""

    slug: str
    name: str


_LOCK = text("select pg_advisory_xact_lock(hashtext('identity.tenants'))")
_INSERT = text(
    "insert into identity.tenants (tenant_id, slug, name, created_at) values (:tenant, :slug, :name, :created_at)"
)
_INSERT_DIRECTORY = text(
    "insert into identity.directory_tenants (tenant_id, slug, name) values (:tenant, :slug, :name)"
)
_BY_SLUG = text("select tenant_id from identity.tenants where slug = :slug")
_SLUGS = text("select slug from identity.tenants order by slug")
_HAS_DAY_KEY = text("select exists (select from identity.tenant_keys where tenant_id = :tenant)")
_PASSWORDS = text("select passwords from identity.tenants where tenant_id = :tenant")
_SET_PASSWORDS = text(
    "update identity.tenants set passwords = :passwords where tenant_id = :tenant and passwords <> :passwords "
    "returning tenant_id"
)
_NAMES = text("select slug, name from identity.tenants where tenant_id = :tenant")
_SLUG = text("select slug from identity.tenants where tenant_id = :tenant")


async def lock_tenants(tx: Transaction) -> None:
    """Let one transaction at a time create a tenant. Slugs are unique without an index that spans tenants."""
    await tx.execute(_LOCK)


async def insert_tenant(tx: Transaction, *, slug: str, name: str, created_at: datetime) -> None:
    """Store the scope's own tenant, and what sealing and mail look up about it."""
    tenant = tx.scope.tenant
    await tx.execute(_INSERT, {"tenant": tenant, "slug": slug, "name": name, "created_at": created_at})
    await tx.execute(_INSERT_DIRECTORY, {"tenant": tenant, "slug": slug, "name": name})


async def tenant_by_slug(duty: AsyncConnection, slug: str) -> TenantId | None:
    """Find a tenant before there is a scope, on the duty role, which can read ids and slugs and nothing else of it."""
    found = (await duty.execute(_BY_SLUG, {"slug": slug})).scalar_one_or_none()
    return None if found is None else TenantId(found)


async def all_slugs(duty: AsyncConnection) -> list[str]:
    """Return every tenant's slug, for the operator's commands."""
    return list((await duty.execute(_SLUGS)).scalars())


async def slug_of(tx: Transaction) -> str | None:
    """Return the slug of the scope's tenant, or ``None`` when no such tenant exists."""
    return (await tx.execute(_SLUG, {"tenant": tx.scope.tenant})).scalar_one_or_none()


async def names_of(tx: Transaction) -> Names | None:
    """Return what the scope's tenant is called, or ``None`` when no such tenant exists."""
    row = (await tx.execute(_NAMES, {"tenant": tx.scope.tenant})).one_or_none()
    return None if row is None else Names(row.slug, row.name)


async def has_day_key(tx: Transaction) -> bool:
    """Say whether the tenant has a sealing key of the day."""
    return bool((await tx.execute(_HAS_DAY_KEY, {"tenant": tx.scope.tenant})).scalar_one())


async def has_passwords(tx: Transaction) -> bool:
    """Say whether people of the scope's tenant may sign in by password; they may not where there is no such tenant."""
    return bool((await tx.execute(_PASSWORDS, {"tenant": tx.scope.tenant})).scalar_one_or_none())


async def set_passwords(tx: Transaction, *, passwords: bool) -> bool:
    """Let the tenant's people sign in by password, or not; ``False`` when that was so already."""
    result = await tx.execute(_SET_PASSWORDS, {"tenant": tx.scope.tenant, "passwords": passwords})
    return result.first() is not None
