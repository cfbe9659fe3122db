"""The pages of signing in: ask for a mail, type a password, use a link or its code, set a new password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from tallystick_chassis.http.forms import TAKES_FORM
from tallystick_chassis.http.in_process import ApiRefusal, ask
from tallystick_chassis.http.openapi import ALSO, REFUSES
from tallystick_chassis.http.pages import HTML, PAGE
from tallystick_chassis.http.problems import NotAuthenticated, TooManyRequests

from tallystick_identity.errors import CodeRequired, InvalidInput, LinkNotAccepted
from tallystick_identity.pages.frame import go_to, require_of_the_form, show
from tallystick_identity.pages.local import AFTER_SIGN_IN
from tallystick_identity.sign_in.api import Address, Typed
from tallystick_identity.tenants.domain import is_slug

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import ControllerRouterHandler

_SIGN_IN = "/sign-in/{tenant:str}"
_VERIFY = f"{_SIGN_IN}/verify"
_PAGE: dict[str, Any] = {"public": True, PAGE: True}
_REFUSED = (NotAuthenticated, TooManyRequests)
_FORM: dict[str, Any] = _PAGE | {TAKES_FORM: True, ALSO: {200: (HTML,)}, REFUSES: _REFUSED}
_LOGIN, _PROOF = "/api/v1/auth/login", "/api/v1/auth/verify"


class SignInForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the sign-in page sends; ``do`` is the button: a mail to sign in by, a mail to set a password by, or in."""

    email: Address
    do: Literal["mail", "reset", "in"]
    password: Typed | None = None


class ProofForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link's two parts as the page's script found them, the code of its mail, a new password: what there is."""

    request_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    token: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    code: Annotated[str, msgspec.Meta(max_length=20)] | None = None
    new_password: Typed | None = None


def sign_in_pages(*, has_provider: Callable[[str], Awaitable[bool]]) -> list[ControllerRouterHandler]:
    """Return the routes. ``has_provider`` says whether the tenant of a slug has single sign-on."""

    async def ways(
        request: Request[Any, Any, Any], tenant: str, *, email: str = "", refusal: ApiRefusal | None = None
    ) -> Response[str]:
        slug = tenant if is_slug(tenant) else ""
        offered = await has_provider(slug)
        return show(request, "sign_in.html", refusal=refusal, tenant=slug, sso=offered, email=email, next=AFTER_SIGN_IN)

    @get(_SIGN_IN, opt=_PAGE, media_type=HTML)
    async def sign_in_page(request: Request[Any, Any, Any], tenant: str) -> Response[str]:
        """Show the ways to sign in; the same for every name, but for a provider that the tenant has."""
        return await ways(request, tenant)

    @post(_SIGN_IN, opt=_FORM, media_type=HTML, status_code=303)
    async def send_sign_in(request: Request[Any, Any, Any], tenant: str, data: SignInForm) -> Response[str]:
        """Ask for a mail, or sign in by a password."""
        # The address comes decoded: what is no name of a tenant must not stand in a header.
        slug = tenant if is_slug(tenant) else "-"
        try:
            if data.do == "in":
                proof = {"tenant": tenant, "email": data.email, "password": data.password or ""}
                return go_to(AFTER_SIGN_IN, await ask(request, "POST", _PROOF, json=proof))
            purpose = "reset" if data.do == "reset" else "sign_in"
            wanted = {"tenant": tenant, "email": data.email, "purpose": purpose}
            asked = await ask(request, "POST", _LOGIN, json=wanted)
        except ApiRefusal as refusal:
            require_of_the_form(request, refusal)
            return await ways(request, tenant, email=data.email, refusal=refusal)
        sent = "?sent=reset" if data.do == "reset" else "?sent=mail"
        return go_to(f"/sign-in/{slug}/verify{sent}", asked)

    @get(_VERIFY, opt=_PAGE, media_type=HTML)
    async def verify_page(
        request: Request[Any, Any, Any], tenant: str, sent: Literal["mail", "reset"] | None = None
    ) -> Response[str]:
        """Show the page that takes a mail's code, or its link: a script sends the fragment, which no log ever sees."""
        slug = tenant if is_slug(tenant) else ""
        return show(request, "verify.html", tenant=slug, sent=sent, asks="code", given=None)

    @post(_VERIFY, opt=_FORM, media_type=HTML, status_code=303)
    async def send_proof(request: Request[Any, Any, Any], tenant: str, data: ProofForm) -> Response[str]:
        """Use a link or a code, once; or set a new password by a link."""
        slug = tenant if is_slug(tenant) else ""
        body = {name: value for name, value in msgspec.structs.asdict(data).items() if value is not None}
        try:
            proved = await ask(request, "POST", _PROOF, json=body)
        except ApiRefusal as refusal:
            require_of_the_form(request, refusal)
            asks = _asked_next(data, refusal)
            return show(request, "verify.html", refusal=refusal, tenant=slug, sent=None, asks=asks, given=data)
        if data.new_password is not None:
            return show(request, "password_set.html", tenant=slug)
        return go_to(AFTER_SIGN_IN, proved)

    return [sign_in_page, send_sign_in, verify_page, send_proof]


def _asked_next(data: ProofForm, refusal: ApiRefusal) -> str:
    """Say what the page asks for after a refusal: a code, a link's code, a link's new password; or nothing more."""
    if refusal.code == LinkNotAccepted.code:
        return "nothing"
    if data.new_password is not None and refusal.code == InvalidInput.code:
        return "password"
    if data.token is not None and (refusal.code == CodeRequired.code or data.code is not None):
        return "link_code"
    return "code" if data.token is None else "nothing"
