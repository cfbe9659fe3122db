"""Routes of passkeys: enrol one, show one as the second factor, sign in by one.

What the browser makes and signs is as its own functions write it (``webauthn_json``). Listing and removing are those
of every factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from tallystick_chassis.http.commands import perform, require_key
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.generated.identity import LoginFailure

from tallystick_identity.errors import NothingToShow, PasskeyNotAccepted
from tallystick_identity.factors.domain import Need, needed
from tallystick_identity.factors.passkeys import CHALLENGE_LIFETIME, parse_ticket
from tallystick_identity.factors.proving import Proven, everywhere
from tallystick_identity.factors.store import has_factor_and_is_staff
from tallystick_identity.factors.webauthn_json import (
    CreationOptions,
    NewPasskey,
    RequestOptions,
    UsedPasskey,
    creation_options,
    request_options,
)
from tallystick_identity.request_edge import origin_of, scope_before_sign_in

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.factors.passkeys import Passkeys
    from tallystick_identity.factors.proving import Proving
    from tallystick_identity.sessions.commands import Credentials
    from tallystick_identity.sessions.domain import Session
    from tallystick_identity.sign_in.front_door import FrontDoor

TICKET_COOKIE = "__Host-tally_passkey"
_PASSKEYS = "/api/v1/auth/passkeys/{factor_id:uuid}"
_SECOND_FACTOR = "/api/v1/auth/second-factor/passkey"
_SIGN_IN = "/sign-in/{tenant:str}/passkey"
_EARLY: dict[str, Any] = {"capability": Capability.SESSION_OWN, "before_second_factor": True}
_ENROLLING: dict[str, Any] = _EARLY | {"step_up": True}


def passkey_routes(  # noqa: C901 - a list of handlers; none of them branches much
    *, database: Database, door: FrontDoor, passkeys: Passkeys, proving: Proving
) -> list[ControllerRouterHandler]:
    """Return the routes."""
    party = passkeys.party

    async def sign_in_scope(request: Request[Any, Any, Any], slug: str) -> Scope:
        return scope_before_sign_in(request, await door.tenant(slug))

    async def require_something_to_show(tx: Transaction, session: Session) -> None:
        has_factor, is_staff = await has_factor_and_is_staff(tx, session.person, now=tx.clock())
        if needed(has_factor=has_factor, is_staff=is_staff, amr=session.amr) is not Need.SHOW:
            raise NothingToShow

    @get(_PASSKEYS, opt=_ENROLLING)
    async def read_creation(tenant_scope: Scope, principal: Principal, factor_id: UUID) -> CreationOptions:
        """Say what the browser must make for a pending passkey, within five minutes."""
        async with database.transaction(tenant_scope) as tx:
            creation = await passkeys.creation(tx, await proving.person_of(tx, principal), factor_id)
        if creation is None:
            raise NotFound
        return creation_options(party, creation)

    @post(f"{_PASSKEYS}/confirm", opt=_ENROLLING, status_code=200)
    async def confirm_passkey(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, factor_id: UUID, data: NewPasskey
    ) -> Response[Proven]:
        """Put the passkey to use. Every other session of the person's ends."""
        require_key(request)
        origin, attestation = origin_of(request), data.read()

        async def proof(tx: Transaction, session: Session) -> Credentials | None:
            return await passkeys.confirm(tx, session, factor_id, attestation=attestation, origin=origin)

        return await proving.prove(everywhere(tenant_scope), principal, origin, proof)

    @post(f"{_SECOND_FACTOR}/options", opt=_EARLY, status_code=200)
    async def ask_for_passkey(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal
    ) -> Response[RequestOptions]:
        """Say what one of the person's passkeys must sign to make the session whole."""

        async def run(tx: Transaction) -> RequestOptions:
            session = await proving.session_of(tx, principal)
            await require_something_to_show(tx, session)
            return request_options(party, await passkeys.ask(tx, session))

        return await perform(request, everywhere(tenant_scope), run)

    @post(_SECOND_FACTOR, opt=_EARLY, status_code=200)
    async def show_passkey(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, data: UsedPasskey
    ) -> Response[Proven]:
        """Make the session whole by a passkey; its challenge is good for one answer."""
        require_key(request)
        origin, assertion = origin_of(request), data.read()

        async def proof(tx: Transaction, session: Session) -> Credentials | LoginFailure:
            await require_something_to_show(tx, session)
            return await passkeys.show(tx, session, assertion=assertion, origin=origin)

        return await proving.prove(everywhere(tenant_scope), principal, origin, proof)

    @post(f"{_SIGN_IN}/options", opt={"public": True}, status_code=200)
    async def ask_to_sign_in(request: Request[Any, Any, Any], tenant: str) -> Response[RequestOptions]:
        """Say what a passkey must sign to sign in; the same whether there is such a tenant or not."""
        async with database.transaction(await sign_in_scope(request, tenant)) as tx:
            challenge, ticket = await passkeys.ask_to_sign_in(tx)
        answer = request_options(party, challenge)
        return Response(answer, status_code=200, cookies=[_ticket_cookie(str(ticket))])

    @post(_SIGN_IN, opt={"public": True, REFUSES: (PasskeyNotAccepted,)}, status_code=200)
    async def sign_in_by_passkey(request: Request[Any, Any, Any], tenant: str, data: UsedPasskey) -> Response[Proven]:
        """Sign in by a passkey, which is two factors: the device, and whoever unlocked it."""
        ticket = parse_ticket(request.cookies.get(TICKET_COOKIE, ""))
        origin, assertion = origin_of(request), data.read()
        async with database.transaction(await sign_in_scope(request, tenant)) as tx:
            signed_in = await passkeys.sign_in(tx, ticket, assertion=assertion, origin=origin)
        # Raised after the commit: the record of the refusal must stay, and the challenge stay used.
        if signed_in is None:
            raise PasskeyNotAccepted
        answer = proving.answer(signed_in.credentials, signed_in.person)
        answer.cookies.append(_ticket_cookie(""))
        return answer

    return [read_creation, confirm_passkey, ask_for_passkey, show_passkey, ask_to_sign_in, sign_in_by_passkey]


def _ticket_cookie(ticket: str) -> Cookie:
    return Cookie(
        TICKET_COOKIE,
        value=ticket,
        path="/",
        max_age=int(CHALLENGE_LIFETIME.total_seconds()) if ticket else 0,
        secure=True,
        httponly=True,
        samesite="strict",
    )
