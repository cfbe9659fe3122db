"""Routes of single sign-on: to the provider, back from it, and its logouts. Nobody is signed in on any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from tallystick_chassis.http.openapi import ALSO
from tallystick_chassis.http.pages import HTML, PAGE, Pages
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope

from tallystick_identity.errors import LogoutRefused, SsoRefused
from tallystick_identity.pages.local import AFTER_SIGN_IN
from tallystick_identity.request_edge import origin_of, scope_before_sign_in
from tallystick_identity.sessions.cookies import session_cookies
from tallystick_identity.sso.administration import callback_uri
from tallystick_identity.sso.commands import Answer, SingleSignOn
from tallystick_identity.sso.domain import LIFETIME
from tallystick_identity.sso.tokens import MAX_TOKEN_CHARS
from tallystick_identity.tenants.store import tenant_by_slug

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import DutyDatabase

FLOW_COOKIE = "__Host-tally_sso"
_SSO = "/sign-in/{tenant:str}/sso"
_MAX_FIELD_CHARS = 4_096


def sso_routes(
    *, duty: DutyDatabase, single_sign_on: SingleSignOn, csrf_key: bytes, public_url: str
) -> list[ControllerRouterHandler]:
    """Return the routes."""
    pages = Pages("tallystick_identity")

    async def scope_of(request: Request[Any, Any, Any], slug: str) -> Scope:
        async with duty.duty() as connection:
            tenant = await tenant_by_slug(connection, slug)
        if tenant is None:
            raise NotFound  # as for a tenant without single sign-on
        return scope_before_sign_in(request, tenant)

    @get(_SSO, opt={"public": True, PAGE: True}, status_code=303)
    async def begin_sso(request: Request[Any, Any, Any], tenant: str, fresh: bool = False) -> Response[None]:  # noqa: FBT001, FBT002 - a query parameter
        """Send the browser to the tenant's provider; ``fresh`` asks for a proof now, not for a session it has."""
        scope = await scope_of(request, tenant)
        begun = await single_sign_on.begin(scope, redirect_uri=callback_uri(public_url, tenant), fresh=fresh)
        headers = {"Location": begun.address}
        return Response(None, status_code=303, headers=headers, cookies=[_flow_cookie(begun.secret)])

    @get(f"{_SSO}/callback", opt={"public": True, PAGE: True, ALSO: {401: (HTML,)}}, media_type=HTML)
    async def finish_sso(request: Request[Any, Any, Any], tenant: str) -> Response[str]:
        """Take the provider's answer, once, in the browser that began."""
        scope = await scope_of(request, tenant)
        try:
            signed_in = await single_sign_on.finish(
                scope,
                _answer(request),
                secret=request.cookies.get(FLOW_COOKIE, ""),
                redirect_uri=callback_uri(public_url, tenant),
                origin=origin_of(request),
            )
        except SsoRefused as refused:
            page = pages.render("sso.html", status=refused.status, tenant=tenant, signed_in=False, need=None, onward="")
        else:
            need = signed_in.credentials.need
            page = pages.render("sso.html", tenant=tenant, signed_in=True, need=need, onward=AFTER_SIGN_IN)
            page.cookies.extend(session_cookies(signed_in.credentials, csrf_key=csrf_key))
        page.cookies.append(_flow_cookie(""))
        return page

    @post(f"{_SSO}/logout", opt={"public": True}, status_code=200)
    async def hear_logout(request: Request[Any, Any, Any], tenant: str) -> Response[None]:
        """Take the provider's word that a session is over (back-channel logout)."""
        scope = await scope_of(request, tenant)
        body = await request.body()
        if len(body) > 2 * MAX_TOKEN_CHARS or not body.isascii():
            raise LogoutRefused
        given = parse_qs(body.decode(), max_num_fields=10).get("logout_token", [])
        if len(given) != 1:
            raise LogoutRefused
        await single_sign_on.log_out(scope, given[0])
        return Response(None, status_code=200)

    return [begin_sso, finish_sso, hear_logout]


def _answer(request: Request[Any, Any, Any]) -> Answer:
    # Read by hand: Litestar keeps the name `state` for itself. What comes twice, or too long, counts as absent.
    def one(name: str) -> str:
        values = request.query_params.getall(name, [])
        return values[0] if len(values) == 1 and len(values[0]) <= _MAX_FIELD_CHARS else ""

    return Answer(state=one("state"), code=one("code"), issuer=one("iss"), error=one("error"))


def _flow_cookie(secret: str) -> Cookie:
    # Lax, not Strict: the provider sends the browser back from another site.
    return Cookie(
        FLOW_COOKIE,
        value=secret,
        path="/",
        max_age=int(LIFETIME.total_seconds()) if secret else 0,
        secure=True,
        httponly=True,
        samesite="lax",
    )
