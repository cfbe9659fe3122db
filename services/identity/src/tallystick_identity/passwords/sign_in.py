"""Sign-in by password, as one calls it with or without HTTP.

Tries are counted before they are made; the hash is computed between two transactions; the second finds the same hash
or refuses. Whatever fails is answered alike and not before a fixed time has passed: an address that nobody has, a
wrong password, a lock, a tenant without passwords.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick_chassis.ids import new_secret
from tallystick_contracts.generated.identity import LoginFailure

from tallystick_identity.errors import PasswordNotAccepted
from tallystick_identity.passwords import store
from tallystick_identity.passwords.domain import DeviceMark, device_mark, known_device
from tallystick_identity.people.store import find_by_email
from tallystick_identity.sessions.commands import PASSWORD
from tallystick_identity.sign_in.commands import SignedIn
from tallystick_identity.sign_in.tries import Account
from tallystick_identity.tenants.store import has_passwords, slug_of

if TYPE_CHECKING:
    from tallystick_chassis.database import Database
    from tallystick_chassis.scope import Scope

    from tallystick_identity.passwords.hashing import Hasher
    from tallystick_identity.people.commands import People
    from tallystick_identity.request_edge import Visit
    from tallystick_identity.sessions.commands import Sessions
    from tallystick_identity.sign_in.front_door import FrontDoor
    from tallystick_identity.sign_in.spray import SprayGuard
    from tallystick_identity.sign_in.tries import Tries

FAILURE_TAKES_S: Final = 0.5
"""How long a refusal takes at least: longer than the slowest hash, so that its time does not tell what was wrong."""

_DEVICE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Tried:
    """One try: whose account, what is stored of its password, whether it was one try too many."""

    account: Account
    stored: str | None
    is_locked: bool


class PasswordSignIn:
    """Signs in by password. ``device_key`` is 32 bytes; a hash is never computed while a transaction is open."""

    def __init__(
        self,
        *,
        database: Database,
        door: FrontDoor,
        people: People,
        sessions: Sessions,
        tries: Tries,
        spray: SprayGuard,
        hasher: Hasher,
        device_key: bytes,
    ) -> None:
        self._database = database
        self._door = door
        self._people = people
        self._sessions = sessions
        self._tries = tries
        self._spray = spray
        self._hasher = hasher
        self._device_key = device_key

    async def sign_in(
        self, visit: Visit, *, slug: str, email: str, password: str, device: str = ""
    ) -> tuple[SignedIn, DeviceMark]:
        """Open a session for whoever knows the password; staff's still lacks its second factor.

        ``device`` is the mark that the browser got at an earlier sign-in, if it has one; the new mark is returned.

        Raises:
            PasswordNotAccepted: whatever is wrong.
            TooManyRequests: if too many tries failed from this address, or everywhere.
            Unavailable: if the tries cannot be counted, or too many hashes wait.
        """
        started = asyncio.get_running_loop().time()
        await self._spray.refuse_if_spent(visit)
        scope = visit.scope(await self._door.tenant(slug))
        tried = await self._count(scope, visit, email=email, device=device)
        if not tried.is_locked and await self._hasher.verify(password, tried.stored):
            done = await self._open(scope, visit, tried, password=password)
            if done is not None:
                return done
        await self._refuse(scope, visit, tried, email=email)
        await asyncio.sleep(max(0.0, started + FAILURE_TAKES_S - asyncio.get_running_loop().time()))
        raise PasswordNotAccepted

    async def _count(self, scope: Scope, visit: Visit, *, email: str, device: str) -> Tried:
        """Count the try, and read what is stored. An account that is not there costs the same statements."""
        async with self._database.transaction(scope) as tx:
            index = self._people.email_index(tx, email)
            person = await find_by_email(tx, index)
            name = known_device(self._device_key, scope.tenant, index, device)
            account = Account(index, person, name)
            is_locked = await self._tries.is_password_locked(tx, account, visit.origin)
            stored = await store.find_password(tx, "" if person is None else person.person)
            is_in_use = await has_passwords(tx)
        return Tried(account, stored.hash if stored is not None and is_in_use else None, is_locked)

    async def _open(
        self, scope: Scope, visit: Visit, tried: Tried, *, password: str
    ) -> tuple[SignedIn, DeviceMark] | None:
        """Open the session; ``None`` when the account or its password has changed since it was read."""
        fresh = None
        if tried.stored is not None and self._hasher.is_outdated(tried.stored):
            fresh = await self._hasher.hash(password)
        account = tried.account
        async with self._database.transaction(scope) as tx:
            person = await find_by_email(tx, account.index)
            if person is None:
                return None
            stored = await store.find_password(tx, person.person, lock=True)
            if stored is None or stored.hash != tried.stored:
                return None
            if fresh is not None:
                await store.upgrade_hash(tx, person.person, hashed=fresh)
            await self._tries.password_was_right(tx, account, visit.origin)
            credentials = await self._sessions.open(tx, person, amr=PASSWORD, origin=visit.origin)
        mark = device_mark(
            self._device_key, scope.tenant, account.index, name=account.device or new_secret(_DEVICE_BYTES)
        )
        return SignedIn(person.person, credentials), mark

    async def _refuse(self, scope: Scope, visit: Visit, tried: Tried, *, email: str) -> None:
        person = tried.account.person
        if tried.is_locked:
            reason = LoginFailure.RATE_LIMITED
        else:
            reason = LoginFailure.UNKNOWN_PERSON if person is None else LoginFailure.BAD_CREDENTIAL
        async with self._database.transaction(scope) as tx:
            if await slug_of(tx) is not None:
                await self._tries.failed(tx, reason, origin=visit.origin, person=person, login_name=email)
        await self._spray.count(visit)
