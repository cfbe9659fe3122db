"""Routes of one's own password. Signing in by it, and setting it by mail, go over the two public routes of sign-in."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, Response, get, put
from tallystick_chassis.http.commands import require_key
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import ConcurrentChange
from tallystick_chassis.scope import ALL_UNITS, Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import PasswordNotAccepted, PasswordsOff, SessionOver
from tallystick_identity.passwords.commands import Passwords
from tallystick_identity.passwords.domain import MAX_LENGTH
from tallystick_identity.request_edge import origin_of
from tallystick_identity.sessions.cookies import session_cookies

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

_PASSWORD = "/api/v1/auth/password"  # noqa: S105 - a path
_OWN: dict[str, Any] = {"capability": Capability.SESSION_OWN}

Typed = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LENGTH)]


class PasswordView(msgspec.Struct, frozen=True):
    """Whether passwords are used here, and since when one has one; null: one has none."""

    allowed: bool
    set_at: datetime | None


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password to set; ``current_password`` where there is one already."""

    new_password: Typed
    current_password: Typed | None = None


class PasswordSet(msgspec.Struct, frozen=True):
    """It is set, and every other session has ended; this one's new tokens are in cookies, never here."""

    person: str


def password_routes(*, passwords: Passwords, csrf_key: bytes) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @get(_PASSWORD, opt=_OWN)
    async def read_password(tenant_scope: Scope, principal: Principal) -> PasswordView:
        """Say whether one may have a password, and has one."""
        state = await passwords.state(tenant_scope, principal.name)
        return PasswordView(state.allowed, state.set_at)

    @put(
        _PASSWORD,
        opt=_OWN | {"step_up": True, REFUSES: (PasswordNotAccepted, PasswordsOff, ConcurrentChange)},
        status_code=200,
    )
    async def set_password(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, data: NewPassword
    ) -> Response[PasswordSet]:
        """Set one's own password. Every other session of the person's ends."""
        require_key(request)
        if principal.session is None:
            raise SessionOver
        credentials = await passwords.change(
            # Whether a person is staff is asked of all their grants, in every unit.
            replace(tenant_scope, org_units=ALL_UNITS),
            principal.session,
            new=data.new_password,
            current=data.current_password,
            origin=origin_of(request),
        )
        cookies = session_cookies(credentials, csrf_key=csrf_key)
        return Response(PasswordSet(principal.name), status_code=200, cookies=cookies)

    return [read_password, set_password]
