"""The SQL of containment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from tallystick_chassis.transaction import Transaction

_BUMP = text(
    "update identity.tenants set token_version = token_version + 1 where tenant_id = :tenant returning token_version"
)


async def bump_tenant(tx: Transaction) -> int:
    """Raise the token version of the scope's tenant, which ends every session in it; return the new version."""
    return int((await tx.execute(_BUMP, {"tenant": tx.scope.tenant})).scalar_one())
