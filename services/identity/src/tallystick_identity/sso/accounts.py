"""Who somebody at a provider is here: found by issuer and subject, linked or made by policy, and given roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.ids import PersonRef, new_id
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import LoginFailure, SsoLinked, SsoUnlinked

from tallystick_identity.errors import EmailTaken, LastAdministrator
from tallystick_identity.passwords.store import erase_password
from tallystick_identity.people.commands import Newcomer
from tallystick_identity.people.domain import InvalidEmailError, InvalidNameError, display_name, email_address
from tallystick_identity.people.store import find_by_email, find_by_ref
from tallystick_identity.roles.administrators import is_administrators, keeping_an_administrator
from tallystick_identity.roles.commands import assign, revoke
from tallystick_identity.roles.store import GrantRow, find_role
from tallystick_identity.sessions.commands import end_session
from tallystick_identity.sessions.store import find_by_ref as find_session
from tallystick_identity.sso import store
from tallystick_identity.sso.domain import is_vouched_for, matching_rules, subject_index

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.generated.identity import SessionEnd

    from tallystick_identity.factors.commands import Factors
    from tallystick_identity.people.commands import People
    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.sso.domain import Claims, Provider, RoleRule


class AnswerRefused(Exception):
    """A provider's answer signs nobody in. ``reason`` is a fixed word for the log, ``failure`` for the record."""

    def __init__(self, reason: str, failure: LoginFailure = LoginFailure.PROVIDER_ANSWER) -> None:
        self.reason = reason
        self.failure = failure
        super().__init__(reason)


