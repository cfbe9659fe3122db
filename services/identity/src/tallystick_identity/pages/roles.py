"""The administrators' page about roles: which there are, what each may do, a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.in_process import ApiRefusal, ask
from tallystick_chassis.http.openapi import ALSO
from tallystick_chassis.http.pages import HTML, PAGE
from tallystick_contracts.capabilities import Capability

from tallystick_identity.pages.capability_words import GROUPS
from tallystick_identity.pages.forms import FORM, Form, send
from tallystick_identity.pages.frame import go_to, require_of_the_form, show
from tallystick_identity.roles.api import RoleList

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

ROLES = "/admin/roles"
_API = "/api/v1/identity/roles"


class RoleForm(Form, frozen=True, kw_only=True):
    """A role to define, or all that one may do from now on; ``staff`` means a second factor."""

    do: Literal["define", "change"]
    name: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    role_id: UUID | None = None
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(max_length=len(Capability))] = ()
    staff: bool = False


async def _roles(
    request: Request[Any, Any, Any], refusal: ApiRefusal | None = None, typed: RoleForm | None = None
) -> Response[str]:
    """Show the roles; after a refusal with what was typed and chosen."""
    return show(
        request,
        "roles.html",
        refusal=refusal,
        roles=(await ask(request, "GET", _API)).read(RoleList).roles,
        groups=GROUPS,
        typed=typed,
    )


@get(ROLES, opt={"capability": Capability.ROLES_READ, PAGE: True}, media_type=HTML)
async def roles_page(request: Request[Any, Any, Any]) -> Response[str]:
    """List the tenant's roles and what each may do."""
    return await _roles(request)


@post(
    ROLES,
    opt=FORM | {"capability": Capability.ROLES_WRITE, PAGE: True, ALSO: {200: (HTML,)}},
    media_type=HTML,
    status_code=303,
)
async def send_role(request: Request[Any, Any, Any], data: RoleForm) -> Response[str]:
    """Define a role, or set what one may do."""
    body: dict[str, object] = {"capabilities": data.capabilities, "staff": data.staff}
    method, path = "PUT", f"{_API}/{data.role_id}"
    if data.do == "define":
        method, path, body = "POST", _API, body | {"name": data.name or ""}
    try:
        await send(request, data, method, path, body)
    except ApiRefusal as refusal:
        require_of_the_form(request, refusal)
        return await _roles(request, refusal, data)
    return go_to(ROLES)


def role_pages() -> list[ControllerRouterHandler]:
    """Return the routes."""
    return [roles_page, send_role]
