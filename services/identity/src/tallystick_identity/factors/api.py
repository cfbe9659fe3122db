"""Routes of one's own second factors: what one has, enrol, show, remove.

A session with one factor reaches the routes marked ``before_second_factor``, and no others (X-01). Those that prove
something use it up, so that sending one twice does nothing twice; they give cookies, which no idempotency row keeps.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from tallystick_chassis.http.commands import perform, require_key
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import ALL_UNITS, Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.generated.identity import LoginFailure

from tallystick_identity.errors import CodeNotAccepted, NothingToShow, SessionOver
from tallystick_identity.factors.commands import Factors
from tallystick_identity.factors.domain import Need, needed
from tallystick_identity.factors.store import active_factors, has_factor_and_is_staff, recovery_codes_left
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.request_edge import Origin, origin_of
from tallystick_identity.sessions.cookies import session_cookies
from tallystick_identity.sessions.store import find_by_ref as find_session
from tallystick_identity.sessions.store import find_locked
from tallystick_identity.sign_in.tries import Tries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.sessions.commands import Credentials
    from tallystick_identity.sessions.domain import Session

_SECOND_FACTOR = "/api/v1/auth/second-factor"
_FACTORS = "/api/v1/auth/factors"
_OWN: dict[str, Any] = {"capability": Capability.SESSION_OWN}
_EARLY: dict[str, Any] = _OWN | {"before_second_factor": True}
_ENROLLING: dict[str, Any] = _EARLY | {"step_up": True}

Label = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]


class FactorView(msgspec.Struct, frozen=True):
    """One of the person's factors in use."""

    id: UUID
    kind: str
    label: str
    active_at: datetime


class FactorList(msgspec.Struct, frozen=True):
    """What the person has, and what this session lacks: ``show``, ``enrol``, or null when it is whole."""

    needed: Literal["show", "enrol"] | None
    factors: tuple[FactorView, ...]
    recovery_codes_left: int


class ShownCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Six digits of the authenticator's app, or a recovery code."""

    method: Literal["totp", "recovery"]
    code: Annotated[str, msgspec.Meta(min_length=6, max_length=40)]


class NewFactor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An authenticator app to enrol; ``label`` is what the person calls the device."""

    kind: Literal["totp"]
    label: Label = "authenticator"


class FactorStarted(msgspec.Struct, frozen=True):
    """The pending factor. What must be kept secret of it is read by its id, once."""

    id: UUID


class PendingView(msgspec.Struct, frozen=True):
    """The seed (base32, and as an ``otpauth`` address for a QR code) and the recovery codes, until it is confirmed."""

    seed: str
    uri: str
    recovery_codes: tuple[str, ...]


class FirstCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first code that the app shows."""

    code: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{6}\Z")]


class Proven(msgspec.Struct, frozen=True):
    """The session is whole; its tokens are in cookies, never here."""

    person: str


