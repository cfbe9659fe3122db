"""Routes of sign-in: ask for a mail, prove who one is. The pages for it are in ``pages``.

There are two public routes and no more (ADR 10), so what is asked and what is proved stand in their bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import Cookie
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import FieldError

from tallystick_identity.errors import (
    CodeNotAccepted,
    CodeRequired,
    InvalidInput,
    LinkNotAccepted,
    PasswordNotAccepted,
    PasswordsOff,
)
from tallystick_identity.passwords.domain import MAX_LENGTH
from tallystick_identity.people.domain import MAX_EMAIL_LENGTH, InvalidEmailError, email_address
from tallystick_identity.request_edge import visit_of
from tallystick_identity.sessions.cookies import session_cookies
from tallystick_identity.sign_in.domain import LIFETIME, Purpose, parse_binding

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from tallystick_identity.passwords.commands import Passwords
    from tallystick_identity.passwords.sign_in import PasswordSignIn
    from tallystick_identity.sign_in.commands import SignedIn
    from tallystick_identity.sign_in.front_door import FrontDoor

NONCE_COOKIE = "__Host-tally_login"
DEVICE_COOKIE = "__Host-tally_device"
_DEVICE_MAX_AGE_S = 90 * 24 * 60 * 60
_ONE_PROOF = "Send one proof: a link, a code, an address with its password, or a link with a new password"
_NOT_PROVED = (LinkNotAccepted, CodeRequired, CodeNotAccepted, PasswordNotAccepted, PasswordsOff)

Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Address = Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL_LENGTH)]
Typed = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LENGTH)]


class LoginRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants a mail from where, and what for: to sign in or to set a password. ``tenant`` is its slug."""

    tenant: Slug
    email: Address
    purpose: Literal["sign_in", "reset"] = "sign_in"


class LoginAnswer(msgspec.Struct, frozen=True):
    """Always the same, whoever asks for whom."""

    status: str = "sent_if_known"


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One proof, of four.

    The two parts of a link's fragment, with the mail's code where it was asked for in another browser; the code alone
    where it was asked for in this one; ``tenant``, ``email`` and ``password``; or a link that is there to set a
    password, with ``new_password``.
    """

    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    token: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    code: Annotated[str, msgspec.Meta(pattern=r"\A ?[0-9]{3} ?[0-9]{3} ?\Z")] | None = None
    new_password: Typed | None = None
    tenant: Slug | None = None
    email: Address | None = None
    password: Typed | None = None


class VerifyAnswer(msgspec.Struct, frozen=True):
    """Who is signed in; the tokens are in cookies, never here.

    ``second_factor`` says what the session must do before anything else: ``show`` one, or ``enrol`` one. After a
    password was set by mail nobody is signed in, and ``person`` is null.
    """

    person: str | None
    second_factor: Literal["show", "enrol"] | None


def sign_in_routes(
    *, door: FrontDoor, by_password: PasswordSignIn, passwords: Passwords, csrf_key: bytes
) -> list[ControllerRouterHandler]:
    """Return the routes."""

    def answer(signed_in: SignedIn, *cookies: Cookie) -> Response[VerifyAnswer]:
        need = signed_in.credentials.need
        return Response(
            VerifyAnswer(signed_in.person, None if need is None else need.value),
            status_code=200,
            cookies=[*session_cookies(signed_in.credentials, csrf_key=csrf_key), *cookies],
        )

    @post("/api/v1/auth/login", opt={"public": True}, status_code=202)
    async def login(request: Request[Any, Any, Any], data: LoginRequest) -> Response[LoginAnswer]:
        """Ask for a mail with a link and a code; the answer does not tell whether anybody has the address."""
        visit, purpose = visit_of(request), Purpose(data.purpose)
        binding = await door.ask(visit, slug=data.tenant, email=_email(data.email), purpose=purpose)
        return Response(LoginAnswer(), status_code=202, cookies=[_nonce_cookie(str(binding))])

    @post("/api/v1/auth/verify", opt={"public": True, REFUSES: _NOT_PROVED}, status_code=200)
    async def verify(request: Request[Any, Any, Any], data: VerifyRequest) -> Response[VerifyAnswer]:
        """Prove who one is, by a link, a code or a password; or set a new password by a link. Each link works once."""
        visit = visit_of(request)
        binding = parse_binding(request.cookies.get(NONCE_COOKIE, ""))
        match data.request_id, data.token, data.code, data.new_password, data.tenant, data.email, data.password:
            case str(link), str(token), code, None, None, None, None:
                signed_in = await door.follow_link(visit, request_id=link, token=token, code=code, binding=binding)
                return answer(signed_in, _nonce_cookie(""))
            case None, None, str(code), None, None, None, None:
                return answer(await door.type_code(visit, code=code, binding=binding), _nonce_cookie(""))
            case str(link), str(token), code, str(new), None, None, None:
                await passwords.reset(visit, request_id=link, token=token, new=new, code=code, binding=binding)
                return Response(VerifyAnswer(None, None), status_code=200, cookies=[_nonce_cookie("")])
            case None, None, None, None, str(slug), str(email), str(password):
                device = request.cookies.get(DEVICE_COOKIE, "")
                signed_in, mark = await by_password.sign_in(
                    visit, slug=slug, email=_email(email), password=password, device=device
                )
                return answer(signed_in, _cookie(DEVICE_COOKIE, str(mark), _DEVICE_MAX_AGE_S))
        raise InvalidInput(_ONE_PROOF)

    return [login, verify]


def _email(text: str) -> str:
    try:
        return email_address(text)
    except InvalidEmailError as error:
        raise InvalidInput(errors=[FieldError(str(error), pointer="/email")]) from None


def _nonce_cookie(nonce: str) -> Cookie:
    return _cookie(NONCE_COOKIE, nonce, int(LIFETIME.total_seconds()) if nonce else 0)


def _cookie(name: str, value: str, max_age_s: int) -> Cookie:
    return Cookie(name, value=value, path="/", max_age=max_age_s, secure=True, httponly=True, samesite="lax")
