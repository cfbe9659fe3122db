"""Import of people: all rows or none, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from tallystick_chassis.http.problems import FieldError
from tallystick_chassis.ids import OrgUnitId, new_id
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import InvalidInput, UnknownReference
from tallystick_identity.org_units.commands import create_unit
from tallystick_identity.org_units.domain import PATH_RULE, is_path, missing_paths, parent_path
from tallystick_identity.org_units.store import OrgUnit, all_units
from tallystick_identity.passwords.store import import_hashes
from tallystick_identity.people.commands import Newcomer
from tallystick_identity.people.domain import InvalidEmailError, InvalidNameError, display_name, email_address
from tallystick_identity.roles.commands import assign
from tallystick_identity.roles.store import GrantRow, all_roles, effective_grants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.commands import CreatedPerson, People
    from tallystick_identity.roles.store import EffectiveGrant

MAX_ROWS = 500


@dataclass(frozen=True, slots=True)
class Row:
    """One row: ``org_unit`` is a path, empty for the root; ``subtree`` whether ``role`` covers the units below too."""

    org_unit: str
    email: str
    display_name: str
    role: str | None
    subtree: bool = False
    password_hash: str | None = None


def check_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows normalised.

    Raises:
        InvalidInput: with a pointer to every value that is not acceptable.
    """
    checked, errors = [], []
    for number, row in enumerate(rows):
        email, name = row.email, row.display_name
        try:
            email = email_address(row.email)
        except InvalidEmailError as error:
            errors.append(FieldError(str(error), pointer=f"/rows/{number}/email"))
        try:
            name = display_name(row.display_name)
        except InvalidNameError as error:
            errors.append(FieldError(str(error), pointer=f"/rows/{number}/display_name"))
        if row.org_unit and not is_path(row.org_unit):
            errors.append(FieldError(f"must be empty or {PATH_RULE}", pointer=f"/rows/{number}/org_unit"))
        checked.append(replace(row, email=email, display_name=name))
    if errors:
        raise InvalidInput(errors=errors)
    return checked


async def plan_units(tx: Transaction, rows: Sequence[Row]) -> dict[str, OrgUnit]:
    """Return the units to create, by path, parents first; their fresh ids are not stored yet."""
    existing = {unit.path: unit for unit in await all_units(tx)}
    planned: dict[str, OrgUnit] = {}
    for path in missing_paths({row.org_unit for row in rows if row.org_unit}, set(existing)):
        above = parent_path(path)
        parent = planned.get(above) or existing[above]
        planned[path] = OrgUnit(OrgUnitId(new_id()), parent.id, path.rpartition("/")[2], path)
    return planned


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """What became of a row."""

    created: CreatedPerson
    home_unit: OrgUnitId
    grant_id: UUID | None


async def import_people(
    tx: Transaction, people: People, rows: Sequence[Row], planned: dict[str, OrgUnit]
) -> list[ImportedRow]:
    """Create the planned units, the people, and their grants.

    The scope's units must include those planned: their ids are fresh, so nothing of anybody's is in them. Whether the
    caller may import into them (a grant with the subtree above) is decided here, from the grants as they stand with the
    new units in place.

    Raises:
        UnknownReference: for a unit or role that is not there for the caller.
        EmailTaken, KeyPoolEmpty: as ``People.create``.
    """
    existing = {unit.path: unit for unit in await all_units(tx) if unit.path not in planned}
    may_create = _units_with(await _held(tx), Capability.ORG_UNITS_WRITE)
    for unit in planned.values():
        if unit.parent_id not in may_create:
            raise UnknownReference(errors=_pointers(rows, partial(_lies_below, unit.path), "org_unit"))
        await create_unit(tx, unit)
        may_create = may_create | {unit.id}
    units = {path: unit.id for path, unit in (existing | planned).items()}
    held = await _held(tx)
    importable = _units_with(held, Capability.PEOPLE_IMPORT)
    grantable = _units_with(held, Capability.GRANTS_WRITE)
    roles = {role.name: role.id for role in await all_roles(tx)}
    errors = _pointers(rows, lambda row: units[row.org_unit] not in importable, "org_unit")
    errors += _pointers(
        rows,
        lambda row: row.role is not None and (row.role not in roles or not _covered(row, units) <= grantable),
        "role",
    )
    if errors:
        raise UnknownReference(errors=errors)
    created = await people.create(
        tx,
        [
            Newcomer(row.email, row.display_name, units[row.org_unit], pointer=f"/rows/{number}/email")
            for number, row in enumerate(rows)
        ],
    )
    hashes = {
        person.person: row.password_hash
        for row, person in zip(rows, created, strict=True)
        if row.password_hash is not None
    }
    await import_hashes(tx, hashes, now=tx.clock())
    imported = []
    for row, person in zip(rows, created, strict=True):
        home = units[row.org_unit]
        grant = None
        if row.role is not None:
            grant = GrantRow(new_id(), person.person, roles[row.role], home, subtree=row.subtree, expires_at=None)
            await assign(tx, grant)
        imported.append(ImportedRow(person, home, None if grant is None else grant.id))
    return imported


async def _held(tx: Transaction) -> list[EffectiveGrant]:
    return await effective_grants(tx, tx.scope.actor, now=tx.clock())


def _units_with(held: Iterable[EffectiveGrant], capability: Capability) -> frozenset[UUID]:
    return frozenset(unit for grant in held if capability in grant.capabilities for unit in grant.units)


def _covered(row: Row, units: Mapping[str, OrgUnitId]) -> set[OrgUnitId]:
    """Return the units that the row's grant will cover."""
    if not row.subtree:
        return {units[row.org_unit]}
    return {unit for path, unit in units.items() if not row.org_unit or _is_below(row.org_unit, path)}


def _is_below(above: str, path: str) -> bool:
    return path == above or path.startswith(above + "/")


def _lies_below(path: str, row: Row) -> bool:
    return _is_below(path, row.org_unit)


def _pointers(rows: Sequence[Row], wrong: Callable[[Row], bool], field: str) -> list[FieldError]:
    return [
        FieldError("is not there", pointer=f"/rows/{number}/{field}") for number, row in enumerate(rows) if wrong(row)
    ]
