"""Routes of org units: list the tree, add a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.problems import FieldError
from tallystick_chassis.ids import OrgUnitId, new_id
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import InvalidInput, UnknownReference
from tallystick_identity.org_units.commands import create_unit, in_reach
from tallystick_identity.org_units.domain import PATH_RULE, child_path, is_path
from tallystick_identity.org_units.store import OrgUnit, all_units, find_unit
from tallystick_identity.tenants.domain import SLUG_RULE, is_slug

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

_PATH = "/api/v1/identity/org-units"


class NewOrgUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A unit to add below ``parent_id`` (the root when absent); ``slug`` is its part of the path."""

    slug: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
    parent_id: UUID | None = None


class OrgUnitView(msgspec.Struct, frozen=True):
    """A unit; ``path`` is the slugs from the root, empty for the root itself."""

    id: UUID
    parent_id: UUID | None
    name: str
    path: str


class OrgUnitList(msgspec.Struct, frozen=True):
    """The tenant's tree, parents before children."""

    org_units: tuple[OrgUnitView, ...]


def org_unit_routes(*, database: Database) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @get(_PATH, opt={"capability": Capability.ORG_UNITS_READ})
    async def list_units(tenant_scope: Scope) -> OrgUnitList:
        """Show the tenant's tree."""
        async with database.transaction(tenant_scope) as tx:
            units = await all_units(tx)
        return OrgUnitList(tuple(_view(unit) for unit in units))

    @post(_PATH, opt={"capability": Capability.ORG_UNITS_WRITE}, status_code=201)
    async def add_unit(request: Request[Any, Any, Any], tenant_scope: Scope, data: NewOrgUnit) -> Response[OrgUnitView]:
        """Add a unit below one in reach."""
        if not is_slug(data.slug):
            raise InvalidInput(errors=[FieldError(f"must be {SLUG_RULE}", pointer="/slug")])

        async def run(tx: Transaction) -> OrgUnitView:
            parent = await find_unit(tx, data.parent_id or tx.scope.root_unit)
            if parent is None or not in_reach(tx.scope, [parent.id]):
                raise UnknownReference(errors=[FieldError("is not there", pointer="/parent_id")])
            path = child_path(parent.path, data.slug)
            if not is_path(path):
                raise InvalidInput(errors=[FieldError(f"the path must be {PATH_RULE}", pointer="/slug")])
            unit = OrgUnit(OrgUnitId(new_id()), parent.id, data.name, path)
            await create_unit(tx, unit)
            return _view(unit)

        return await perform(request, tenant_scope, run, status=201)

    return [list_units, add_unit]


def _view(unit: OrgUnit) -> OrgUnitView:
    return OrgUnitView(unit.id, unit.parent_id, unit.name, unit.path)
