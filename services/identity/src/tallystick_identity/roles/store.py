# ruff: noqa: S608 - only this module's own lists of columns are put into its statements
"""The SQL of roles and grants. Roles are the tenant's; a grant belongs to the org unit it is given in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.ids import OrgUnitId, PersonRef

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Role:
    """A named set of capabilities; ``version`` counts its changes and is its stream's version.

    Whoever holds a role of ``staff`` needs a second factor.
    """

    id: UUID
    name: str
    capabilities: tuple[str, ...]
    version: int
    staff: bool = True


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A role given to a person in an org unit, with or without the units below."""

    id: UUID
    person: PersonRef
    role_id: UUID
    org_unit: OrgUnitId
    subtree: bool
    expires_at: datetime | None
    starts_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EffectiveGrant:
    """A grant in force, its subtree unfolded."""

    grant: GrantRow
    role_name: str
    capabilities: tuple[str, ...]
    units: tuple[UUID, ...]


_INSERT_ROLE = text(
    "insert into identity.roles (tenant_id, id, name, capabilities, version, staff, created_at) "
    "values (:tenant, :id, :name, cast(:capabilities as text[]), 1, :staff, :created_at) "
    "on conflict (tenant_id, name) do nothing returning id"
)
_CHANGE_ROLE = text(
    "update identity.roles set capabilities = cast(:capabilities as text[]), version = version + 1, "
    "staff = coalesce(cast(:staff as boolean), staff) "
    "where tenant_id = :tenant and id = :id returning id, name, capabilities, version, staff"
)
_ROLES = text(
    "select id, name, capabilities, version, staff from identity.roles where tenant_id = :tenant order by name"
)
_ROLE = text("select id, name, capabilities, version, staff from identity.roles where tenant_id = :tenant and id = :id")
_INSERT_GRANT = text(
    "insert into identity.grants (tenant_id, id, org_unit_id, person, role_id, subtree, starts_at, expires_at, "
    "created_at) values (:tenant, :id, :org_unit, :person, :role, :subtree, :starts_at, :expires_at, :created_at)"
)
_GRANT_COLUMNS = "id, person, role_id, org_unit_id, subtree, expires_at, starts_at"
_GRANTS_OF = text(
    f"select {_GRANT_COLUMNS} from identity.grants where tenant_id = :tenant and person = :person "
    "and revoked_at is null and (expires_at is null or expires_at > :now) order by created_at, id"
)
_REVOKE = text(
    "update identity.grants set revoked_at = :now where tenant_id = :tenant and id = :id and revoked_at is null "
    f"returning {_GRANT_COLUMNS}"
)
_REVOKE_ALL = text(
    "update identity.grants set revoked_at = :now where tenant_id = :tenant and person = :person "
    f"and revoked_at is null returning {_GRANT_COLUMNS}"
)
_EFFECTIVE = text(
    "select g.id, g.person, g.role_id, g.org_unit_id, g.subtree, g.expires_at, g.starts_at, r.name, r.capabilities, "
    "array("
    "  select below.org_unit_id from identity.org_units above join identity.org_units below "
    "  on below.tenant_id = above.tenant_id and (below.org_unit_id = above.org_unit_id or g.subtree and "
    "  (above.path = '' or starts_with(below.path, above.path || '/'))) "
    "  where above.tenant_id = g.tenant_id and above.org_unit_id = g.org_unit_id) as units "
    "from identity.grants g join identity.roles r on r.tenant_id = g.tenant_id and r.id = g.role_id "
    "where g.tenant_id = :tenant and g.person = :person and g.revoked_at is null "
    "and (g.starts_at is null or g.starts_at <= :now) and (g.expires_at is null or g.expires_at > :now) "
    "order by g.created_at, g.id"
)
_HELD = text(
    "select distinct below.org_unit_id from identity.grants g "
    "join identity.org_units above on above.tenant_id = g.tenant_id and above.org_unit_id = g.org_unit_id "
    "join identity.org_units below on below.tenant_id = above.tenant_id and (below.org_unit_id = above.org_unit_id "
    "or g.subtree and (above.path = '' or starts_with(below.path, above.path || '/'))) "
    "where g.tenant_id = :tenant and g.person = :person and g.revoked_at is null "
    "and (g.expires_at is null or g.expires_at > :now)"
)
_NEXT_CHANGE = text(
    "select min(at) from (select unnest(array[starts_at, expires_at]) as at from identity.grants "
    "where tenant_id = :tenant and person = :person and revoked_at is null) as bounds where at > :now"
)


