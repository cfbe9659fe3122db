"""Enrol, show and remove second factors. Each command is one transaction of its caller's."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from tallystick_chassis.ids import PersonRef, new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import FactorKind, MfaEnrolled, MfaRemoved, SessionEnd

from tallystick_identity.errors import LastFactor, SecondFactorFirst
from tallystick_identity.factors import store
from tallystick_identity.factors.domain import (
    MULTI_FACTOR,
    RECOVERY_BYTES,
    Factor,
    Kind,
    accepted_step,
    new_seed,
    provisioning_uri,
    recovery_codes,
    recovery_hash,
)
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.sessions.commands import end_session
from tallystick_identity.tenants.store import names_of

if TYPE_CHECKING:
    from tallystick_chassis.keystore import DataKey, KeyStore
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.commands import People
    from tallystick_identity.people.private_data import PrivateData
    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin
    from tallystick_identity.sessions.commands import Credentials, Sessions
    from tallystick_identity.sessions.domain import Session

_KINDS = {Kind.TOTP: FactorKind.TOTP, Kind.PASSKEY: FactorKind.PASSKEY}


@dataclass(frozen=True, slots=True)
class PendingTotp:
    """What is shown of a pending factor, until it is confirmed: the seed, and the recovery codes to keep."""

    seed: str
    uri: str
    recovery_codes: tuple[str, ...]


class Factors:
    """The commands, with what they need. ``code_key`` is 32 bytes."""

    def __init__(
        self,
        *,
        keys: KeyStore,
        private_data: PrivateData,
        sealer: Sealer,
        people: People,
        sessions: Sessions,
        code_key: bytes,
    ) -> None:
        self._keys = keys
        self._private = private_data
        self._sealer = sealer
        self._people = people
        self._sessions = sessions
        self._code_key = code_key

    async def start(self, tx: Transaction, session: Session, *, label: str) -> UUID:
        """Make a pending factor in place of earlier pending ones and return its id.

        Raises:
            SecondFactorFirst: if the session has not shown the factor that the person has already.
        """
        await self.require_whole_or_none(tx, session)
        identifier, codes = new_id(), recovery_codes(secrets.token_bytes(RECOVERY_BYTES))
        key = await self._keys.data_key(tx.scope.tenant, session.person)
        factor = replace(
            _pending(tx, key, session.person, identifier, kind=Kind.TOTP, label=label),
            seed_ciphertext=key.encrypt(new_seed().encode(), aad=_purpose(identifier, "seed")),
            codes_ciphertext=key.encrypt(msgspec.json.encode(codes), aad=_purpose(identifier, "codes")),
        )
        hashes = [recovery_hash(self._code_key, identifier, code) for code in codes]
        await store.insert_factor(tx, factor, code_hashes=hashes)
        return identifier

    async def start_passkey(self, tx: Transaction, session: Session, *, label: str, challenge: bytes) -> UUID:
        """Make a pending passkey that answers ``challenge``, in place of earlier pending factors; return its id.

        Raises:
            SecondFactorFirst: if the session has not shown the factor that the person has already.
        """
        await self.require_whole_or_none(tx, session)
        identifier = new_id()
        key = await self._keys.data_key(tx.scope.tenant, session.person)
        factor = _pending(tx, key, session.person, identifier, kind=Kind.PASSKEY, label=label)
        await store.insert_factor(tx, replace(factor, challenge=challenge), code_hashes=())
        return identifier

    async def pending(self, tx: Transaction, person: str, identifier: UUID) -> PendingTotp | None:
        """Return what is shown of a pending factor; ``None`` when there is none, or it is in use."""
        factor = await store.find_factor(tx, person, identifier)
        if factor is None or factor.seed_ciphertext is None or factor.codes_ciphertext is None:
            return None
        key = await self._keys.data_key(tx.scope.tenant, person)
        seed = self._seed(key, factor)
        codes = key.decrypt(factor.codes_ciphertext, aad=_purpose(identifier, "codes"))
        row, names = await self._person(tx, person), await names_of(tx)
        address = await self._private.email(tx.scope.tenant, person, row.email_ciphertext)
        uri = provisioning_uri(seed, issuer="" if names is None else names.name, account=address or "")
        return PendingTotp(seed, uri, msgspec.json.decode(codes, type=tuple[str, ...]))

    async def confirm(
        self, tx: Transaction, session: Session, identifier: UUID, *, code: str, origin: Origin
    ) -> Credentials | None:
        """Put a pending factor to use by its first code; end every session of the person's and open a new one.

        ``None``: there is no such pending factor, or the code is not one of its.
        """
        await self.require_whole_or_none(tx, session)
        factor = await store.find_factor(tx, session.person, identifier)
        if factor is None or factor.active_at is not None or factor.seed_ciphertext is None:
            return None
        key = await self._keys.data_key(tx.scope.tenant, session.person)
        now = tx.clock()
        step = accepted_step(self._seed(key, factor), code, last_step=factor.last_step, now=now)
        if step is None:
            return None
        await store.activate(tx, identifier, now=now, last_step=step)
        return await self.enrolled(tx, session, factor, amr=("otp", MULTI_FACTOR), origin=origin)

    async def enrolled(
        self, tx: Transaction, session: Session, factor: Factor, *, amr: tuple[str, ...], origin: Origin
    ) -> Credentials:
        """Record a factor just put to use; end every session of the person's and open a new one."""
        key = await self._keys.data_key(tx.scope.tenant, session.person)
        person = await self._record_enrolment(tx, factor, key)
        return await self._replace(tx, person, session, amr=amr, origin=origin)

    async def show(self, tx: Transaction, session: Session, *, code: str, origin: Origin) -> Credentials | None:
        """Show a second factor by a code of its app; ``None`` when no factor of the person's gives this code now.

        The factors' rows are locked, so that of two who bring one code exactly one gets in.
        """
        key = await self._keys.data_key(tx.scope.tenant, session.person)
        for factor in await store.active_factors(tx, session.person, lock=True):
            if factor.seed_ciphertext is None:
                continue
            step = accepted_step(self._seed(key, factor), code, last_step=factor.last_step, now=tx.clock())
            if step is not None:
                await store.use_step(tx, factor.id, step=step)
                return await self.complete(tx, session, amr=("otp", MULTI_FACTOR), origin=origin)
        return None

    async def recover(self, tx: Transaction, session: Session, *, code: str, origin: Origin) -> Credentials | None:
        """Show a second factor by a recovery code, which is used up; ``None`` when the person has none like it."""
        for factor in await store.active_factors(tx, session.person, lock=True):
            if await store.use_recovery_code(tx, factor.id, recovery_hash(self._code_key, factor.id, code)):
                return await self.complete(tx, session, amr=(MULTI_FACTOR,), origin=origin)
        return None

    async def remove(
        self, tx: Transaction, session: Session, identifier: UUID, *, origin: Origin
    ) -> Credentials | None:
        """Remove one of the person's factors, end their sessions and open a new one; ``None`` when there is none.

        Raises:
            LastFactor: if it is the last, and the person holds a role that needs one.
        """
        factors = await store.active_factors(tx, session.person, lock=True)
        factor = next((one for one in factors if one.id == identifier), None)
        if factor is None:
            return None
        _, is_staff = await store.has_factor_and_is_staff(tx, session.person, now=tx.clock())
        if is_staff and len(factors) == 1:
            raise LastFactor
        await store.delete_factor(tx, session.person, identifier)
        person = await self._person(tx, session.person)
        await self._record_removal(tx, person, factor, reason=None)
        return await self._replace(tx, person, session, amr=session.amr, origin=origin)

    async def reset(self, tx: Transaction, person: PersonRow, *, reason: str) -> int:
        """Remove all of a person's factors, as an administrator for somebody who lost them; end their sessions."""
        factors = await store.active_factors(tx, person.person, lock=True)
        for factor in factors:
            await self._record_removal(tx, person, factor, reason=reason)
        await store.erase_factors(tx, person.person)
        await self._people.end_sessions(tx, person, reason=SessionEnd.ADMIN)
        return len(factors)

    async def label(self, tx: Transaction, factor: Factor) -> str:
        """Return what the person calls the device."""
        if factor.label_ciphertext is None:
            return ""
        key = await self._keys.data_key(tx.scope.tenant, factor.person)
        return key.decrypt(factor.label_ciphertext, aad=_purpose(factor.id, "label")).decode()

    async def require_whole_or_none(self, tx: Transaction, session: Session) -> None:
        """Refuse unless the session has shown a second factor, or its person has none.

        Raises:
            SecondFactorFirst: if there is one to show.
        """
        has_factor, _ = await store.has_factor_and_is_staff(tx, session.person, now=tx.clock())
        if has_factor and MULTI_FACTOR not in session.amr:
            raise SecondFactorFirst

    async def complete(self, tx: Transaction, session: Session, *, amr: tuple[str, ...], origin: Origin) -> Credentials:
        """Open a whole session in the place of one with a single factor."""
        person = await self._person(tx, session.person)
        await end_session(tx, session, reason=SessionEnd.REPLACED)
        return await self._sessions.open(
            tx, person, amr=_joined(session.amr, amr), origin=origin, upstream=session.upstream
        )

    async def _replace(
        self, tx: Transaction, person: PersonRow, session: Session, *, amr: tuple[str, ...], origin: Origin
    ) -> Credentials:
        await self._people.end_sessions(tx, person, reason=SessionEnd.REPLACED)
        fresh = await self._person(tx, person.person)
        return await self._sessions.replace(tx, fresh, session, amr=_joined(session.amr, amr), origin=origin)

    async def _record_enrolment(self, tx: Transaction, factor: Factor, key: DataKey) -> PersonRow:
        person = await self._person(tx, factor.person)
        event_id, sealed = new_id(), None
        if factor.label_ciphertext is not None:
            label = key.decrypt(factor.label_ciphertext, aad=_purpose(factor.id, "label")).decode()
            sealed = await self._sealer.for_person(tx, person.person, event_id=event_id, field="label", value=label)
        enrolled = MfaEnrolled(person=person.person, factor_id=str(factor.id), kind=_KINDS[factor.kind], label=sealed)
        draft = EventDraft(enrolled, id=event_id, subject=person.person, org_unit=person.home_unit)
        await tx.append(f"factor-{factor.id}", 0, [draft])
        return person

    async def _record_removal(self, tx: Transaction, person: PersonRow, factor: Factor, *, reason: str | None) -> None:
        event_id, sealed = new_id(), None
        if reason is not None:
            sealed = await self._sealer.for_tenant(tx, event_id=event_id, field="reason", value=reason)
        removed = MfaRemoved(person=person.person, factor_id=str(factor.id), kind=_KINDS[factor.kind], reason=sealed)
        draft = EventDraft(removed, id=event_id, subject=person.person, org_unit=person.home_unit)
        await tx.append(f"factor-{factor.id}", 1, [draft])

    async def _person(self, tx: Transaction, ref: str) -> PersonRow:
        person = await find_by_ref(tx, PersonRef(ref))
        if person is None:
            msg = "a session without its person"
            raise RuntimeError(msg)
        return person

    @staticmethod
    def _seed(key: DataKey, factor: Factor) -> str:
        if factor.seed_ciphertext is None:
            msg = "a factor without a seed has no codes"
            raise RuntimeError(msg)
        return key.decrypt(factor.seed_ciphertext, aad=_purpose(factor.id, "seed")).decode()


def _pending(tx: Transaction, key: DataKey, person: str, identifier: UUID, *, kind: Kind, label: str) -> Factor:
    return Factor(
        id=identifier,
        person=person,
        kind=kind,
        label_ciphertext=key.encrypt(label.encode(), aad=_purpose(identifier, "label")),
        seed_ciphertext=None,
        codes_ciphertext=None,
        last_step=0,
        challenge=None,
        credential_id=None,
        public_key=None,
        sign_count=0,
        created_at=tx.clock(),
        active_at=None,
    )


def _purpose(factor: UUID, part: str) -> bytes:
    return b"identity.factor|" + factor.bytes + part.encode()


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
