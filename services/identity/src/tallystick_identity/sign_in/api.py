"""Routes of sign-in: ask for a link, use it, and the two pages for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.pages import HTML, Pages
from tallystick_chassis.http.problems import FieldError
from tallystick_chassis.http.route_limits import refuse_if_over

from tallystick_identity.errors import InvalidInput, LinkNotAccepted
from tallystick_identity.people.domain import MAX_EMAIL_LENGTH, InvalidEmailError, email_address
from tallystick_identity.request_edge import origin_of, scope_before_sign_in
from tallystick_identity.sessions.cookies import session_cookies
from tallystick_identity.sign_in.commands import NO_TENANT, SignIn
from tallystick_identity.sign_in.domain import LIFETIME, parse_link_id
from tallystick_identity.tenants.domain import is_slug
from tallystick_identity.tenants.store import tenant_by_slug

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database, DutyDatabase

NONCE_COOKIE = "__Host-tally_login"


class LoginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to sign in where; ``tenant`` is its slug."""

    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL_LENGTH)]


class LoginAnswer(msgspec.Struct, frozen=True):
    """Always the same, whoever asks for whom."""

    status: str = "sent_if_known"


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The two parts of a link's fragment."""

    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class VerifyAnswer(msgspec.Struct, frozen=True):
    """Who is signed in; the tokens are in cookies, never here.

    ``second_factor`` says what the session must do before anything else: ``show`` one, or ``enrol`` one.
    """

    person: str
    second_factor: Literal["show", "enrol"] | None


def sign_in_routes(
    *, database: Database, duty: DutyDatabase, sign_in: SignIn, csrf_key: bytes
) -> list[ControllerRouterHandler]:
    """Return the routes."""
    pages = Pages("tallystick_identity")

    @post("/api/v1/auth/login", opt={"public": True}, status_code=202)
    async def login(request: Request[Any, Any, Any], data: LoginRequest) -> Response[LoginAnswer]:
        """Ask for a sign-in link by mail; the answer does not tell whether anybody has the address."""
        try:
            email = email_address(data.email)
        except InvalidEmailError as error:
            raise InvalidInput(errors=[FieldError(str(error), pointer="/email")]) from None
        async with duty.duty() as connection:
            tenant = await tenant_by_slug(connection, data.tenant)
        async with database.transaction(scope_before_sign_in(request, tenant or NO_TENANT)) as tx:
            asked = await sign_in.ask(tx, email=email, origin=origin_of(request))
        # Raised after the commit: the count must stay.
        refuse_if_over(asked.over, now_of=database)
        return Response(LoginAnswer(), status_code=202, cookies=[_nonce_cookie(asked.nonce or "")])

    @post("/api/v1/auth/verify", opt={"public": True, REFUSES: (LinkNotAccepted,)}, status_code=200)
    async def verify(request: Request[Any, Any, Any], data: VerifyRequest) -> Response[VerifyAnswer]:
        """Use a sign-in link, once, in the browser that asked for it."""
        link = parse_link_id(data.request_id)
        if link is None:
            raise LinkNotAccepted
        nonce = request.cookies.get(NONCE_COOKIE, "")
        async with database.transaction(scope_before_sign_in(request, link.tenant)) as tx:
            signed_in = await sign_in.use(tx, link, token=data.token, nonce=nonce, origin=origin_of(request))
        # Raised after the commit: the record of the refusal must stay.
        if signed_in is None:
            raise LinkNotAccepted
        cookies = session_cookies(signed_in.credentials, csrf_key=csrf_key)
        need = signed_in.credentials.need
        answer = VerifyAnswer(signed_in.person, None if need is None else need.value)
        return Response(answer, status_code=200, cookies=[*cookies, _nonce_cookie("")])

    @get("/sign-in/{tenant:str}", opt={"public": True}, media_type=HTML)
    async def sign_in_page(tenant: str) -> Response[str]:
        """Show the form that asks for a link; the same for every name, whether there is such a tenant or not."""
        return pages.render("sign_in.html", tenant=tenant if is_slug(tenant) else "")

    @get("/sign-in/{tenant:str}/verify", opt={"public": True}, media_type=HTML)
    async def verify_page(tenant: str) -> Response[str]:
        """Show the page that a link leads to: its script posts the fragment, which no server log ever sees."""
        return pages.render("verify.html", tenant=tenant if is_slug(tenant) else "")

    return [login, verify, sign_in_page, verify_page]


def _nonce_cookie(nonce: str) -> Cookie:
    return Cookie(
        NONCE_COOKIE,
        value=nonce,
        path="/",
        max_age=int(LIFETIME.total_seconds()) if nonce else 0,
        secure=True,
        httponly=True,
        samesite="lax",
    )
