"""The administrators' pages about people: who there is, and for each what they may do and what can be done."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import Parameter
from tallystick_chassis.http.capability import holds
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.in_process import ApiRefusal, ask
from tallystick_chassis.http.openapi import ALSO
from tallystick_chassis.http.pages import HTML, PAGE
from tallystick_contracts.capabilities import Capability

from tallystick_identity.org_units.api import OrgUnitList
from tallystick_identity.pages.capability_words import WORDS
from tallystick_identity.pages.forms import FORM, Form, SessionRef, send
from tallystick_identity.pages.frame import go_to, require_of_the_form, show
from tallystick_identity.people.api import PeoplePage, PersonCreated, PersonView
from tallystick_identity.people.domain import MAX_NAME_LENGTH
from tallystick_identity.people.find_api import PersonFound
from tallystick_identity.roles.api import GrantList, HeldCapabilities, RoleList
from tallystick_identity.sessions.account_api import SessionList
from tallystick_identity.sign_in.api import Address

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

PEOPLE = "/admin/people"
_PERSON = f"{PEOPLE}/{{person_id:uuid}}"
_API = "/api/v1/identity"
_READ: dict[str, Any] = {"capability": Capability.PEOPLE_READ, PAGE: True}
_WRITE: dict[str, Any] = {"capability": Capability.PEOPLE_WRITE, PAGE: True, ALSO: {200: (HTML,)}} | FORM
_GRANT: dict[str, Any] = _WRITE | {"capability": Capability.GRANTS_WRITE}
_PSEUDONYM = re.compile(r"p_[A-Za-z0-9_-]{22}")
_ACTIONS = {"disable": "disable", "enable": "enable", "end_sessions": "sessions/end"}
_WITH_REASON = {"unlock": "unlock", "reset_factors": "factors/reset"}


class NewPersonForm(Form, frozen=True, kw_only=True):
    """Somebody to add; they sign in by a mail."""

    email: Address
    display_name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
    org_unit_id: UUID | None = None


class FindForm(Form, frozen=True, kw_only=True):
    """Whom to find: a whole mail address, or a pseudonym."""

    who: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]


class PersonForm(Form, frozen=True, kw_only=True):
    """What to do about a person; a reason where the record wants one."""

    do: Literal["disable", "enable", "end_sessions", "end_session", "unlock", "reset_factors"]
    reason: Annotated[str, msgspec.Meta(max_length=1_000)] | None = None
    session_ref: SessionRef | None = None


class GrantForm(Form, frozen=True, kw_only=True):
    """A role to give in a unit, from one day to another, each beginning at midnight UTC; or a grant to take back.

    ``person_id`` is whose page the form is on.
    """

    do: Literal["give", "take"]
    person_id: UUID | None = None
    role_id: UUID | None = None
    org_unit_id: UUID | None = None
    subtree: bool = False
    starts_on: date | None = None
    expires_on: date | None = None
    grant_id: UUID | None = None


def _may(request: Request[Any, Any, Any], capability: Capability) -> bool:
    return holds(context_of(request.scope), capability)


async def _units(request: Request[Any, Any, Any]) -> dict[UUID, str]:
    if not _may(request, Capability.ORG_UNITS_READ):
        return {}
    listed = (await ask(request, "GET", f"{_API}/org-units")).read(OrgUnitList).org_units
    return {unit.id: f"{unit.name} ({unit.path})" if unit.path else unit.name for unit in listed}


async def _people(
    request: Request[Any, Any, Any],
    *,
    after: str | None = None,
    refusal: ApiRefusal | None = None,
    typed: Form | None = None,
) -> Response[str]:
    """Show a page of the list; after a refusal with what was typed into the form that it is about."""
    query = {} if after is None else {"after": after}
    page = (await ask(request, "GET", f"{_API}/people", query=query)).read(PeoplePage)
    return show(
        request,
        "people.html",
        refusal=refusal,
        page=page,
        units=await _units(request),
        after=after,
        sought=typed.who if isinstance(typed, FindForm) else "",
        newcomer=typed if isinstance(typed, NewPersonForm) else None,
    )


async def _person(request: Request[Any, Any, Any], person_id: UUID, refusal: ApiRefusal | None = None) -> Response[str]:
    path = f"{_API}/people/{person_id}"
    grants, held, roles = GrantList(()), HeldCapabilities(()), RoleList(())
    shown = (await ask(request, "GET", path)).read(PersonView)
    if _may(request, Capability.ROLES_READ):
        query = {"person_id": str(person_id)}
        grants = (await ask(request, "GET", f"{_API}/grants", query=query)).read(GrantList)
        held = (await ask(request, "GET", f"{path}/capabilities")).read(HeldCapabilities)
        roles = (await ask(request, "GET", f"{_API}/roles")).read(RoleList)
    return show(
        request,
        "person.html",
        refusal=refusal,
        person=shown,
        sessions=(await ask(request, "GET", f"{path}/sessions")).read(SessionList).sessions,
        grants=grants.grants,
        held=held.capabilities,
        words=WORDS,
        roles={role.id: role.name for role in roles.roles},
        units=await _units(request),
    )


async def _then_person(
    request: Request[Any, Any, Any], form: Form, person_id: UUID | None, command: tuple[str, str, object]
) -> Response[str]:
    method, path, body = command
    try:
        await send(request, form, method, f"{_API}/{path}", body)
    except ApiRefusal as refusal:
        require_of_the_form(request, refusal)
        if person_id is None:
            raise
        return await _person(request, person_id, refusal)
    return go_to(PEOPLE if person_id is None else f"{PEOPLE}/{person_id}")


@get(PEOPLE, opt=_READ, media_type=HTML)
async def people_page(
    request: Request[Any, Any, Any], after: Annotated[str | None, Parameter(max_length=200)] = None
) -> Response[str]:
    """List the people of the units in reach, page by page."""
    return await _people(request, after=after)


@post(PEOPLE, opt=_WRITE, media_type=HTML, status_code=303)
async def send_new_person(request: Request[Any, Any, Any], data: NewPersonForm) -> Response[str]:
    """Add a person."""
    body = {"email": data.email, "display_name": data.display_name}
    if data.org_unit_id is not None:
        body["org_unit_id"] = str(data.org_unit_id)
    try:
        made = (await send(request, data, "POST", f"{_API}/people", body)).read(PersonCreated)
    except ApiRefusal as refusal:
        require_of_the_form(request, refusal)
        return await _people(request, refusal=refusal, typed=data)
    return go_to(f"{PEOPLE}/{made.id}")


@post(f"{PEOPLE}/find", opt=_READ | {ALSO: {200: (HTML,)}} | FORM, media_type=HTML, status_code=303)
async def send_find(request: Request[Any, Any, Any], data: FindForm) -> Response[str]:
    """Find a person by the whole mail address or by pseudonym, and lead to their page."""
    who = data.who.strip()
    body = {"person" if _PSEUDONYM.fullmatch(who) else "email": who}
    try:
        found = (await send(request, data, "POST", f"{_API}/people/find", body)).read(PersonFound)
    except ApiRefusal as refusal:
        require_of_the_form(request, refusal)
        return await _people(request, refusal=refusal, typed=data)
    return go_to(f"{PEOPLE}/{found.id}")


@get(_PERSON, opt=_READ, media_type=HTML)
async def person_page(request: Request[Any, Any, Any], person_id: UUID) -> Response[str]:
    """Show a person: sessions, grants, and what they may do, where and why."""
    return await _person(request, person_id)


@post(_PERSON, opt=_WRITE, media_type=HTML, status_code=303)
async def send_person(request: Request[Any, Any, Any], person_id: UUID, data: PersonForm) -> Response[str]:
    """Disable or enable a person, end their sessions, give them their tries back, or take their factors off."""
    path = f"people/{person_id}"
    command: tuple[str, str, object] = ("DELETE", f"{path}/sessions/{data.session_ref}", None)
    if data.do in _WITH_REASON:
        command = ("POST", f"{path}/{_WITH_REASON[data.do]}", {"reason": data.reason or ""})
    elif data.do != "end_session":
        command = ("POST", f"{path}/{_ACTIONS[data.do]}", None)
    return await _then_person(request, data, person_id, command)


@post("/admin/grants", opt=_GRANT, media_type=HTML, status_code=303)
async def send_grant(request: Request[Any, Any, Any], data: GrantForm) -> Response[str]:
    """Give a person a role in a unit, for a time or for good; or take a grant back."""
    if data.do == "take":
        return await _then_person(request, data, data.person_id, ("DELETE", f"grants/{data.grant_id}", None))
    body = {
        "person_id": data.person_id,
        "role_id": data.role_id,
        "org_unit_id": data.org_unit_id,
        "subtree": data.subtree,
        "starts_at": _midnight(data.starts_on),
        "expires_at": _midnight(data.expires_on),
    }
    return await _then_person(request, data, data.person_id, ("POST", "grants", body))


def people_pages() -> list[ControllerRouterHandler]:
    """Return the routes."""
    return [people_page, send_new_person, send_find, person_page, send_person, send_grant]


def _midnight(day: date | None) -> str | None:
    return None if day is None else f"{day.isoformat()}T00:00:00Z"
