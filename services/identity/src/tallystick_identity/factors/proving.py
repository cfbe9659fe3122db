"""How a route takes a proof: the try is counted and committed before it is looked at, the refusal recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from litestar import Response
from tallystick_chassis.scope import ALL_UNITS, Scope
from tallystick_contracts.generated.identity import LoginFailure

from tallystick_identity.errors import CodeNotAccepted, SessionOver
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.sessions.cookies import session_cookies
from tallystick_identity.sessions.store import find_by_ref as find_session
from tallystick_identity.sessions.store import find_locked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tallystick_chassis.database import Database
    from tallystick_chassis.service import Principal
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin
    from tallystick_identity.sessions.commands import Credentials
    from tallystick_identity.sessions.domain import Session
    from tallystick_identity.sign_in.tries import Tries

    Proof = Callable[[Transaction, Session], Awaitable[Credentials | LoginFailure | None]]


class Proven(msgspec.Struct, frozen=True):
    """The session is whole; its tokens are in cookies, never here."""

    person: str


class Proving:
    """Runs proofs of second factors for whoever has a session."""

    def __init__(self, *, database: Database, tries: Tries, csrf_key: bytes) -> None:
        self._database = database
        self._tries = tries
        self._csrf_key = csrf_key

    async def session_of(self, tx: Transaction, principal: Principal) -> Session:
        """Return the session that makes the request, locked until the transaction ends.

        So one session with a single factor becomes one whole session, however many try at once.

        Raises:
            SessionOver: if it has ended.
        """
        named = await find_session(tx, principal.session or "")
        session = None if named is None else await find_locked(tx, named.id)
        if session is None or session.ended_at is not None:
            raise SessionOver
        return session

    async def person_of(self, tx: Transaction, principal: Principal) -> PersonRow:
        """Return who makes the request.

        Raises:
            SessionOver: if there is no such person.
        """
        person = await find_by_ref(tx, principal.name)
        if person is None:
            raise SessionOver
        return person

    def answer(self, credentials: Credentials, person: str) -> Response[Proven]:
        """Give the browser its new session."""
        return Response(Proven(person), status_code=200, cookies=session_cookies(credentials, csrf_key=self._csrf_key))

    async def prove(self, scope: Scope, principal: Principal, origin: Origin, proof: Proof) -> Response[Proven]:
        """Count the try and commit; then take the proof in a transaction of its own.

        Raises:
            CodeNotAccepted: if the proof is wrong or there were too many; raised after its record has committed.
        """
        async with self._database.transaction(scope) as tx:
            person = await self.person_of(tx, principal)
            is_locked = await self._tries.is_factor_locked(tx, person, origin)
            if is_locked:
                await self._tries.failed(tx, LoginFailure.RATE_LIMITED, origin=origin, person=person)
        if is_locked:
            raise CodeNotAccepted
        async with self._database.transaction(scope) as tx:
            proved = await proof(tx, await self.session_of(tx, principal))
            if proved is None or isinstance(proved, LoginFailure):
                await self._tries.failed(tx, proved or LoginFailure.BAD_CREDENTIAL, origin=origin, person=person)
            else:
                await self._tries.factor_was_right(tx, person, origin)
        if proved is None or isinstance(proved, LoginFailure):
            raise CodeNotAccepted
        return self.answer(proved, principal.name)


def everywhere(scope: Scope) -> Scope:
    """Return the scope in every unit of its tenant.

    Whether a person is staff is asked of all their grants, in every unit: the session is theirs, not their home unit's.
    Every statement that runs in this scope names the person.
    """
    return replace(scope, org_units=ALL_UNITS)
