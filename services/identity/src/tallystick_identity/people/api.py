"""Routes of people: create, import, read, end sessions, delete."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.params import Parameter
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.problems import FieldError, NotFound, ValidationFailed
from tallystick_chassis.ids import OrgUnitId
from tallystick_chassis.scope import AllUnits, Scope
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.generated.identity import SessionEnd

from tallystick_identity.errors import InvalidInput, UnknownReference
from tallystick_identity.org_units.commands import in_reach
from tallystick_identity.passwords.domain import IMPORTED_HASH
from tallystick_identity.people.commands import Newcomer, People
from tallystick_identity.people.domain import (
    MAX_EMAIL_LENGTH,
    MAX_NAME_LENGTH,
    InvalidEmailError,
    InvalidNameError,
    display_name,
    email_address,
)
from tallystick_identity.people.imports import MAX_ROWS, Row, check_rows, import_people, plan_units
from tallystick_identity.people.queries import DEFAULT_LIMIT, MAX_LIMIT, BadCursorError, cursor_of, read_cursor
from tallystick_identity.people.store import find_person, page_of_people
from tallystick_identity.roles.administrators import keeping_an_administrator

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.private_data import PrivateData
    from tallystick_identity.people.store import PersonRow

_PEOPLE = "/api/v1/identity/people"
_MAX_REASON_LENGTH = 1_000

Email = Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL_LENGTH)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]


class NewPersonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person to create; without ``org_unit_id`` in the tenant's root unit."""

    email: Email
    display_name: Name
    org_unit_id: UUID | None = None


class PersonCreated(msgspec.Struct, frozen=True):
    """The new person's id (in addresses) and pseudonym (in events)."""

    id: UUID
    person: str


class ImportRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One person: ``org_unit`` is a path such as ``north/blue``, empty for the root; missing units are created.

    ``subtree`` says whether ``role`` covers the units below too; unless said it does so in the root unit only.
    ``password_hash`` is taken over from another system, bcrypt of cost 12; it serves where the tenant has passwords.
    """

    org_unit: Annotated[str, msgspec.Meta(max_length=400)]
    email: Email
    display_name: Name
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    subtree: bool | None = None
    password_hash: Annotated[str, msgspec.Meta(pattern=IMPORTED_HASH)] | None = None


class ImportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 500 rows; all are imported or none."""

    rows: Annotated[tuple[ImportRow, ...], msgspec.Meta(min_length=1, max_length=MAX_ROWS)]