class Accounts:
    """The commands, with what they need; each runs in its caller's transaction. ``index_key`` is 32 bytes."""

    def __init__(self, *, people: People, factors: Factors, sealer: Sealer, index_key: bytes) -> None:
        self._people = people
        self._factors = factors
        self._sealer = sealer
        self._index_key = index_key

    async def resolve(self, tx: Transaction, provider: Provider, claims: Claims) -> tuple[PersonRow, UUID]:
        """Return the person and the identity by which the provider knows them; link or make them if policy allows.

        Raises:
            AnswerRefused: if they are nobody here, or may not sign in. The transaction must not commit.
        """
        index = subject_index(self._index_key, tx.scope.tenant, provider.issuer, claims.subject)
        known = await store.find_identity(tx, index)
        if known is not None:
            person = await find_by_ref(tx, known.person)
            if person is None or not person.is_active:
                raise AnswerRefused("disabled", LoginFailure.ACCOUNT_DISABLED)  # noqa: EM101 - a fixed word
            return person, known.id
        # The address decides once, at the first sign-in; afterwards it is the subject alone.
        if not is_vouched_for(claims, provider.domains):
            raise AnswerRefused("domain", LoginFailure.UNKNOWN_PERSON)  # noqa: EM101 - a fixed word
        person, is_new = await self._by_address(tx, provider, claims)
        if await store.has_identity(tx, person.person, issuer=provider.issuer):
            # Somebody else got the address at the provider: the account is not theirs.
            raise AnswerRefused("subject_changed")  # noqa: EM101 - a fixed word
        identity = new_id()
        await store.link(
            tx, identity, issuer=provider.issuer, subject_index=index, person=person.person, now=tx.clock()
        )
        await self._record_link(tx, person, identity, provider, claims, index)
        return person if is_new else await self._begin_anew(tx, person), identity

    async def give_roles(self, tx: Transaction, provider: Provider, claims: Claims, person: PersonRow) -> None:
        """Make the person's grants by claims those that the claims give now; grants by people stay as they are.

        Raises:
            AnswerRefused: if the tenant's last administrator would be gone. The transaction must not commit.
        """
        wanted: dict[tuple[UUID, UUID, bool], RoleRule] = {}
        for rule in matching_rules(provider, claims):
            role = await find_role(tx, rule.role_id)
            # Looked at again: the role may have been changed since the rule was made.
            if role is not None and (provider.makes_administrators or not is_administrators(role.capabilities)):
                wanted[rule.role_id, rule.org_unit, rule.subtree] = rule
        stale = [
            grant
            for grant in await store.grants_by_claims(tx, person.person)
            if wanted.pop((grant.role_id, grant.unit, grant.subtree), None) is None
        ]
        for rule in wanted.values():
            row = GrantRow(new_id(), person.person, rule.role_id, rule.org_unit, rule.subtree, expires_at=None)
            await assign(tx, row)
            await store.note_grant(tx, row.id, person.person)
        if not stale:
            return
        try:
            async with keeping_an_administrator(tx):
                for grant in stale:
                    await revoke(tx, grant.id)
        except LastAdministrator:
            raise AnswerRefused("last_administrator") from None  # noqa: EM101 - a fixed word

    async def unlink(self, tx: Transaction, person: PersonRow, *, reason: SessionEnd) -> int:
        """Forget who the person is at providers and end all of their sessions; return how many there were."""
        removed = await store.unlink(tx, person.person)
        for one in removed:
            unlinked = SsoUnlinked(
                identity_id=str(one.id), person=person.person, issuer=one.issuer, subject=one.subject_index.hex()
            )
            draft = EventDraft(unlinked, subject=person.person, org_unit=person.home_unit)
            await tx.append(f"sso-{one.id}", 1, [draft])
        if removed:
            await self._people.end_sessions(tx, person, reason=reason)
        return len(removed)

    async def _begin_anew(self, tx: Transaction, person: PersonRow) -> PersonRow:
        """Take off whatever was enrolled before: who made the account, or changed its address, may have enrolled it."""
        await self._factors.reset(tx, person, reason="the first sign-in by the provider")
        await erase_password(tx, person.person)
        return await find_by_ref(tx, person.person) or person

    async def _by_address(self, tx: Transaction, provider: Provider, claims: Claims) -> tuple[PersonRow, bool]:
        """Return who has the address, and whether they have been made just now."""
        try:
            email = email_address(claims.email or "")
        except InvalidEmailError:
            raise AnswerRefused("email", LoginFailure.UNKNOWN_PERSON) from None  # noqa: EM101 - a fixed word
        index = self._people.email_index(tx, email)
        person = await find_by_email(tx, index)
        if person is not None:
            return person, False
        if not provider.creates_accounts:
            raise AnswerRefused("unknown", LoginFailure.UNKNOWN_PERSON)  # noqa: EM101 - a fixed word
        try:
            name = display_name(claims.name or "")
        except InvalidNameError:
            name = display_name(email.partition("@")[0])
        try:
            (created,) = await self._people.create(tx, [Newcomer(email, name, tx.scope.root_unit)])
        except EmailTaken:
            # There is somebody with the address, and they are disabled.
            raise AnswerRefused("disabled", LoginFailure.ACCOUNT_DISABLED) from None  # noqa: EM101 - a fixed word
        made = await find_by_ref(tx, created.person)
        if made is None:
            msg = "a person who was just created is not there"
            raise RuntimeError(msg)
        return made, True

    async def _record_link(  # noqa: PLR0917 - one event's whole content
        self, tx: Transaction, person: PersonRow, identity: UUID, provider: Provider, claims: Claims, index: bytes
    ) -> None:
        event_id = new_id()
        sealed = await self._sealer.for_person(
            tx, PersonRef(person.person), event_id=event_id, field="sub", value=claims.subject
        )
        linked = SsoLinked(
            identity_id=str(identity), person=person.person, issuer=provider.issuer, subject=index.hex(), sub=sealed
        )
        draft = EventDraft(linked, id=event_id, subject=person.person, org_unit=person.home_unit)
        await tx.append(f"sso-{identity}", 0, [draft])


async def end_sessions_at(
    tx: Transaction,
    issuer: str,
    *,
    reason: SessionEnd,
    subject: bytes | None = None,
    session: bytes | None = None,
) -> int:
    """End the live sessions that a provider vouched for; return how many."""
    found = await store.sessions_at(tx, issuer, now=tx.clock(), subject=subject, session=session)
    for ref in found:
        one = await find_session(tx, ref)
        if one is not None:
            await end_session(tx, one, reason=reason)
    return len(found)
