"""What a scope reaches. Row-level security is the boundary; this only turns its refusal into a sentence beforehand."""

from collections.abc import Iterable
from uuid import UUID

from tallystick_chassis.scope import AllUnits, Scope

from tallystick_assessment.refusals import UnitsNotCovered


def reaches(scope: Scope, unit: UUID) -> bool:
    """Say whether the scope holds an org unit."""
    return isinstance(scope.org_units, AllUnits) or unit in scope.org_units


def require(scope: Scope, units: Iterable[UUID]) -> None:
    """Raise UnitsNotCovered unless the scope holds every one of these org units."""
    if not all(reaches(scope, unit) for unit in units):
        raise UnitsNotCovered


def require_root(scope: Scope) -> None:
    """Raise UnitsNotCovered unless the scope holds the tenant's root unit, where all content belongs."""
    require(scope, [scope.root_unit])
