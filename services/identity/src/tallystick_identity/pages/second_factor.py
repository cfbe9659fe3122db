"""The pages of second factors: show one, enrol an authenticator app or a passkey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.in_process import ApiRefusal, ask
from tallystick_chassis.http.openapi import ALSO
from tallystick_chassis.http.pages import HTML

from tallystick_identity.factors.api import FactorList, FactorStarted, PendingView
from tallystick_identity.pages.forms import EARLY, FORM, Form, Label, send
from tallystick_identity.pages.frame import go_to, require_of_the_form, show
from tallystick_identity.pages.local import AFTER_SIGN_IN, NEXT_COOKIE, local_page, next_cookie, tenant_cookie
from tallystick_identity.pages.qr_code import QrCode
from tallystick_identity.sessions.api import Me

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

_FACTORS = "/account/factors"
_APP = f"{_FACTORS}/{{factor_id:uuid}}/app"
_PASSKEY = f"{_FACTORS}/{{factor_id:uuid}}/passkey"
_API_SECOND_FACTOR = "/api/v1/auth/second-factor"
_API_FACTORS = "/api/v1/auth/factors"
_ENROLLING: dict[str, Any] = EARLY | {"step_up": True}
_SENT: dict[str, Any] = EARLY | FORM | {ALSO: {200: (HTML,)}}


class CodeForm(Form, frozen=True, kw_only=True):
    """A code to make the session whole by: of the app, or for recovery."""

    method: Literal["totp", "recovery"]
    code: Annotated[str, msgspec.Meta(max_length=60)]


class NewFactorForm(Form, frozen=True, kw_only=True):
    """What to enrol, and what the person calls it."""

    kind: Literal["totp", "passkey"]
    label: Label


class FirstCodeForm(Form, frozen=True, kw_only=True):
    """The first code that the app shows."""

    code: Annotated[str, msgspec.Meta(max_length=20)]


async def _needed(request: Request[Any, Any, Any]) -> FactorList:
    return (await ask(request, "GET", _API_SECOND_FACTOR)).read(FactorList)


def _lacking(request: Request[Any, Any, Any], factors: FactorList, refusal: ApiRefusal | None = None) -> Response[str]:
    kinds = {one.kind for one in factors.factors}
    template = "enrol.html" if factors.needed == "enrol" else "second_factor.html"
    return show(request, template, refusal=refusal, kinds=kinds, factors=factors, next=AFTER_SIGN_IN)


@get(AFTER_SIGN_IN, opt=EARLY | {ALSO: {303: ()}}, media_type=HTML)
async def second_factor_page(request: Request[Any, Any, Any]) -> Response[str]:
    """Ask for what the session lacks; where it lacks nothing, go on to the page that was wanted."""
    factors = await _needed(request)
    if factors.needed is not None:
        return _lacking(request, factors)
    me = (await ask(request, "GET", "/api/v1/identity/me")).read(Me)
    onward = go_to(local_page(request.cookies.get(NEXT_COOKIE, "")))
    onward.cookies.extend((next_cookie(""), tenant_cookie(me.tenant_slug)))
    return onward


@post(AFTER_SIGN_IN, opt=_SENT, media_type=HTML, status_code=303)
async def send_code(request: Request[Any, Any, Any], data: CodeForm) -> Response[str]:
    """Make the session whole by a code of the app, or a recovery code."""
    # People copy codes with the spaces that apps show.
    code = "".join(data.code.split()) if data.method == "totp" else data.code.strip()
    try:
        whole = await send(request, data, "POST", _API_SECOND_FACTOR, {"method": data.method, "code": code})
    except ApiRefusal as refusal:
        require_of_the_form(request, refusal)
        return _lacking(request, await _needed(request), refusal)
    return go_to(AFTER_SIGN_IN, whole)


@post(_FACTORS, opt=_SENT | {"step_up": True}, media_type=HTML, status_code=303)
async def send_new_factor(request: Request[Any, Any, Any], data: NewFactorForm) -> Response[str]:
    """Begin to enrol an authenticator app or a passkey."""
    body = {"kind": data.kind, "label": data.label}
    started = (await send(request, data, "POST", _API_FACTORS, body)).read(FactorStarted)
    return go_to(f"{_FACTORS}/{started.id}/{'app' if data.kind == 'totp' else 'passkey'}")


async def _pending(
    request: Request[Any, Any, Any], factor_id: UUID, refusal: ApiRefusal | None = None
) -> Response[str]:
    shown = (await ask(request, "GET", f"{_API_FACTORS}/{factor_id}")).read(PendingView)
    code = QrCode.of(shown.uri)
    return show(request, "enrol_app.html", refusal=refusal, factor=factor_id, pending=shown, qr=code)


@get(_APP, opt=_ENROLLING, media_type=HTML)
async def app_page(request: Request[Any, Any, Any], factor_id: UUID) -> Response[str]:
    """Show the seed, as text and to scan, and the recovery codes, until the first code has come."""
    return await _pending(request, factor_id)


@post(_APP, opt=_SENT | {"step_up": True}, media_type=HTML, status_code=303)
async def send_first_code(request: Request[Any, Any, Any], factor_id: UUID, data: FirstCodeForm) -> Response[str]:
    """Put the app to use by its first code."""
    code = "".join(data.code.split())
    try:
        whole = await send(request, data, "POST", f"{_API_FACTORS}/{factor_id}/confirm", {"code": code})
    except ApiRefusal as refusal:
        require_of_the_form(request, refusal)
        return await _pending(request, factor_id, refusal)
    return go_to(AFTER_SIGN_IN, whole)


@get(_PASSKEY, opt=_ENROLLING, media_type=HTML)
async def passkey_page(request: Request[Any, Any, Any], factor_id: UUID) -> Response[str]:
    """Show the button by which the browser makes a passkey."""
    await ask(request, "GET", f"/api/v1/auth/passkeys/{factor_id}")  # refused where none waits
    return show(request, "enrol_passkey.html", factor=factor_id, next=AFTER_SIGN_IN)


def second_factor_pages() -> list[ControllerRouterHandler]:
    """Return the routes."""
    return [second_factor_page, send_code, send_new_factor, app_page, send_first_code, passkey_page]
