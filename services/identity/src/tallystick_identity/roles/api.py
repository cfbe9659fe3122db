"""Routes of roles and grants."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.problems import CapabilityMissing, FieldError, NotFound
from tallystick_chassis.ids import OrgUnitId, new_id
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import GRANTABLE_CAPABILITIES, Capability

from tallystick_identity.errors import InvalidInput, UnknownReference
from tallystick_identity.org_units.commands import in_reach
from tallystick_identity.org_units.store import find_unit, subtree
from tallystick_identity.people.store import find_person
from tallystick_identity.roles.administrators import keeping_an_administrator
from tallystick_identity.roles.commands import assign, change_role, create_role, revoke
from tallystick_identity.roles.store import (
    EffectiveGrant,
    GrantRow,
    Role,
    all_roles,
    effective_grants,
    find_role,
    grants_of,
)

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

_ROLES = "/api/v1/identity/roles"
_GRANTS = "/api/v1/identity/grants"

Capabilities = Annotated[tuple[Capability, ...], msgspec.Meta(max_length=len(Capability))]


class NewRole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role to create. Whoever holds a role of ``staff`` needs a second factor; a role is one unless it says no."""

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9_]{1,62}\Z")]
    capabilities: Capabilities
    staff: bool = True


class RoleChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole set of a role's capabilities from now on; ``staff`` stays as it is unless given."""

    capabilities: Capabilities
    staff: bool | None = None


class RoleView(msgspec.Struct, frozen=True):
    """A role; ``version`` counts its changes."""

    id: UUID
    name: str
    capabilities: tuple[str, ...]
    version: int
    staff: bool


class RoleList(msgspec.Struct, frozen=True):
    """The tenant's roles by name."""

    roles: tuple[RoleView, ...]


class NewGrant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A role for a person in an org unit, with or without the units below.

    It holds from ``starts_at`` (else at once) until ``expires_at`` (else until it is taken back): an auditor's
    engagement, for example.
    """

    person_id: UUID
    role_id: UUID
    org_unit_id: UUID
    subtree: bool = False
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    starts_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class GrantView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A grant."""

    id: UUID
    person: str
    role_id: UUID
    org_unit_id: UUID
    subtree: bool
    expires_at: datetime | None = None
    starts_at: datetime | None = None


class GrantList(msgspec.Struct, frozen=True):
    """The grants of a person in the units in reach that are in force or will be."""

    grants: tuple[GrantView, ...]


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """A grant by which somebody holds a capability: ``role`` is its role's name."""

    grant_id: UUID
    role_id: UUID
    role: str
    org_unit_id: UUID
    subtree: bool
    expires_at: datetime | None = None
    starts_at: datetime | None = None


class HeldCapability(msgspec.Struct, frozen=True):
    """What somebody may do now, in which units, and why."""

    capability: str
    org_unit_ids: tuple[UUID, ...]
    because: tuple[Reason, ...]


class HeldCapabilities(msgspec.Struct, frozen=True):
    """All that a person may do by grants in the units in reach, by name."""

    capabilities: tuple[HeldCapability, ...]


class GrantRevoked(msgspec.Struct, frozen=True):
    """The grant is taken back."""

    id: UUID


