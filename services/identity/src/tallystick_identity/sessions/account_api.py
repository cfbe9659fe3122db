"""Routes by which people see, name and end sessions: their own, and for administrators those of others."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.generated.identity import SessionEnd

from tallystick_identity.people.store import find_by_ref, find_person
from tallystick_identity.sessions.commands import end_session
from tallystick_identity.sessions.domain import Timeouts, is_live
from tallystick_identity.sessions.store import sessions_of, set_label

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.private_data import PrivateData
    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.sessions.domain import Session

_OWN = "/api/v1/identity/me/sessions"
_PERSON = "/api/v1/identity/people/{person_id:uuid}/sessions"
_ENDING: dict[str, Any] = {"capability": Capability.SESSION_OWN, "step_up": True}
"""Whoever found a browser open must not shut its owner out elsewhere (ASVS 7.5.2). Signing out here needs nothing."""


class SessionName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person calls a session, such as "the laptop at home"."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class SessionView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session that lives. ``refreshed_at`` says when it was last used, to within five minutes."""

    id: str
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    amr: tuple[str, ...]
    current: bool
    name: str | None = None


class SessionList(msgspec.Struct, frozen=True):
    """Sessions, oldest first."""

    sessions: tuple[SessionView, ...]


class SessionsGone(msgspec.Struct, frozen=True):
    """How many sessions were ended."""

    ended: int


def account_routes(  # noqa: C901 - a list of handlers; none of them branches much
    *, database: Database, private_data: PrivateData, timeouts: Timeouts
) -> list[ControllerRouterHandler]:
    """Return the routes."""

    async def live(tx: Transaction, person: PersonRow) -> list[Session]:
        now = tx.clock()
        return [
            session
            for session in await sessions_of(tx, person.person, now=now)
            if is_live(session, now=now, idle=timeouts.idle) and session.token_version == person.token_version
        ]

    async def own(tx: Transaction, principal: Principal) -> PersonRow:
        person = await find_by_ref(tx, principal.name)
        if person is None:
            raise NotFound
        return person

    async def other(tx: Transaction, person_id: UUID) -> PersonRow:
        person = await find_person(tx, person_id)
        if person is None:
            raise NotFound
        return person

    async def one(tx: Transaction, person: PersonRow, session_ref: str) -> Session:
        found = [session for session in await live(tx, person) if session.session_ref == session_ref]
        if not found:
            raise NotFound
        return found[0]

    async def listed(scope: Scope, person: PersonRow, sessions: list[Session], current: str | None) -> SessionList:
        return SessionList(
            tuple(
                [
                    SessionView(
                        id=session.session_ref,
                        created_at=session.created_at,
                        refreshed_at=session.refreshed_at,
                        expires_at=session.expires_at,
                        amr=session.amr,
                        current=session.session_ref == current,
                        name=await private_data.label(scope.tenant, person.person, session.label_ciphertext),
                    )
                    for session in sessions
                ]
            )
        )

    @get(_OWN, opt={"capability": Capability.SESSION_OWN})
    async def list_own(tenant_scope: Scope, principal: Principal) -> SessionList:
        """List the sessions of whoever asks."""
        async with database.transaction(tenant_scope) as tx:
            person = await own(tx, principal)
            sessions = await live(tx, person)
        return await listed(tenant_scope, person, sessions, principal.session)

    @put(f"{_OWN}/{{session_ref:str}}", opt={"capability": Capability.SESSION_OWN})
    async def name_own(
        request: Request[Any, Any, Any],
        tenant_scope: Scope,
        principal: Principal,
        session_ref: str,
        data: SessionName,
    ) -> Response[SessionName]:
        """Name one of one's own sessions."""

        async def run(tx: Transaction) -> SessionName:
            person = await own(tx, principal)
            session = await one(tx, person, session_ref)
            label = await private_data.encrypt_label(tenant_scope.tenant, person.person, data.name)
            await set_label(tx, session.session_ref, label)
            return data

        return await perform(request, tenant_scope, run)

    @delete(f"{_OWN}/{{session_ref:str}}", opt=_ENDING, status_code=200)
    async def end_own(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal, session_ref: str
    ) -> Response[SessionsGone]:
        """End one of one's own sessions."""

        async def run(tx: Transaction) -> SessionsGone:
            await end_session(tx, await one(tx, await own(tx, principal), session_ref), reason=SessionEnd.LOGOUT)
            return SessionsGone(1)

        return await perform(request, tenant_scope, run)

    @post(f"{_OWN}/end-others", opt=_ENDING, status_code=200)
    async def end_others(
        request: Request[Any, Any, Any], tenant_scope: Scope, principal: Principal
    ) -> Response[SessionsGone]:
        """End all of one's own sessions but the one that asks."""

        async def run(tx: Transaction) -> SessionsGone:
            others = [
                session
                for session in await live(tx, await own(tx, principal))
                if session.session_ref != principal.session
            ]
            for session in others:
                await end_session(tx, session, reason=SessionEnd.LOGOUT)
            return SessionsGone(len(others))

        return await perform(request, tenant_scope, run)

    @get(_PERSON, opt={"capability": Capability.PEOPLE_READ})
    async def list_of_person(tenant_scope: Scope, person_id: UUID) -> SessionList:
        """List a person's sessions, without the names that the person gave them."""
        async with database.transaction(tenant_scope) as tx:
            person = await other(tx, person_id)
            sessions = await live(tx, person)
        shown = await listed(tenant_scope, person, sessions, None)
        return SessionList(tuple(msgspec.structs.replace(view, name=None) for view in shown.sessions))

    @delete(f"{_PERSON}/{{session_ref:str}}", opt={"capability": Capability.PEOPLE_WRITE}, status_code=200)
    async def end_of_person(
        request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID, session_ref: str
    ) -> Response[SessionsGone]:
        """End one session of a person."""

        async def run(tx: Transaction) -> SessionsGone:
            await end_session(tx, await one(tx, await other(tx, person_id), session_ref), reason=SessionEnd.ADMIN)
            return SessionsGone(1)

        return await perform(request, tenant_scope, run)

    return [list_own, name_own, end_own, end_others, list_of_person, end_of_person]
