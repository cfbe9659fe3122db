"""Create and change roles; give and take grants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.ids import new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.envelope import format_time
from tallystick_contracts.generated.identity import RoleAssignedV2, RoleChanged, RoleRevoked

from tallystick_identity.errors import NameTaken
from tallystick_identity.roles import store
from tallystick_identity.roles.store import GrantRow, Role

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from tallystick_chassis.transaction import Transaction


async def create_role(tx: Transaction, *, name: str, capabilities: Iterable[str], staff: bool = True) -> Role:
    """Create a role.

    Raises:
        NameTaken: if the tenant has a role of that name.
    """
    role = Role(new_id(), name, tuple(sorted(capabilities)), 1, staff)
    if not await store.insert_role(tx, role, created_at=tx.clock()):
        raise NameTaken
    await _record(tx, role)
    return role


async def change_role(
    tx: Transaction, identifier: UUID, *, capabilities: Iterable[str], staff: bool | None = None
) -> Role | None:
    """Set the capabilities of a role from the next request on; ``None`` when there is no such role."""
    role = await store.change_role(tx, identifier, tuple(sorted(capabilities)), staff=staff)
    if role is not None:
        await _record(tx, role)
    return role


async def assign(tx: Transaction, grant: GrantRow) -> None:
    """Give a person a role in an org unit."""
    await store.insert_grant(tx, grant, created_at=tx.clock())
    assigned = RoleAssignedV2(
        grant_id=str(grant.id),
        person=grant.person,
        role_id=str(grant.role_id),
        unit_id=str(grant.org_unit),
        subtree=grant.subtree,
        starts_at=None if grant.starts_at is None else format_time(grant.starts_at),
        expires_at=None if grant.expires_at is None else format_time(grant.expires_at),
    )
    await tx.append(f"grant-{grant.id}", 0, [EventDraft(assigned, subject=grant.person, org_unit=grant.org_unit)])


async def revoke(tx: Transaction, identifier: UUID) -> bool:
    """Take a grant back; ``False`` when none is in force under this id in the scope's units."""
    grant = await store.revoke_grant(tx, identifier, now=tx.clock())
    if grant is None:
        return False
    await record_revocation(tx, grant)
    return True


async def record_revocation(tx: Transaction, grant: GrantRow) -> None:
    """Append the event of a grant that was taken back."""
    revoked = RoleRevoked(grant_id=str(grant.id), person=grant.person)
    await tx.append(f"grant-{grant.id}", 1, [EventDraft(revoked, subject=grant.person, org_unit=grant.org_unit)])


async def _record(tx: Transaction, role: Role) -> None:
    changed = RoleChanged(role_id=str(role.id), name=role.name, capabilities=role.capabilities, staff=role.staff)
    await tx.append(f"role-{role.id}", role.version - 1, [EventDraft(changed)])