def role_routes(  # noqa: C901 - a list of handlers; none of them branches much
    *, database: Database
) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @get(_ROLES, opt={"capability": Capability.ROLES_READ})
    async def list_roles(tenant_scope: Scope) -> RoleList:
        """List the tenant's roles."""
        async with database.transaction(tenant_scope) as tx:
            roles = await all_roles(tx)
        return RoleList(tuple(_role_view(role) for role in roles))

    @post(_ROLES, opt={"capability": Capability.ROLES_WRITE}, status_code=201)
    async def add_role(request: Request[Any, Any, Any], tenant_scope: Scope, data: NewRole) -> Response[RoleView]:
        """Create a role."""
        _require_tenant_wide(request, tenant_scope)
        _require_grantable(data.capabilities)

        async def run(tx: Transaction) -> RoleView:
            return _role_view(
                await create_role(tx, name=data.name, capabilities=_names(data.capabilities), staff=data.staff)
            )

        return await perform(request, tenant_scope, run, status=201)

    @put(f"{_ROLES}/{{role_id:uuid}}", opt={"capability": Capability.ROLES_WRITE})
    async def set_role(
        request: Request[Any, Any, Any], tenant_scope: Scope, role_id: UUID, data: RoleChange
    ) -> Response[RoleView]:
        """Set a role's capabilities; it holds from everybody's next request on."""
        _require_tenant_wide(request, tenant_scope)
        _require_grantable(data.capabilities)

        async def run(tx: Transaction) -> RoleView:
            async with keeping_an_administrator(tx):
                role = await change_role(tx, role_id, capabilities=_names(data.capabilities), staff=data.staff)
            if role is None:
                raise NotFound
            return _role_view(role)

        return await perform(request, tenant_scope, run)

    @get(_GRANTS, opt={"capability": Capability.ROLES_READ})
    async def list_grants(tenant_scope: Scope, person_id: UUID) -> GrantList:
        """List a person's grants in the units in reach."""
        async with database.transaction(tenant_scope) as tx:
            person = await find_person(tx, person_id)
            grants = [] if person is None else await grants_of(tx, person.person, now=tx.clock())
        return GrantList(tuple(_grant_view(grant) for grant in grants))

    @post(_GRANTS, opt={"capability": Capability.GRANTS_WRITE}, status_code=201)
    async def add_grant(request: Request[Any, Any, Any], tenant_scope: Scope, data: NewGrant) -> Response[GrantView]:
        """Give a person a role in an org unit in reach."""

        async def run(tx: Transaction) -> GrantView:
            grant = await _checked(tx, data)
            await assign(tx, grant)
            return _grant_view(grant)

        return await perform(request, tenant_scope, run, status=201)

    @delete(f"{_GRANTS}/{{grant_id:uuid}}", opt={"capability": Capability.GRANTS_WRITE}, status_code=200)
    async def remove_grant(
        request: Request[Any, Any, Any], tenant_scope: Scope, grant_id: UUID
    ) -> Response[GrantRevoked]:
        """Take a grant back."""

        async def run(tx: Transaction) -> GrantRevoked:
            async with keeping_an_administrator(tx):
                if not await revoke(tx, grant_id):
                    raise NotFound
            return GrantRevoked(grant_id)

        return await perform(request, tenant_scope, run)

    @get("/api/v1/identity/people/{person_id:uuid}/capabilities", opt={"capability": Capability.ROLES_READ})
    async def explain(tenant_scope: Scope, person_id: UUID) -> HeldCapabilities:
        """Say what a person may do now, where, and by which grants."""
        async with database.transaction(tenant_scope) as tx:
            person = await find_person(tx, person_id)
            if person is None:
                raise NotFound
            return _held(await effective_grants(tx, person.person, now=tx.clock()))

    return [list_roles, add_role, set_role, list_grants, add_grant, remove_grant, explain]


def _held(grants: list[EffectiveGrant]) -> HeldCapabilities:
    by_name: dict[str, list[EffectiveGrant]] = {}
    for one in grants:
        for capability in one.capabilities:
            by_name.setdefault(capability, []).append(one)
    return HeldCapabilities(
        tuple(
            HeldCapability(
                capability=name,
                org_unit_ids=tuple(sorted({unit for one in giving for unit in one.units})),
                because=tuple(_reason(one) for one in giving),
            )
            for name, giving in sorted(by_name.items())
        )
    )


def _reason(one: EffectiveGrant) -> Reason:
    grant = one.grant
    return Reason(
        grant.id, grant.role_id, one.role_name, grant.org_unit, grant.subtree, grant.expires_at, grant.starts_at
    )


async def _checked(tx: Transaction, data: NewGrant) -> GrantRow:
    errors = []
    person = await find_person(tx, data.person_id)
    if person is None:
        errors.append(FieldError("is not there", pointer="/person_id"))
    if await find_role(tx, data.role_id) is None:
        errors.append(FieldError("is not there", pointer="/role_id"))
    # With its subtree only for those who hold this capability throughout the subtree: nobody gives more than he has.
    wanted = await subtree(tx, data.org_unit_id) if data.subtree else {data.org_unit_id}
    if not wanted or await find_unit(tx, data.org_unit_id) is None or not in_reach(tx.scope, wanted):
        errors.append(FieldError("is not there", pointer="/org_unit_id"))
    if data.expires_at is not None and data.expires_at <= tx.clock():
        errors.append(FieldError("is in the past", pointer="/expires_at"))
    if data.expires_at is not None and data.starts_at is not None and data.expires_at <= data.starts_at:
        errors.append(FieldError("is before it starts", pointer="/expires_at"))
    if errors or person is None:
        raise UnknownReference(errors=errors)
    return GrantRow(
        new_id(),
        person.person,
        data.role_id,
        OrgUnitId(data.org_unit_id),
        data.subtree,
        data.expires_at,
        data.starts_at,
    )


def _require_tenant_wide(request: Request[Any, Any, Any], scope: Scope) -> None:
    # Roles are the whole tenant's: who holds `roles.write` in one unit only must not change them for all.
    if not in_reach(scope, [scope.root_unit]):
        context_of(request.scope).missing_capability = Capability.ROLES_WRITE
        raise CapabilityMissing


def _require_grantable(capabilities: tuple[Capability, ...]) -> None:
    errors = [
        FieldError("cannot stand in a role", pointer=f"/capabilities/{number}")
        for number, capability in enumerate(capabilities)
        if capability not in GRANTABLE_CAPABILITIES
    ]
    if errors:
        raise InvalidInput(errors=errors)


def _names(capabilities: tuple[Capability, ...]) -> set[str]:
    return {capability.value for capability in capabilities}


def _role_view(role: Role) -> RoleView:
    return RoleView(role.id, role.name, role.capabilities, role.version, role.staff)


def _grant_view(grant: GrantRow) -> GrantView:
    return GrantView(
        grant.id, grant.person, grant.role_id, grant.org_unit, grant.subtree, grant.expires_at, grant.starts_at
    )
