# ruff: noqa: S608 - only this module's own lists of columns are put into its statements
"""The SQL of the org-unit tree. Units are readable throughout their tenant; what happens in them is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.ids import OrgUnitId

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction


@dataclass(frozen=True, slots=True)
class OrgUnit:
    """A unit; ``path`` is its slugs from the root, empty for the root itself."""

    id: OrgUnitId
    parent_id: OrgUnitId | None
    name: str
    path: str


_COLUMNS = "org_unit_id, parent_id, name, path"
_INSERT = text(
    "insert into identity.org_units (tenant_id, org_unit_id, parent_id, name, path, created_at) "
    "values (:tenant, :unit, :parent, :name, :path, :created_at) on conflict (tenant_id, path) do nothing "
    "returning org_unit_id"
)
_ALL = text(f"select {_COLUMNS} from identity.org_units where tenant_id = :tenant order by path")
_ONE = text(f"select {_COLUMNS} from identity.org_units where tenant_id = :tenant and org_unit_id = :unit")
_SUBTREE = text(
    "select below.org_unit_id from identity.org_units above join identity.org_units below "
    "on below.tenant_id = above.tenant_id "
    "and (above.path = '' or below.path = above.path or starts_with(below.path, above.path || '/')) "
    "where above.tenant_id = :tenant and above.org_unit_id = :unit"
)


def _unit(row: tuple[UUID, UUID | None, str, str]) -> OrgUnit:
    unit, parent, name, path = row
    return OrgUnit(OrgUnitId(unit), None if parent is None else OrgUnitId(parent), name, path)


async def insert_unit(tx: Transaction, unit: OrgUnit, *, created_at: datetime) -> bool:
    """Store a unit; ``False`` when its path is taken."""
    result = await tx.execute(
        _INSERT,
        {
            "tenant": tx.scope.tenant,
            "unit": unit.id,
            "parent": unit.parent_id,
            "name": unit.name,
            "path": unit.path,
            "created_at": created_at,
        },
    )
    return result.first() is not None


async def all_units(tx: Transaction) -> list[OrgUnit]:
    """Return the tenant's whole tree, parents before children."""
    return [_unit(tuple(row)) for row in await tx.execute(_ALL, {"tenant": tx.scope.tenant})]


async def find_unit(tx: Transaction, unit: UUID) -> OrgUnit | None:
    """Return one unit of the tenant."""
    row = (await tx.execute(_ONE, {"tenant": tx.scope.tenant, "unit": unit})).first()
    return None if row is None else _unit(tuple(row))


async def subtree(tx: Transaction, unit: UUID) -> frozenset[OrgUnitId]:
    """Return the ids of a unit and all units below it; empty when there is no such unit."""
    rows = await tx.execute(_SUBTREE, {"tenant": tx.scope.tenant, "unit": unit})
    return frozenset(OrgUnitId(found) for found in rows.scalars())
