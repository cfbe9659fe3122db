"""The rule that a tenant keeps somebody who can give roles: nobody may be the last to go.

An administrator here is whoever holds, throughout the tenant and without an end, what giving roles takes. No role's
name is asked for: roles are the tenant's own.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import LastAdministrator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tallystick_chassis.transaction import Transaction

_NEEDED: Final = (Capability.ROLES_WRITE.value, Capability.GRANTS_WRITE.value)
# Not FOR UPDATE: whoever inserts a row that refers to the tenant need not wait.
_LOCK = text("select from identity.tenants where tenant_id = :tenant for no key update")
_ANYBODY = text(
    "select exists (select from identity.grants g "
    "join identity.roles r on r.tenant_id = g.tenant_id and r.id = g.role_id "
    "join identity.people p on p.tenant_id = g.tenant_id and p.person = g.person "
    "cross join unnest(r.capabilities) as held "
    "where g.tenant_id = :tenant and g.org_unit_id = g.tenant_id and g.subtree and g.revoked_at is null "
    "and g.expires_at is null and (g.starts_at is null or g.starts_at <= :now) "
    "and p.deleted_at is null and p.disabled_at is null and held = any(cast(:needed as text[])) "
    "group by g.person having count(distinct held) = cardinality(cast(:needed as text[])))"
)


def is_administrators(capabilities: Iterable[str]) -> bool:
    """Say whether a role with these capabilities can give its holder, or others, every other one."""
    return not {*_NEEDED, Capability.SSO_WRITE.value}.isdisjoint(capabilities)


@asynccontextmanager
async def keeping_an_administrator(tx: Transaction) -> AsyncIterator[None]:
    """Do what may take an administrator away; of two at once the second sees what the first did.

    Raises:
        LastAdministrator: if the tenant had an administrator and would have none. The transaction must not commit.
    """
    await tx.execute(_LOCK, {"tenant": tx.scope.tenant})
    had = await _has_administrator(tx)
    yield
    if had and not await _has_administrator(tx):
        raise LastAdministrator


async def _has_administrator(tx: Transaction) -> bool:
    async with tx.whole_tenant():
        result = await tx.execute(_ANYBODY, {"tenant": tx.scope.tenant, "now": tx.clock(), "needed": list(_NEEDED)})
        return bool(result.scalar_one())