def factor_routes(  # noqa: C901, PLR0915 - a list of handlers; none of them branches much
    *, database: Database, factors: Factors, tries: Tries, csrf_key: bytes
) -> list[ControllerRouterHandler]:
    """Return the routes."""

    async def session_of(tx: Transaction, principal: Principal) -> Session:
        named = await find_session(tx, principal.session or "")
        # Locked, so that one session with a single factor becomes one whole session, however many try at once.
        session = None if named is None else await find_locked(tx, named.id)
        if session is None or session.ended_at is not None:
            raise SessionOver
        return session

    def answer(credentials: Credentials, person: str) -> Response[Proven]:
        return Response(Proven(person), status_code=200, cookies=session_cookies(credentials, csrf_key=csrf_key))

    async def proved(
        scope: Scope, principal: Principal, origin: Origin, prove: Callable[[Transaction, Session], Awaitable[Any]]
    ) -> Response[Proven]:
        """Count the try and commit; then prove in a transaction of its own. A refusal is raised after its record."""
        async with database.transaction(scope) as tx:
            person = await _person(tx, principal)
            is_locked = await tries.is_factor_locked(tx, person, origin)
            if is_locked:
                await tries.failed(tx, LoginFailure.RATE_LIMITED, origin=origin, person=person)
        credentials = None
        async with database.transaction(scope) as tx:
            session = await session_of(tx, principal)
            if not is_locked:
                credentials = await prove(tx, session)
                if credentials is None:
                    await tries.failed(tx, LoginFailure.BAD_CREDENTIAL, origin=origin, person=person)
                else:
                    await tries.factor_was_right(tx, person, origin)
        if credentials is None:
            raise CodeNotAccepted
        return answer(credentials, principal.name)

    @get(_SECOND_FACTOR, opt=_EARLY)
    async def list_factors(tenant_scope: Scope, principal: Principal) -> FactorList:
        """Say which second factors the person has, and what the session still lacks."""
        async with database.transaction(_everywhere(tenant_scope)) as tx:
            session = await session_of(tx, principal)
            has_factor, is_staff = await has_factor_and_is_staff(tx, principal.name, now=tx.clock())
            views = [
                FactorView(one.id, one.kind.value, await factors.label(tx, one), one.active_at or one.created_at)
                for one in await active_factors(tx, principal.name)
            ]
            left = await recovery_codes_left(tx, principal.name)
        need = needed(has_factor=has_factor, is_staff=is_staff, amr=session.amr)
        return FactorList(None if need is None else need.value, tuple(views), left)

    @post(_SECOND_FACTOR, opt=_EARLY, status_code=200)
    async def show_factor(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, data: ShownCode
    ) -> Response[Proven]:
        """Make the session whole by a code of the app, or a recovery code; each is good once."""
        require_key(request)
        origin = origin_of(request)

        async def prove(tx: Transaction, session: Session) -> Credentials | None:
            has_factor, is_staff = await has_factor_and_is_staff(tx, session.person, now=tx.clock())
            if needed(has_factor=has_factor, is_staff=is_staff, amr=session.amr) is not Need.SHOW:
                raise NothingToShow
            use = factors.show if data.method == "totp" else factors.recover
            return await use(tx, session, code=data.code, origin=origin)

        return await proved(_everywhere(tenant_scope), principal, origin, prove)

    @post(_FACTORS, opt=_ENROLLING, status_code=201)
    async def start_factor(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, data: NewFactor
    ) -> Response[FactorStarted]:
        """Begin to enrol an authenticator app."""

        async def run(tx: Transaction) -> FactorStarted:
            return FactorStarted(await factors.start(tx, await session_of(tx, principal), label=data.label))

        return await perform(request, _everywhere(tenant_scope), run, status=201)

    @get(f"{_FACTORS}/{{factor_id:uuid}}", opt=_ENROLLING)
    async def read_pending(tenant_scope: Scope, principal: Principal, factor_id: UUID) -> PendingView:
        """Show the seed and the recovery codes of a pending factor, until it is confirmed."""
        async with database.transaction(tenant_scope) as tx:
            pending = await factors.pending(tx, principal.name, factor_id)
        if pending is None:
            raise NotFound
        return PendingView(pending.seed, pending.uri, pending.recovery_codes)

    @post(f"{_FACTORS}/{{factor_id:uuid}}/confirm", opt=_ENROLLING, status_code=200)
    async def confirm_factor(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, factor_id: UUID, data: FirstCode
    ) -> Response[Proven]:
        """Put the factor to use by its first code. Every other session of the person's ends."""
        require_key(request)
        origin = origin_of(request)

        async def prove(tx: Transaction, session: Session) -> Credentials | None:
            return await factors.confirm(tx, session, factor_id, code=data.code, origin=origin)

        return await proved(_everywhere(tenant_scope), principal, origin, prove)

    @delete(f"{_FACTORS}/{{factor_id:uuid}}", opt=_OWN | {"step_up": True}, status_code=200)
    async def remove_factor(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, factor_id: UUID
    ) -> Response[Proven]:
        """Remove a factor. Every other session of the person's ends."""
        require_key(request)
        async with database.transaction(_everywhere(tenant_scope)) as tx:
            session = await session_of(tx, principal)
            credentials = await factors.remove(tx, session, factor_id, origin=origin_of(request))
        if credentials is None:
            raise NotFound
        return answer(credentials, principal.name)

    return [
        list_factors,
        show_factor,
        start_factor,
        read_pending,
        confirm_factor,
        remove_factor,
    ]


async def _person(tx: Transaction, principal: Principal) -> PersonRow:
    person = await find_by_ref(tx, principal.name)
    if person is None:
        raise SessionOver
    return person


def _everywhere(scope: Scope) -> Scope:
    # Whether a person is staff is asked of all their grants, in every unit: the session is theirs, not their home
    # unit's. Every statement here names the person.
    return replace(scope, org_units=ALL_UNITS)
