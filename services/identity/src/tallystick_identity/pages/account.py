"""The account's page: one's own sessions, factors and password; and signing out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.in_process import ApiRefusal, PageResponse, ask
from tallystick_chassis.http.openapi import ALSO
from tallystick_chassis.http.pages import HTML

from tallystick_identity.factors.api import FactorList
from tallystick_identity.pages.forms import EARLY, FORM, OWN, Form, SessionRef, send
from tallystick_identity.pages.frame import go_to, require_of_the_form, show
from tallystick_identity.pages.local import ACCOUNT, sign_in_of
from tallystick_identity.passwords.api import PasswordView
from tallystick_identity.sessions.account_api import SessionList
from tallystick_identity.sessions.api import Me
from tallystick_identity.sign_in.api import Typed

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

_API_SESSIONS = "/api/v1/identity/me/sessions"
_SENT: dict[str, Any] = OWN | FORM | {ALSO: {200: (HTML,)}}
_STEP_UP: dict[str, Any] = {"step_up": True}
FORGET = {"Clear-Site-Data": '"cache", "storage"'}
"""Sent at sign-out. Not ``"cookies"``: the session's are expired by name, and the mark of a known browser stays."""


class SessionForm(Form, frozen=True, kw_only=True):
    """What to do with one of one's sessions, or with all the others."""

    do: Literal["name", "end", "end_others"]
    session_ref: SessionRef | None = None
    name: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class PasswordForm(Form, frozen=True, kw_only=True):
    """A new password, and the present one where there is one."""

    new_password: Typed
    current_password: Typed | None = None


class BareForm(Form, frozen=True, kw_only=True):
    """A button."""


async def _account(request: Request[Any, Any, Any], refusal: ApiRefusal | None = None) -> Response[str]:
    return show(
        request,
        "account.html",
        refusal=refusal,
        me=(await ask(request, "GET", "/api/v1/identity/me")).read(Me),
        sessions=(await ask(request, "GET", _API_SESSIONS)).read(SessionList).sessions,
        factors=(await ask(request, "GET", "/api/v1/auth/second-factor")).read(FactorList),
        password=(await ask(request, "GET", "/api/v1/auth/password")).read(PasswordView),
    )


async def _then_account(
    request: Request[Any, Any, Any], form: Form, method: str, path: str, body: object = None
) -> Response[str]:
    try:
        done = await send(request, form, method, path, body)
    except ApiRefusal as refusal:
        require_of_the_form(request, refusal)
        return await _account(request, refusal)
    return go_to(ACCOUNT, done)


@get(ACCOUNT, opt=OWN, media_type=HTML)
async def account_page(request: Request[Any, Any, Any]) -> Response[str]:
    """Show one's own sessions, factors and password."""
    return await _account(request)


@post(f"{ACCOUNT}/sessions", opt=_SENT, media_type=HTML, status_code=303)
async def send_session(request: Request[Any, Any, Any], data: SessionForm) -> Response[str]:
    """Name or end one of one's own sessions, or end all the others."""
    one = f"{_API_SESSIONS}/{data.session_ref}"
    if data.do == "end_others":
        return await _then_account(request, data, "POST", f"{_API_SESSIONS}/end-others")
    if data.do == "end":
        return await _then_account(request, data, "DELETE", one)
    return await _then_account(request, data, "PUT", one, {"name": data.name or ""})


@post(f"{ACCOUNT}/factors/{{factor_id:uuid}}/remove", opt=_SENT | _STEP_UP, media_type=HTML, status_code=303)
async def send_removal(request: Request[Any, Any, Any], factor_id: UUID, data: BareForm) -> Response[str]:
    """Remove one of one's own factors."""
    return await _then_account(request, data, "DELETE", f"/api/v1/auth/factors/{factor_id}")


@post(f"{ACCOUNT}/password", opt=_SENT | _STEP_UP, media_type=HTML, status_code=303)
async def send_password(request: Request[Any, Any, Any], data: PasswordForm) -> Response[str]:
    """Set one's own password."""
    body = {"new_password": data.new_password}
    if data.current_password is not None:
        body["current_password"] = data.current_password
    return await _then_account(request, data, "PUT", "/api/v1/auth/password", body)


@post(f"{ACCOUNT}/sign-out", opt=EARLY | FORM, media_type=HTML, status_code=200)
async def send_sign_out(request: Request[Any, Any, Any], data: BareForm) -> Response[str]:
    """End the session that this browser has, and have the browser forget what it kept of our pages."""
    ended = await send(request, data, "POST", "/api/v1/auth/logout")
    page = show(request, "signed_out.html", sign_in=sign_in_of(request))
    page.headers.update(FORGET)
    return PageResponse(page, [ended])


def account_pages() -> list[ControllerRouterHandler]:
    """Return the routes."""
    return [account_page, send_session, send_removal, send_password, send_sign_out]
