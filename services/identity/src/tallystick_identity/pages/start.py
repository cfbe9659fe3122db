"""Where somebody lands who types the host's name: at the account, or where one says to whose sign-in page to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.capability import holds
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.csrf import CSRF_COOKIE
from tallystick_chassis.http.forms import TAKES_FORM
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.pages import HTML, PAGE, prefers_html
from tallystick_chassis.http.problems import FieldError
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import InvalidInput
from tallystick_identity.pages.forms import OWN
from tallystick_identity.pages.frame import go_to, show
from tallystick_identity.pages.local import ACCOUNT, SIGN_IN, sign_in_of, slug_of, tenant_cookie
from tallystick_identity.pages.people import PEOPLE
from tallystick_identity.pages.roles import ROLES
from tallystick_identity.tenants.domain import SLUG_RULE, is_slug

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

_PAGE: dict[str, Any] = {"public": True, PAGE: True}


class OrganisationForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The short name of the organisation to sign in to."""

    organisation: Annotated[str, msgspec.Meta(max_length=64)]


@get("/", opt=_PAGE, media_type=HTML, status_code=303)
async def start(request: Request[Any, Any, Any]) -> Response[str]:
    """Lead a browser that has a session to the account, and any other to where it signs in."""
    return go_to(ACCOUNT if CSRF_COOKIE in request.cookies else sign_in_of(request))


@get(SIGN_IN, opt=_PAGE, media_type=HTML)
async def organisation_page(request: Request[Any, Any, Any]) -> Response[str]:
    """Ask for the organisation's short name."""
    return show(request, "organisation.html", organisation=slug_of(request))


@post(SIGN_IN, opt=_PAGE | {TAKES_FORM: True, REFUSES: (InvalidInput,)}, media_type=HTML, status_code=303)
async def send_organisation(request: Request[Any, Any, Any], data: OrganisationForm) -> Response[str]:
    """Lead to the sign-in page of a name, whether anybody has it or not, and keep the choice."""
    slug = data.organisation.strip().lower()
    if is_slug(slug):
        onward = go_to(f"{SIGN_IN}/{slug}")
        onward.cookies.append(tenant_cookie(slug))
        return onward
    refusal = InvalidInput(errors=[FieldError(f"is {SLUG_RULE}", pointer="/organisation")])
    if not prefers_html(request):
        raise refusal
    return show(request, "organisation.html", refusal=refusal, organisation=data.organisation)


@get("/admin", opt=OWN, media_type=HTML, status_code=303)
async def administration(request: Request[Any, Any, Any]) -> Response[str]:
    """Lead to the page of administration that the visitor may see."""
    context = context_of(request.scope)
    only_roles = holds(context, Capability.ROLES_READ) and not holds(context, Capability.PEOPLE_READ)
    return go_to(ROLES if only_roles else PEOPLE)


def start_pages() -> list[ControllerRouterHandler]:
    """Return the routes."""
    return [start, organisation_page, send_organisation, administration]
