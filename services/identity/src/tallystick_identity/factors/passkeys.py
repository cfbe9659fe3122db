"""Enrol passkeys, show one as the second factor, sign in by one. Each command is one transaction of its caller's.

A challenge is 32 random bytes, kept here for five minutes and deleted by the first answer, good or bad.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tallystick_chassis.ids import new_id, new_secret
from tallystick_contracts.generated.identity import LoginFailure

from tallystick_identity.factors import passkey_store, store
from tallystick_identity.factors.ceremonies import (
    CHALLENGE_BYTES,
    RelyingParty,
    user_handle,
    went_back,
)
from tallystick_identity.factors.domain import MULTI_FACTOR, Kind
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.sign_in.domain import secret_hash
from tallystick_identity.tenants.store import slug_of

if TYPE_CHECKING:
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.factors.ceremonies import Assertion, Attestation
    from tallystick_identity.factors.commands import Factors
    from tallystick_identity.factors.domain import Factor
    from tallystick_identity.people.private_data import PrivateData
    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin
    from tallystick_identity.sessions.commands import Credentials, Sessions
    from tallystick_identity.sessions.domain import Session
    from tallystick_identity.sign_in.tries import Tries

CHALLENGE_LIFETIME: Final = timedelta(minutes=5)
PASSKEY: Final = ("pop", MULTI_FACTOR)
"""The ``amr`` values (RFC 8176) of a passkey: a key was possessed, and its user verified to it."""


@dataclass(frozen=True, slots=True)
class Creation:
    """What a browser needs to make a passkey. ``name`` and ``display_name`` are shown to the person alone."""

    challenge: bytes
    user_handle: bytes
    name: str
    display_name: str
    exclude: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a browser needs to use a passkey; ``allow`` is empty when any passkey of the site will do."""

    challenge: bytes
    allow: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ticket:
    """The browser's half of a challenge to sign in; secret, and in a cookie."""

    id: UUID
    nonce: str

    def __str__(self) -> str:
        """Return the cookie's value."""
        return f"{self.id.hex}.{self.nonce}"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A passkey was good: whose it is, and what the browser is given."""

    person: str
    credentials: Credentials


def parse_ticket(text: str) -> Ticket | None:
    """Read what ``str(Ticket)`` wrote; ``None`` for anything else."""
    identifier, _, nonce = text.partition(".")
    try:
        return Ticket(UUID(hex=identifier), nonce) if nonce else None
    except ValueError:
        return None


class Passkeys:
    """The commands, with what they need. ``handle_key`` is 32 bytes."""

    def __init__(
        self,
        *,
        factors: Factors,
        sessions: Sessions,
        tries: Tries,
        private_data: PrivateData,
        party: RelyingParty,
        handle_key: bytes,
    ) -> None:
        self.party = party
        self._factors = factors
        self._sessions = sessions
        self._tries = tries
        self._private = private_data
        self._handle_key = handle_key

    async def start(self, tx: Transaction, session: Session, *, label: str) -> UUID:
        """Make a pending passkey in place of earlier pending factors and return its id.

        Raises:
            SecondFactorFirst: if the session has not shown the factor that the person has already.
        """
        return await self._factors.start_passkey(
            tx, session, label=label, challenge=secrets.token_bytes(CHALLENGE_BYTES)
        )

    async def creation(self, tx: Transaction, person: PersonRow, identifier: UUID) -> Creation | None:
        """Return what the browser needs to make a pending passkey; ``None`` when none waits under this id."""
        factor = await store.find_factor(tx, person.person, identifier)
        challenge = None if factor is None else _live_challenge(tx, factor)
        if challenge is None:
            return None
        tenant = tx.scope.tenant
        return Creation(
            challenge=challenge,
            user_handle=user_handle(self._handle_key, tenant, person.person),
            name=await self._private.email(tenant, person.person, person.email_ciphertext) or "",
            display_name=await self._private.name(tenant, person.person, person.name_ciphertext),
            exclude=await _credentials_of(tx, person.person),
        )

    async def confirm(
        self, tx: Transaction, session: Session, identifier: UUID, *, attestation: Attestation, origin: Origin
    ) -> Credentials | None:
        """Put a pending passkey to use by what the authenticator made; end the person's sessions and open a new one.

        ``None``: none waits under this id, or the answer is wrong, and then the pending passkey is gone.
        """
        await self._factors.require_whole_or_none(tx, session)
        factor = await store.find_factor(tx, session.person, identifier)
        challenge = None if factor is None else _live_challenge(tx, factor)
        if factor is None or factor.active_at is not None or factor.kind is not Kind.PASSKEY:
            return None
        from tallystick_identity.factors.ceremony_checks import new_credential  # noqa: PLC0415 - see there

        made = None if challenge is None else new_credential(self.party, attestation, challenge=challenge)
        if made is None or await passkey_store.is_credential_taken(tx, made.id):
            await store.delete_factor(tx, session.person, identifier)
            return None
        await store.activate(
            tx,
            identifier,
            now=tx.clock(),
            credential_id=made.id,
            public_key=made.public_key,
            sign_count=made.sign_count,
        )
        return await self._factors.enrolled(tx, session, factor, amr=PASSKEY, origin=origin)

    async def ask(self, tx: Transaction, session: Session) -> Challenge:
        """Make a challenge for one of the person's passkeys, in place of the session's earlier one."""
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        await passkey_store.take_for_session(tx, session.session_ref)
        await passkey_store.insert_challenge(
            tx,
            new_id(),
            challenge=challenge,
            session_ref=session.session_ref,
            now=tx.clock(),
            expires_at=tx.clock() + CHALLENGE_LIFETIME,
        )
        return Challenge(challenge, await _credentials_of(tx, session.person))

    async def show(
        self, tx: Transaction, session: Session, *, assertion: Assertion, origin: Origin
    ) -> Credentials | LoginFailure:
        """Make a session whole by one of the person's passkeys, or say for the record why not."""
        challenge = await passkey_store.take_for_session(tx, session.session_ref)
        factors = await store.active_factors(tx, session.person, lock=True)
        factor = next((one for one in factors if one.credential_id == assertion.raw_id), None)
        if challenge is None or challenge.expires_at <= tx.clock() or factor is None:
            return LoginFailure.BAD_CREDENTIAL
        refusal = await self._use(tx, factor, assertion, challenge=challenge.challenge)
        if refusal is not None:
            return refusal
        return await self._factors.complete(tx, session, amr=PASSKEY, origin=origin)

    async def ask_to_sign_in(self, tx: Transaction) -> tuple[Challenge, Ticket]:
        """Make a challenge for whatever passkey the browser has; the same for a tenant that does not exist."""
        challenge, ticket = secrets.token_bytes(CHALLENGE_BYTES), Ticket(new_id(), new_secret())
        await passkey_store.insert_challenge(
            tx,
            ticket.id,
            challenge=challenge,
            nonce_hash=secret_hash(ticket.nonce),
            now=tx.clock(),
            expires_at=tx.clock() + CHALLENGE_LIFETIME,
        )
        return Challenge(challenge, ()), ticket

    async def sign_in(
        self, tx: Transaction, ticket: Ticket | None, *, assertion: Assertion, origin: Origin
    ) -> SignedIn | None:
        """Open a whole session for whoever the passkey belongs to; ``None`` for any refusal, which is recorded.

        The challenge's row is deleted first, so of two answers at once exactly one is looked at.
        """
        person, refusal = await self._owner(tx, ticket, assertion)
        if refusal is not None or person is None:
            if await slug_of(tx) is not None:
                await self._tries.failed(tx, refusal or LoginFailure.UNKNOWN_PERSON, origin=origin, person=person)
            return None
        return SignedIn(person.person, await self._sessions.open(tx, person, amr=PASSKEY, origin=origin))

    async def _owner(
        self, tx: Transaction, ticket: Ticket | None, assertion: Assertion
    ) -> tuple[PersonRow | None, LoginFailure | None]:
        challenge = None
        if ticket is not None:
            challenge = await passkey_store.take_for_browser(tx, ticket.id, nonce_hash=secret_hash(ticket.nonce))
        factor = await passkey_store.find_by_credential(tx, assertion.raw_id)
        person = None if factor is None else await find_by_ref(tx, factor.person)
        if factor is None or person is None:
            return None, LoginFailure.UNKNOWN_PERSON
        if challenge is None or challenge.expires_at <= tx.clock() or assertion.user_handle is None:
            return person, LoginFailure.BAD_CREDENTIAL
        refusal = await self._use(tx, factor, assertion, challenge=challenge.challenge)
        if refusal is None and not person.is_active:
            refusal = LoginFailure.ACCOUNT_DISABLED
        return person, refusal

    async def _use(
        self, tx: Transaction, factor: Factor, assertion: Assertion, *, challenge: bytes
    ) -> LoginFailure | None:
        handle = user_handle(self._handle_key, tx.scope.tenant, factor.person)
        if assertion.user_handle is not None and not hmac.compare_digest(assertion.user_handle, handle):
            return LoginFailure.BAD_CREDENTIAL
        from tallystick_identity.factors.ceremony_checks import signed_count  # noqa: PLC0415 - see there

        count = signed_count(self.party, assertion, challenge=challenge, public_key=factor.public_key or b"")
        if count is None:
            return LoginFailure.BAD_CREDENTIAL
        if went_back(stored=factor.sign_count, shown=count):
            return LoginFailure.COUNTER_WENT_BACK
        await store.use_count(tx, factor.id, count=count)
        return None


def _live_challenge(tx: Transaction, factor: Factor) -> bytes | None:
    return factor.challenge if tx.clock() < factor.created_at + CHALLENGE_LIFETIME else None


async def _credentials_of(tx: Transaction, person: str) -> tuple[bytes, ...]:
    factors = await store.active_factors(tx, person)
    return tuple(one.credential_id for one in factors if one.credential_id is not None)
