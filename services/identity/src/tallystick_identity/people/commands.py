"""Create and delete people. Each command runs in the caller's transaction and leaves its events there."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick_chassis.http.problems import FieldError
from tallystick_chassis.ids import OrgUnitId, PersonRef, new_id, new_person_ref
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import (
    SessionEnd,
    SessionRevoked,
    TokenVersionBumped,
    TokenVersionScope,
    UserAddressChanged,
    UserCreated,
    UserDeleted,
    UserDisabled,
    UserEnabled,
)

from tallystick_identity.errors import EmailTaken, KeyPoolEmpty
from tallystick_identity.key_pool.store import PoolKey, claim_keys
from tallystick_identity.people import store
from tallystick_identity.people.domain import InvalidEmailError, blind_index, email_address
from tallystick_identity.roles.commands import record_revocation
from tallystick_identity.roles.store import revoke_all_grants
from tallystick_identity.sessions.store import end_sessions_of
from tallystick_identity.sign_in.store import erase_requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.private_data import PrivateData
    from tallystick_identity.people.store import PersonRow


@dataclass(frozen=True, slots=True)
class Newcomer:
    """A person to create, address and name checked. ``pointer`` says where in the input the address stands."""

    email: str
    display_name: str
    home_unit: OrgUnitId
    pointer: str = "/email"


@dataclass(frozen=True, slots=True)
class CreatedPerson:
    """A person just created: the id for addresses, the pseudonym for events."""

    id: UUID
    person: PersonRef


class People:
    """The commands on people, with what they need."""

    def __init__(self, *, private_data: PrivateData, sealer: Sealer, blind_index_key: bytes) -> None:
        self._private = private_data
        self._sealer = sealer
        self._blind_index_key = blind_index_key

    def email_index(self, tx: Transaction, email: str) -> bytes:
        """Return the blind index by which the scope's tenant finds an address."""
        return blind_index(self._blind_index_key, tx.scope.tenant, email)

    async def find(self, tx: Transaction, email: str) -> PersonRow | None:
        """Return whoever in the scope's units has this address, disabled or not."""
        try:
            index = self.email_index(tx, email_address(email))
        except InvalidEmailError:
            return None
        return await store.find_by_email(tx, index, disabled_too=True)

    async def create(self, tx: Transaction, newcomers: Sequence[Newcomer]) -> list[CreatedPerson]:
        """Create people, all or none, each with a public key from the pool.

        Raises:
            EmailTaken: naming every address that is in use or stands twice.
            KeyPoolEmpty: if the pool holds fewer keys than there are newcomers.
        """
        indexes = [self.email_index(tx, one.email) for one in newcomers]
        self._refuse_repeats(newcomers, indexes)
        keys = await claim_keys(tx, len(newcomers))
        if len(keys) < len(newcomers):
            raise KeyPoolEmpty
        now = tx.clock()
        rows = [
            await self._encrypted(tx, newcomer, index, key)
            for newcomer, index, key in zip(newcomers, indexes, keys, strict=True)
        ]
        stored = await store.insert_people(tx, rows, created_at=now)
        taken = [one.pointer for one, row in zip(newcomers, rows, strict=True) if row.id not in stored]
        if taken:
            raise EmailTaken(errors=[FieldError("is already in use", pointer=pointer) for pointer in taken])
        for newcomer, row in zip(newcomers, rows, strict=True):
            await self._record_creation(tx, newcomer, row)
        return [CreatedPerson(row.id, row.person) for row in rows]

    async def delete(self, tx: Transaction, person: PersonRow, *, reason: str | None) -> None:
        """Delete softly and end everything the person could do, in one transaction; erasure follows from the event."""
        now = tx.clock()
        await store.mark_deleted(tx, person.person, now=now)
        await self.end_sessions(tx, person, reason=SessionEnd.ADMIN)
        for grant in await revoke_all_grants(tx, person.person, now=now):
            await record_revocation(tx, grant)
        event_id = new_id()
        sealed = None
        if reason:
            sealed = await self._sealer.for_tenant(tx, event_id=event_id, field="reason", value=reason)
        deleted = UserDeleted(person=person.person, key_id=person.key_id, reason=sealed)
        await tx.append(
            f"user-{person.person}",
            1,
            [EventDraft(deleted, id=event_id, subject=person.person, org_unit=person.home_unit)],
        )

    async def disable(self, tx: Transaction, person: PersonRow) -> None:
        """Let a person neither sign in nor act; nothing happens when that is so already."""
        if await store.set_disabled(tx, person.person, at=tx.clock()):
            await self.end_sessions(tx, person, reason=SessionEnd.ADMIN)
            await self._record_status(tx, person, UserDisabled(person=person.person))

    async def enable(self, tx: Transaction, person: PersonRow) -> None:
        """Let a disabled person sign in and act again."""
        if await store.set_disabled(tx, person.person, at=None):
            await self._record_status(tx, person, UserEnabled(person=person.person))

    async def change_address(self, tx: Transaction, person: PersonRow, *, email: str, reason: str) -> None:
        """Let mail, and so sign-in, go to another address; what was mailed before is void, and all sessions end.

        Nothing happens when it is the person's address already.

        Raises:
            EmailTaken: if somebody else of the tenant has it.
        """
        index, before = self.email_index(tx, email), await store.email_index_of(tx, person.person)
        if index == before:
            return
        ciphertext = await self._private.encrypt_email(tx.scope.tenant, person.person, email)
        if not await store.set_address(tx, person.person, index=index, ciphertext=ciphertext):
            raise EmailTaken(errors=[FieldError("is already in use", pointer="/email")])
        await erase_requests(tx, person=person.person, email_index=before)
        await self.end_sessions(tx, person, reason=SessionEnd.ADMIN)
        event_id = new_id()
        changed = UserAddressChanged(
            person=person.person,
            email=await self._sealer.for_person(tx, person.person, event_id=event_id, field="email", value=email),
            reason=await self._sealer.for_tenant(tx, event_id=event_id, field="reason", value=reason),
        )
        await tx.append(
            f"user_address-{event_id}",
            0,
            [EventDraft(changed, id=event_id, subject=person.person, org_unit=person.home_unit)],
        )

    @staticmethod
    async def _record_status(tx: Transaction, person: PersonRow, data: UserDisabled | UserEnabled) -> None:
        event_id = new_id()
        # A stream of its own for each change: the row's lock has put them in order.
        await tx.append(
            f"user_status-{event_id}",
            0,
            [EventDraft(data, id=event_id, subject=person.person, org_unit=person.home_unit)],
        )

    async def end_sessions(self, tx: Transaction, person: PersonRow, *, reason: SessionEnd) -> None:
        """End every session of a person: a new token version refuses what is signed, the rows refuse a refresh."""
        now = tx.clock()
        version = await store.bump_token_version(tx, person.person)
        bumped = TokenVersionBumped(scope=TokenVersionScope.USER, person=person.person, version=version)
        # Versions begin at 1 and go up by one, so the stream of the bumps to version n has n - 1 events.
        await tx.append(
            f"token_version-{person.person}",
            version - 2,
            [EventDraft(bumped, subject=person.person, org_unit=person.home_unit)],
        )
        for ended in await end_sessions_of(tx, person.person, reason=reason.name.lower(), now=now):
            revoked = SessionRevoked(session_ref=ended, reason=reason)
            await tx.append(
                f"session-{ended}", 1, [EventDraft(revoked, subject=person.person, org_unit=person.home_unit)]
            )

    @staticmethod
    def _refuse_repeats(newcomers: Sequence[Newcomer], indexes: Sequence[bytes]) -> None:
        seen: set[bytes] = set()
        repeated = []
        for newcomer, index in zip(newcomers, indexes, strict=True):
            if index in seen:
                repeated.append(FieldError("stands twice in this import", pointer=newcomer.pointer))
            seen.add(index)
        if repeated:
            raise EmailTaken(errors=repeated)

    async def _encrypted(
        self, tx: Transaction, newcomer: Newcomer, email_index: bytes, key: PoolKey
    ) -> store.NewPerson:
        person = new_person_ref()
        email, name = await self._private.encrypt(
            tx.scope.tenant, person, email=newcomer.email, name=newcomer.display_name
        )
        return store.NewPerson(
            id=new_id(),
            person=person,
            home_unit=newcomer.home_unit,
            key_id=key.key_id,
            public_key=key.public_key,
            email_index=email_index,
            email_ciphertext=email,
            name_ciphertext=name,
        )

    async def _record_creation(self, tx: Transaction, newcomer: Newcomer, row: store.NewPerson) -> None:
        event_id = new_id()
        created = UserCreated(
            person=row.person,
            home_unit=str(row.home_unit),
            key_id=row.key_id,
            key_fingerprint=hashlib.sha256(row.public_key).hexdigest(),
            public_key=base64.b64encode(row.public_key).decode(),
            name=await self._sealer.for_person(
                tx, row.person, event_id=event_id, field="name", value=newcomer.display_name
            ),
            email=await self._sealer.for_person(tx, row.person, event_id=event_id, field="email", value=newcomer.email),
        )
        await tx.append(
            f"user-{row.person}", 0, [EventDraft(created, id=event_id, subject=row.person, org_unit=row.home_unit)]
        )


def oldest_first(row: PersonRow) -> tuple[datetime, UUID]:
    """Return a person's position in lists."""
    return row.created_at, row.id