def _role(row: tuple[Any, ...]) -> Role:
    identifier, name, capabilities, version, staff = row
    return Role(identifier, name, tuple(capabilities), version, staff)


def _grant(row: tuple[Any, ...]) -> GrantRow:
    identifier, person, role_id, unit, subtree, expires_at, starts_at = row
    return GrantRow(identifier, PersonRef(person), role_id, OrgUnitId(unit), subtree, expires_at, starts_at)


async def insert_role(tx: Transaction, role: Role, *, created_at: datetime) -> bool:
    """Store a role at version 1; ``False`` when its name is taken."""
    result = await tx.execute(
        _INSERT_ROLE,
        {
            "tenant": tx.scope.tenant,
            "id": role.id,
            "name": role.name,
            "capabilities": list(role.capabilities),
            "staff": role.staff,
            "created_at": created_at,
        },
    )
    return result.first() is not None


async def change_role(
    tx: Transaction, identifier: UUID, capabilities: tuple[str, ...], *, staff: bool | None
) -> Role | None:
    """Set a role's capabilities and, unless ``None``, whether it is staff's; ``None``: there is no such role."""
    row = (
        await tx.execute(
            _CHANGE_ROLE,
            {"tenant": tx.scope.tenant, "id": identifier, "capabilities": list(capabilities), "staff": staff},
        )
    ).first()
    return None if row is None else _role(tuple(row))


async def all_roles(tx: Transaction) -> list[Role]:
    """Return the tenant's roles by name."""
    return [_role(tuple(row)) for row in await tx.execute(_ROLES, {"tenant": tx.scope.tenant})]


async def find_role(tx: Transaction, identifier: UUID) -> Role | None:
    """Return one role of the tenant."""
    row = (await tx.execute(_ROLE, {"tenant": tx.scope.tenant, "id": identifier})).first()
    return None if row is None else _role(tuple(row))


async def insert_grant(tx: Transaction, grant: GrantRow, *, created_at: datetime) -> None:
    """Store a grant; row-level security refuses a unit outside the scope."""
    await tx.execute(
        _INSERT_GRANT,
        {
            "tenant": tx.scope.tenant,
            "id": grant.id,
            "org_unit": grant.org_unit,
            "person": grant.person,
            "role": grant.role_id,
            "subtree": grant.subtree,
            "starts_at": grant.starts_at,
            "expires_at": grant.expires_at,
            "created_at": created_at,
        },
    )


async def grants_of(tx: Transaction, person: str, *, now: datetime) -> list[GrantRow]:
    """Return the person's grants in the scope's units that are in force or will be."""
    rows = await tx.execute(_GRANTS_OF, {"tenant": tx.scope.tenant, "person": person, "now": now})
    return [_grant(tuple(row)) for row in rows]


async def revoke_grant(tx: Transaction, identifier: UUID, *, now: datetime) -> GrantRow | None:
    """Take one grant back; ``None`` when there is none in force under this id."""
    row = (await tx.execute(_REVOKE, {"tenant": tx.scope.tenant, "id": identifier, "now": now})).first()
    return None if row is None else _grant(tuple(row))


async def revoke_all_grants(tx: Transaction, person: str, *, now: datetime) -> list[GrantRow]:
    """Take all of a person's grants back; return those that were in force."""
    rows = await tx.execute(_REVOKE_ALL, {"tenant": tx.scope.tenant, "person": person, "now": now})
    return [_grant(tuple(row)) for row in rows]


async def effective_grants(tx: Transaction, person: str, *, now: datetime) -> list[EffectiveGrant]:
    """Return the person's grants in force with their capabilities and every unit they cover."""
    rows = await tx.execute(_EFFECTIVE, {"tenant": tx.scope.tenant, "person": person, "now": now})
    return [
        EffectiveGrant(_grant(tuple(grant)), name, tuple(capabilities), tuple(units))
        for *grant, name, capabilities, units in map(tuple, rows)
    ]


async def units_held(tx: Transaction, person: str, *, now: datetime) -> list[UUID]:
    """Return every unit in which the person holds a role, now or from a date on."""
    return list((await tx.execute(_HELD, {"tenant": tx.scope.tenant, "person": person, "now": now})).scalars())


async def next_change(tx: Transaction, person: str, *, now: datetime) -> datetime | None:
    """Return when the next of the person's grants begins or ends by itself."""
    at: datetime | None = (
        await tx.execute(_NEXT_CHANGE, {"tenant": tx.scope.tenant, "person": person, "now": now})
    ).scalar_one_or_none()
    return at