class ImportedPerson(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of row ``row`` (from 0)."""

    row: int
    id: UUID
    person: str
    org_unit_id: UUID
    grant_id: UUID | None = None


class ImportAnswer(msgspec.Struct, frozen=True):
    """One result for each row, in order."""

    people: tuple[ImportedPerson, ...]


class PersonView(msgspec.Struct, frozen=True):
    """A person, for those who may read people."""

    id: UUID
    person: str
    org_unit_id: UUID
    display_name: str
    email: str | None
    created_at: datetime
    disabled: bool = False


class PeoplePage(msgspec.Struct, frozen=True):
    """Some people, oldest first; ``next`` is the cursor of the page after, absent on the last."""

    people: tuple[PersonView, ...]
    next: str | None = None


class PersonDeleted(msgspec.Struct, frozen=True):
    """The person is deleted; erasure has been ordered from the event."""

    person: str
    status: str


class SessionsEnded(msgspec.Struct, frozen=True):
    """Every session of the person has ended."""

    person: str


class DeleteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why somebody is deleted; sealed in the record."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_REASON_LENGTH)]


def people_routes(  # noqa: C901 - a list of handlers; none of them branches much
    *, database: Database, people: People, private_data: PrivateData
) -> list[ControllerRouterHandler]:
    """Return the routes."""

    async def view(tenant: TenantId, row: PersonRow) -> PersonView:
        return PersonView(
            id=row.id,
            person=row.person,
            org_unit_id=row.home_unit,
            display_name=await private_data.name(tenant, row.person, row.name_ciphertext),
            email=await private_data.email(tenant, row.person, row.email_ciphertext),
            created_at=row.created_at,
            disabled=row.disabled_at is not None,
        )

    @post(_PEOPLE, opt={"capability": Capability.PEOPLE_WRITE}, status_code=201)
    async def create_person(
        request: Request[Any, Any, Any], tenant_scope: Scope, data: NewPersonRequest
    ) -> Response[PersonCreated]:
        """Create a person in an org unit."""
        home = OrgUnitId(data.org_unit_id or tenant_scope.root_unit)
        newcomer = _newcomer(data, home)

        async def run(tx: Transaction) -> PersonCreated:
            if not in_reach(tx.scope, [home]):
                raise UnknownReference(errors=[FieldError("is not there", pointer="/org_unit_id")])
            (created,) = await people.create(tx, [newcomer])
            return PersonCreated(created.id, created.person)

        return await perform(request, tenant_scope, run, status=201)

    @post("/api/v1/identity/imports", opt={"capability": Capability.PEOPLE_IMPORT}, status_code=201)
    async def import_rows(
        request: Request[Any, Any, Any], tenant_scope: Scope, data: ImportRequest
    ) -> Response[ImportAnswer]:
        """Create up to 500 people with their org units and roles, all or none."""
        rows = check_rows([_row(row) for row in data.rows])
        async with database.transaction(tenant_scope) as tx:
            planned = await plan_units(tx, rows)
        scope = _with_fresh_units(tenant_scope, frozenset(unit.id for unit in planned.values()))

        async def run(tx: Transaction) -> ImportAnswer:
            imported = await import_people(tx, people, rows, planned)
            return ImportAnswer(
                tuple(
                    ImportedPerson(number, one.created.id, one.created.person, one.home_unit, one.grant_id)
                    for number, one in enumerate(imported)
                )
            )

        return await perform(request, scope, run, status=201)

    @get(_PEOPLE, opt={"capability": Capability.PEOPLE_READ})
    async def list_people(
        tenant_scope: Scope,
        limit: Annotated[int, Parameter(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        after: Annotated[str | None, Parameter(max_length=200)] = None,
    ) -> PeoplePage:
        """List the people of the units in reach, page by page."""
        try:
            position = None if after is None else read_cursor(after)
        except BadCursorError as error:
            raise ValidationFailed(errors=[FieldError(str(error), parameter="after")]) from None
        async with database.transaction(tenant_scope) as tx:
            rows = await page_of_people(tx, after=position, limit=limit + 1)
        page = rows[:limit]
        views = [await view(tenant_scope.tenant, row) for row in page]
        return PeoplePage(tuple(views), cursor_of(page[-1]) if len(rows) > limit else None)

    @get(f"{_PEOPLE}/{{person_id:uuid}}", opt={"capability": Capability.PEOPLE_READ})
    async def read_person(tenant_scope: Scope, person_id: UUID) -> PersonView:
        """Read one person."""
        async with database.transaction(tenant_scope) as tx:
            row = await find_person(tx, person_id)
        if row is None:
            raise NotFound
        return await view(tenant_scope.tenant, row)

    @post(f"{_PEOPLE}/{{person_id:uuid}}/sessions/end", opt={"capability": Capability.PEOPLE_WRITE}, status_code=200)
    async def end_sessions(
        request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID
    ) -> Response[SessionsEnded]:
        """End every session of a person, on all devices."""

        async def run(tx: Transaction) -> SessionsEnded:
            row = await find_person(tx, person_id, lock=True)
            if row is None:
                raise NotFound
            await people.end_sessions(tx, row, reason=SessionEnd.ADMIN)
            return SessionsEnded(row.person)

        return await perform(request, tenant_scope, run)

    @delete(f"{_PEOPLE}/{{person_id:uuid}}", opt={"capability": Capability.PEOPLE_DELETE}, status_code=202)
    async def delete_person(
        request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID
    ) -> Response[PersonDeleted]:
        """Delete a person: sessions and grants end now, erasure follows. The body may say why: ``{"reason": "…"}``."""
        # `data` cannot be left out, this body can; what `request.json()` refuses in any body, it refuses in this one.
        reason = _reason(await request.json()) if await request.body() else None

        async def run(tx: Transaction) -> PersonDeleted:
            row = await find_person(tx, person_id, lock=True)
            if row is None:
                raise NotFound
            async with keeping_an_administrator(tx):
                await people.delete(tx, row, reason=reason)
            return PersonDeleted(row.person, "erasure_ordered")

        return await perform(request, tenant_scope, run, status=202)

    return [create_person, import_rows, list_people, read_person, end_sessions, delete_person]


def _row(row: ImportRow) -> Row:
    subtree = row.org_unit == "" if row.subtree is None else row.subtree
    return Row(row.org_unit, row.email, row.display_name, row.role, subtree=subtree, password_hash=row.password_hash)


def _newcomer(data: NewPersonRequest, home: OrgUnitId) -> Newcomer:
    errors = []
    email, name = data.email, data.display_name
    try:
        email = email_address(data.email)
    except InvalidEmailError as error:
        errors.append(FieldError(str(error), pointer="/email"))
    try:
        name = display_name(data.display_name)
    except InvalidNameError as error:
        errors.append(FieldError(str(error), pointer="/display_name"))
    if errors:
        raise InvalidInput(errors=errors)
    return Newcomer(email, name, home)


def _with_fresh_units(scope: Scope, fresh: frozenset[OrgUnitId]) -> Scope:
    if isinstance(scope.org_units, AllUnits):
        return scope
    return replace(scope, org_units=scope.org_units | fresh)


def _reason(body: object) -> str:
    try:
        return msgspec.convert(body, DeleteRequest).reason
    except msgspec.ValidationError:
        raise ValidationFailed(errors=[FieldError('must be {"reason": text} or absent', pointer="")]) from None
