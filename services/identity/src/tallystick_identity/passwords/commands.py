"""Set a password: one's own while signed in, or by a mailed link. Each call opens its own transactions.

The rules are asked first, the hash is computed while no transaction is open, and the transaction that stores it finds
everything as it was or refuses. Every other session of the person's ends with it (AC-05, AC-06).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tallystick_chassis.http.problems import ConcurrentChange, FieldError
from tallystick_chassis.ids import new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import (
    LoginFailure,
    MagicLinkRejection,
    PasswordChanged,
    PasswordResetCompleted,
    SessionEnd,
)

from tallystick_identity.errors import InvalidInput, LinkNotAccepted, PasswordNotAccepted, PasswordsOff, SessionOver
from tallystick_identity.passwords import store
from tallystick_identity.passwords.common_passwords import CommonPasswords
from tallystick_identity.passwords.domain import refusal_of
from tallystick_identity.people.store import email_index_of, find_by_ref
from tallystick_identity.sessions.store import find_by_ref as find_session
from tallystick_identity.sessions.store import find_locked
from tallystick_identity.sign_in.domain import Purpose
from tallystick_identity.sign_in.front_door import presented_link, refusal
from tallystick_identity.sign_in.store import consume
from tallystick_identity.sign_in.tries import Account
from tallystick_identity.tenants.store import has_passwords, slug_of

if TYPE_CHECKING:
    from tallystick_chassis.database import Database
    from tallystick_chassis.http.problems import Problem
    from tallystick_chassis.scope import Scope
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.passwords.hashing import Hasher
    from tallystick_identity.people.commands import People
    from tallystick_identity.people.private_data import PrivateData
    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin, Visit
    from tallystick_identity.sessions.commands import Credentials, Sessions
    from tallystick_identity.sessions.domain import Session
    from tallystick_identity.sign_in.commands import Presented, SignIn
    from tallystick_identity.sign_in.domain import Binding, LinkId
    from tallystick_identity.sign_in.spray import SprayGuard
    from tallystick_identity.sign_in.tries import Tries


@dataclass(frozen=True, slots=True)
class PasswordState:
    """Whether the tenant has passwords, and since when the person has one."""

    allowed: bool
    set_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Before:
    """What the first transaction of a change has read."""

    person: PersonRow
    stored: str | None
    account: Account
    is_locked: bool


class Passwords:
    """The commands, with what they need."""

    def __init__(
        self,
        *,
        database: Database,
        sign_in: SignIn,
        people: People,
        private_data: PrivateData,
        sessions: Sessions,
        tries: Tries,
        spray: SprayGuard,
        sealer: Sealer,
        hasher: Hasher,
    ) -> None:
        self._database = database
        self._sign_in = sign_in
        self._people = people
        self._private = private_data
        self._sessions = sessions
        self._tries = tries
        self._spray = spray
        self._sealer = sealer
        self._hasher = hasher

    async def state(self, scope: Scope, person: str) -> PasswordState:
        """Return what a person sees of their password."""
        async with self._database.transaction(scope) as tx:
            stored = await store.find_password(tx, person)
            return PasswordState(await has_passwords(tx), None if stored is None else stored.set_at)

    async def change(
        self, scope: Scope, session_ref: str, *, new: str, current: str | None, origin: Origin
    ) -> Credentials:
        """Set one's own password, end every session, open a new one with the factors that this one has shown.

        ``current`` is asked for where there is a password already.

        Raises:
            PasswordsOff: if the tenant has none.
            InvalidInput: if the new password is not acceptable.
            PasswordNotAccepted: if ``current`` is wrong, lacking, or was tried too often.
            SessionOver: if the session has ended meanwhile.
            ConcurrentChange: if the password was changed meanwhile.
        """
        before = await self._before(scope, session_ref, new=new, origin=origin)
        if before.stored is not None:
            is_right = not before.is_locked and await self._hasher.verify(current or "", before.stored)
            if not is_right:
                await self._record_wrong(scope, before, origin)
                raise PasswordNotAccepted
        hashed = await self._hasher.hash(new)
        async with self._database.transaction(scope) as tx:
            session = await self._live_session(tx, session_ref, lock=True)
            stored = await store.find_password(tx, session.person, lock=True)
            if (None if stored is None else stored.hash) != before.stored:
                raise ConcurrentChange
            await store.save_password(tx, session.person, hashed=hashed, now=tx.clock())
            await self._tries.password_was_right(tx, before.account, origin)
            await self._record_change(tx, before.person, origin)
            person = await self._end_sessions(tx, before.person)
            return await self._sessions.replace(tx, person, session, amr=session.amr, origin=origin)

    async def reset(
        self,
        visit: Visit,
        *,
        request_id: str,
        token: str,
        new: str,
        code: str | None = None,
        binding: Binding | None = None,
    ) -> None:
        """Set a new password by a mailed link, and end every session. Nobody is signed in by it: factors stay asked.

        Raises:
            InvalidInput: if the new password is not acceptable; the link stays good.
            LinkNotAccepted, CodeRequired, CodeNotAccepted, TooManyRequests: as for a link that signs in.
        """
        link, presented = presented_link(request_id, token=token, code=code, binding=binding)
        scope = visit.scope(link.tenant)
        if code is not None:
            await self._spray.refuse_if_spent(visit)
        await self._reset_in(scope, visit, link, presented, new=new, hashed=None)
        hashed = await self._hasher.hash(new)
        await self._reset_in(scope, visit, link, presented, new=new, hashed=hashed)

    async def _reset_in(
        self, scope: Scope, visit: Visit, link: LinkId, presented: Presented, *, new: str, hashed: str | None
    ) -> None:
        """Judge the link; with ``hashed`` use it as well. A refusal is raised after its record has committed."""
        problem: MagicLinkRejection | Problem | None = None
        async with self._database.transaction(scope) as tx:
            accepted = await self._sign_in.check(tx, link, presented, origin=visit.origin, purpose=Purpose.RESET)
            if isinstance(accepted, MagicLinkRejection):
                problem = accepted
            elif not await has_passwords(tx):
                problem = LinkNotAccepted()
            elif hashed is None:
                problem = await self._refusal_of(tx, accepted.person, new)
            else:
                person = accepted.person
                await consume(tx, link.request, now=tx.clock())
                await store.save_password(tx, person.person, hashed=hashed, now=tx.clock())
                await self._tries.password_was_right(tx, Account(accepted.request.email_index, person), visit.origin)
                await self._record_reset(tx, link, person, visit.origin)
                await self._end_sessions(tx, person)
        if problem is MagicLinkRejection.WRONG_CODE:
            await self._spray.count(visit)
        if isinstance(problem, MagicLinkRejection):
            raise refusal(problem, presented)
        if problem is not None:
            raise problem

    async def _before(self, scope: Scope, session_ref: str, *, new: str, origin: Origin) -> _Before:
        async with self._database.transaction(scope) as tx:
            session = await self._live_session(tx, session_ref)
            person = await find_by_ref(tx, session.person)
            if person is None:
                raise SessionOver
            if not await has_passwords(tx):
                raise PasswordsOff
            problem = await self._refusal_of(tx, person, new)
            if problem is not None:
                raise problem
            account = Account(await email_index_of(tx, person.person) or b"", person)
            stored = await store.find_password(tx, person.person)
            is_locked = stored is not None and await self._tries.is_password_locked(tx, account, origin)
        return _Before(person, None if stored is None else stored.hash, account, is_locked)

    async def _refusal_of(self, tx: Transaction, person: PersonRow, new: str) -> InvalidInput | None:
        address = await self._private.email(tx.scope.tenant, person.person, person.email_ciphertext) or ""
        name = await self._private.name(tx.scope.tenant, person.person, person.name_ciphertext)
        context = (address, address.partition("@")[0], name, await slug_of(tx) or "")
        why = refusal_of(new, common=CommonPasswords(), context=context)
        return None if why is None else InvalidInput(errors=[FieldError(why, pointer="/new_password")])

    async def _live_session(self, tx: Transaction, session_ref: str, *, lock: bool = False) -> Session:
        session = await find_session(tx, session_ref)
        if session is not None and lock:
            session = await find_locked(tx, session.id)
        if session is None or session.ended_at is not None:
            raise SessionOver
        return session

    async def _end_sessions(self, tx: Transaction, person: PersonRow) -> PersonRow:
        await self._people.end_sessions(tx, person, reason=SessionEnd.REPLACED)
        return await find_by_ref(tx, person.person) or person

    async def _record_wrong(self, scope: Scope, before: _Before, origin: Origin) -> None:
        reason = LoginFailure.RATE_LIMITED if before.is_locked else LoginFailure.BAD_CREDENTIAL
        async with self._database.transaction(scope) as tx:
            await self._tries.failed(tx, reason, origin=origin, person=before.person)

    async def _record_change(self, tx: Transaction, person: PersonRow, origin: Origin) -> None:
        event_id = new_id()
        ip = await self._sealer.for_person(tx, person.person, event_id=event_id, field="ip", value=origin.ip)
        draft = EventDraft(
            PasswordChanged(person=person.person, ip=ip),
            id=event_id,
            subject=person.person,
            org_unit=person.home_unit,
        )
        await tx.append(f"password_change-{event_id}", 0, [draft])

    async def _record_reset(self, tx: Transaction, link: LinkId, person: PersonRow, origin: Origin) -> None:
        event_id = new_id()
        ip = await self._sealer.for_person(tx, person.person, event_id=event_id, field="ip", value=origin.ip)
        completed = PasswordResetCompleted(person=person.person, request_id=str(link.request), ip=ip)
        draft = EventDraft(completed, id=event_id, subject=person.person, org_unit=person.home_unit)
        await tx.append(f"password_reset-{link.request}", 1, [draft])
