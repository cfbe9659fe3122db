"""All pages, for the composition root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.scope import Scope

from tallystick_identity.pages.account import account_pages
from tallystick_identity.pages.people import people_pages
from tallystick_identity.pages.roles import role_pages
from tallystick_identity.pages.second_factor import second_factor_pages
from tallystick_identity.pages.sign_in import sign_in_pages
from tallystick_identity.pages.start import start_pages
from tallystick_identity.request_edge import SERVICE_NAME

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from tallystick_identity.sign_in.front_door import FrontDoor
    from tallystick_identity.sso.commands import SingleSignOn


def page_routes(*, door: FrontDoor, single_sign_on: SingleSignOn) -> list[ControllerRouterHandler]:
    """Return the routes of all pages."""

    async def has_provider(slug: str) -> bool:
        return await single_sign_on.is_offered(Scope.for_duty(await door.tenant(slug), SERVICE_NAME))

    return [
        *start_pages(),
        *sign_in_pages(has_provider=has_provider),
        *second_factor_pages(),
        *account_pages(),
        *people_pages(),
        *role_pages(),
    ]
