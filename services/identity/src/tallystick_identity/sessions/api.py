"""Routes of sessions: refresh, logout, who am I; introspection, service tokens and public keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import Parameter
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.forms import only_value
from tallystick_chassis.http.introspection import INTROSPECT_PATH, Introspection, IntrospectionRequest
from tallystick_chassis.http.openapi import ALSO, REFUSES
from tallystick_chassis.http.pages import PAGE, prefers_html
from tallystick_chassis.http.tokens import LIFETIME
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import IMPLICIT_CAPABILITIES, Capability
from tallystick_contracts.generated.identity import SessionEnd

from tallystick_identity.errors import InvalidClient, SessionOver, UnsupportedGrantType
from tallystick_identity.pages.local import RENEWED, local_page
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.request_edge import scope_before_sign_in
from tallystick_identity.sessions.commands import Sessions, end_session
from tallystick_identity.sessions.cookies import REFRESH_COOKIE, REFRESH_PATH, expired_cookies, session_cookies
from tallystick_identity.sessions.domain import parse_refresh_token
from tallystick_identity.sessions.service_clients import authenticated_client
from tallystick_identity.sessions.store import find_by_ref as find_session
from tallystick_identity.tenants.store import names_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.http.tokens import TokenSigner
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.private_data import PrivateData
    from tallystick_identity.sessions.introspection import Introspector

_MAX_FORM_BYTES = 4_096
_CLEAR = '"cache", "storage"'
"""Not "cookies": ours are expired by name, and the mark of a known browser (ADR 47) outlives a session."""


class SignedOut(msgspec.Struct, frozen=True):
    """The answer to a logout."""

    status: str


class Me(msgspec.Struct, frozen=True):
    """Who is signed in, to which organisation, and what they may do somewhere in it; ``capabilities`` are sorted."""

    id: UUID
    person: str
    tenant: UUID
    tenant_slug: str
    tenant_name: str
    home_unit: UUID
    display_name: str
    capabilities: tuple[str, ...]


class ServiceToken(msgspec.Struct, frozen=True):
    """The answer of the token endpoint (RFC 6749 §5.1)."""

    access_token: str
    token_type: str
    expires_in: int


class KeySet(msgspec.Struct, frozen=True):
    """Public keys (RFC 7517), the one that signs now first."""

    keys: tuple[dict[str, str], ...]


def session_routes(  # noqa: C901 - a list of handlers; none of them branches much
    *,
    database: Database,
    sessions: Sessions,
    private_data: PrivateData,
    introspector: Introspector,
    signer: TokenSigner,
    clients: Mapping[str, str],
    csrf_key: bytes,
) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @post(
        REFRESH_PATH,
        opt={"public": True, PAGE: True, REFUSES: (SessionOver,), ALSO: {303: (), 307: ()}},
        status_code=204,
    )
    async def refresh(
        request: Request[Any, Any, Any], to: Annotated[str | None, Parameter(max_length=200)] = None
    ) -> Response[None]:
        """Give a new session token and rotate the refresh cookie, which authenticates; from a page, go on.

        ``to`` is where a form was bound for that came too late for the old token: it goes there as it is.
        """
        presented = parse_refresh_token(request.cookies.get(REFRESH_COOKIE, ""))
        if presented is None:
            raise SessionOver
        async with database.transaction(scope_before_sign_in(request, presented.tenant)) as tx:
            credentials = await sessions.refresh(tx, presented)
        # Raised after the commit: the end of a session whose token was reused must stay.
        if credentials is None:
            raise SessionOver
        cookies = session_cookies(credentials, csrf_key=csrf_key)
        if prefers_html(request) and to is not None and local_page(to) == to:
            onward = {"Location": f"{to}?{RENEWED}", "Referrer-Policy": "same-origin"}
            return Response(None, status_code=307, headers=onward, cookies=cookies)
        if prefers_html(request):
            onward = {"Location": local_page(only_value(await request.body(), "next"))}
            return Response(None, status_code=303, headers=onward, cookies=cookies)
        return Response(None, status_code=204, cookies=cookies)

    @post(
        "/api/v1/auth/logout",
        opt={"capability": Capability.SESSION_OWN, "before_second_factor": True},
        status_code=200,
    )
    async def logout(request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal) -> Response[SignedOut]:
        """End the session that makes the request."""

        async def run(tx: Transaction) -> SignedOut:
            session = await find_session(tx, principal.session or "")
            if session is not None:
                await end_session(tx, session, reason=SessionEnd.LOGOUT)
            return SignedOut("signed_out")

        response = await perform(request, tenant_scope, run)
        response.cookies.extend(expired_cookies())
        response.headers["Clear-Site-Data"] = _CLEAR
        return response

    @get("/api/v1/identity/me", opt={"capability": Capability.SESSION_OWN})
    async def me(request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal) -> Me:
        """Say who is signed in."""
        known = context_of(request.scope).introspection
        async with database.transaction(tenant_scope) as tx:
            person = await find_by_ref(tx, principal.name)
            names = await names_of(tx)
        if person is None or known is None or names is None:
            raise SessionOver
        capabilities = {one for grant in known.grants for one in grant.capabilities} | set(IMPLICIT_CAPABILITIES)
        return Me(
            id=person.id,
            person=person.person,
            tenant=tenant_scope.tenant,
            tenant_slug=names.slug,
            tenant_name=names.name,
            home_unit=person.home_unit,
            display_name=await private_data.name(tenant_scope.tenant, person.person, person.name_ciphertext),
            capabilities=tuple(sorted(capabilities)),
        )

    @post(INTROSPECT_PATH, opt={"capability": Capability.SESSION_INTROSPECT}, status_code=200)
    async def introspect(data: IntrospectionRequest) -> Introspection:
        """Tell another service what a session token is worth now."""
        return await introspector.authenticate(data.token)

    @post("/oauth/token", opt={"public": True, REFUSES: (InvalidClient,)}, status_code=200)
    async def token(request: Request[Any, Any, Any]) -> ServiceToken:
        """Give one of our services a token for five minutes."""
        client = authenticated_client(request.headers.get("authorization", ""), clients)
        if client is None:
            raise InvalidClient
        if (await request.body())[:_MAX_FORM_BYTES] != b"grant_type=client_credentials":
            raise UnsupportedGrantType
        return ServiceToken(signer.issue_service(client), "Bearer", int(LIFETIME.total_seconds()))

    @get("/.well-known/jwks.json", opt={"public": True}, media_type="application/jwk-set+json")
    async def keys() -> Response[KeySet]:
        """Return the public keys that session and service tokens are signed with."""
        published: Response[Any] = Response(signer.published)
        return published

    return [refresh, logout, me, introspect, token, keys]
