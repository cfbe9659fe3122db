"""Create org units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.ids import OrgUnitId
from tallystick_chassis.scope import AllUnits
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import OrgUnitCreated

from tallystick_identity.errors import NameTaken
from tallystick_identity.org_units import store
from tallystick_identity.org_units.store import OrgUnit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from tallystick_chassis.scope import Scope
    from tallystick_chassis.transaction import Transaction


def in_reach(scope: Scope, units: Iterable[UUID]) -> bool:
    """Say whether every one of ``units`` is in the scope.

    Row-level security is the boundary; this is for an answer in words where it would just refuse.
    """
    return isinstance(scope.org_units, AllUnits) or scope.org_units.issuperset(OrgUnitId(unit) for unit in units)


async def create_unit(tx: Transaction, unit: OrgUnit) -> None:
    """Store a unit and its event. The event belongs to the unit above: nobody has a grant in the new one yet.

    Raises:
        NameTaken: if the path exists.
    """
    if not await store.insert_unit(tx, unit, created_at=tx.clock()):
        raise NameTaken
    created = OrgUnitCreated(
        unit_id=str(unit.id),
        parent_id=None if unit.parent_id is None else str(unit.parent_id),
        name=unit.name,
        path=unit.path,
    )
    await tx.append(f"org_unit-{unit.id}", 0, [EventDraft(created, org_unit=unit.parent_id)])
