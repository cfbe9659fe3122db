"""Ask for a link and use one, or the code that was mailed with it.

Asking does the same work and says the same for a known address, an unknown one, and a tenant that does not exist. No
secret is made here: the worker makes it as it sends the mail.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from nacl.public import PublicKey, SealedBox
from tallystick_chassis.budgets import CODE_ACCOUNT, LINK_RECIPIENT, RESET_RECIPIENT
from tallystick_chassis.http.route_limits import record_exceeded
from tallystick_chassis.ids import TenantId, new_id, new_secret
from tallystick_chassis.rate_limits import Charge
from tallystick_chassis.sealing import TenantKeyMissing
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import MagicLinkConsumed, MagicLinkRejected, MagicLinkRejection

from tallystick_identity.people.domain import blind_index
from tallystick_identity.people.store import find_by_ref
from tallystick_identity.sessions.commands import MAGIC_LINK
from tallystick_identity.sign_in import store
from tallystick_identity.sign_in.domain import (
    LIFETIME,
    Binding,
    LinkId,
    LoginRequest,
    Purpose,
    Shown,
    code_hash,
    judge,
    secret_hash,
)
from tallystick_identity.tenants.store import slug_of

if TYPE_CHECKING:
    from tallystick_chassis.rate_limits import RateLimiter, Spent
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.generated.common import Sealed

    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin
    from tallystick_identity.sessions.commands import Credentials, Sessions


def nobodys_tenant(key: bytes, slug: str) -> TenantId:
    """Return the id under which requests for a tenant that does not exist are stored, until they are pruned.

    It looks like any tenant's, for it stands in the browser's cookie, and every made-up name has its own: with one id
    for all of them the cookie, or the budgets that they share, would tell which names are tenants.
    """
    digest = hmac.digest(key, b"tallystick no tenant v1\x00" + slug.encode(), "sha256")
    return TenantId(UUID(bytes=digest[:16], version=4))


# A public key whose private half nobody knows (the base point), for work that must take its time and leaves nothing.
_NOBODY: Final = SealedBox(PublicKey(bytes([9]) + bytes(31)))


ASK_ROUTE: Final = "POST /api/v1/auth/login"


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a request for a link: the cookie that binds it to the browser, or the budget that is spent."""

    binding: Binding | None
    over: tuple[Spent, ...]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A proof was good: who it was, and what the browser is given."""

    person: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Presented:
    """What a browser presents: the nonce of its cookie, the link's secret, the typed code; whatever it has."""

    nonce: str | None = None
    token: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is presented is good; the request's row is locked until the transaction ends, and not used yet."""

    request: LoginRequest
    person: PersonRow


class SignIn:
    """The commands of sign-in by mail, with what they need. ``code_key`` is 32 bytes."""

    def __init__(self, *, sealer: Sealer, sessions: Sessions, blind_index_key: bytes, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self._sealer = sealer
        self._sessions = sessions
        self._blind_index_key = blind_index_key

    async def ask(self, tx: Transaction, *, email: str, origin: Origin, purpose: Purpose = Purpose.SIGN_IN) -> Asked:
        """Store a request for a link, unless the address has had its three of the hour.

        Counted alike for an address that nobody has, in a tenant that does not exist too, so that it tells nothing.
        What is over the budget voids no earlier link.
        """
        index = blind_index(self._blind_index_key, tx.scope.tenant, email)
        budget = LINK_RECIPIENT if purpose is Purpose.SIGN_IN else RESET_RECIPIENT
        spent = await self._limiter.count(tx, [Charge(budget, index.hex())])
        over = [one for one in spent if one.is_over]
        if over:
            if await slug_of(tx) is not None:
                await record_exceeded(tx, self._sealer, over, route=ASK_ROUTE, address=origin.ip)
            return Asked(None, tuple(over))
        binding = Binding(LinkId(tx.scope.tenant, new_id()), new_secret())
        event_id = new_id()
        now = tx.clock()
        await store.insert_request(
            tx,
            store.NewRequest(
                id=binding.link.request,
                email_index=index,
                nonce_hash=secret_hash(binding.nonce),
                event_id=event_id,
                sealed_email=await self._sealed(tx, event_id, "email", email),
                sealed_ip=await self._sealed(tx, event_id, "ip", origin.ip),
                created_at=now,
                expires_at=now + LIFETIME,
                purpose=purpose,
            ),
        )
        return Asked(binding, ())

    async def use(
        self, tx: Transaction, link: LinkId, presented: Presented, *, origin: Origin
    ) -> SignedIn | MagicLinkRejection:
        """Use a link or its code once and open a session, or say why not; the refusal is recorded in ``tx``."""
        accepted = await self.check(tx, link, presented, origin=origin, purpose=Purpose.SIGN_IN)
        if isinstance(accepted, MagicLinkRejection):
            return accepted
        person = accepted.person
        await store.consume(tx, link.request, now=tx.clock())
        await self._record_use(tx, link, person, origin)
        credentials = await self._sessions.open(tx, person, amr=MAGIC_LINK, origin=origin)
        return SignedIn(person.person, credentials)

    async def check(
        self, tx: Transaction, link: LinkId, presented: Presented, *, origin: Origin, purpose: Purpose
    ) -> Accepted | MagicLinkRejection:
        """Judge what is presented and record a refusal; a wrong code is counted. Nothing is used up yet.

        The request's row is locked first, so of two at once exactly one wins.
        """
        request, mails = await store.find_locked(tx, link.request)
        if request is not None and request.purpose is not purpose:
            request = None
        shown = self._hashed(link, presented)
        refusal = judge(request, mails, replace(shown, code_hash=None), now=tx.clock())
        if request is not None and refusal is not None and shown.code_hash is not None:
            refusal = await self._count_code(tx, request, judge(request, mails, shown, now=tx.clock()))
        person = None
        if request is not None and request.person is not None:
            person = await find_by_ref(tx, request.person)
        if refusal is None and (person is None or not person.is_active):
            refusal = MagicLinkRejection.UNKNOWN
        if refusal is not None or person is None or request is None:
            reason = refusal or MagicLinkRejection.UNKNOWN
            await self._record_refusal(tx, None if request is None else link, reason, origin)
            return reason
        return Accepted(request, person)

    async def _count_code(
        self, tx: Transaction, request: LoginRequest, refusal: MagicLinkRejection | None
    ) -> MagicLinkRejection | None:
        """Count a code, for the account's day and, when it is wrong, for its request; a right one gives the day back.

        A code is judged while its request's row is locked, and an account has one such row: nobody tries two at once.
        """
        if refusal not in {None, MagicLinkRejection.WRONG_CODE}:
            return refusal
        charges = [Charge(CODE_ACCOUNT, request.email_index.hex())]
        (day,) = await self._limiter.count(tx, charges)
        if refusal is None and not day.is_over:
            await self._limiter.forget(tx, charges)
            return None
        await store.count_code(tx, request.id)
        return MagicLinkRejection.WRONG_CODE

    def _hashed(self, link: LinkId, presented: Presented) -> Shown:
        nonce, token, code = presented.nonce, presented.token, presented.code
        return Shown(
            nonce_hash=None if nonce is None else secret_hash(nonce),
            token_hash=None if token is None else secret_hash(token),
            code_hash=None if code is None else code_hash(self._blind_index_key, link.request, code),
        )

    async def _sealed(self, tx: Transaction, event_id: UUID, field: str, value: str) -> bytes | None:
        sealed = await self._seal(tx, event_id, field, value)
        return None if sealed is None else msgspec.json.encode(sealed)

    async def _seal(self, tx: Transaction, event_id: UUID, field: str, value: str) -> Sealed | None:
        try:
            return await self._sealer.for_tenant(tx, event_id=event_id, field=field, value=value)
        except TenantKeyMissing:
            # The tenant does not exist, or is seconds old: take as long as a box takes, and keep nothing.
            _NOBODY.encrypt(value.encode())
            return None

    async def _record_use(self, tx: Transaction, link: LinkId, person: PersonRow, origin: Origin) -> None:
        event_id = new_id()
        consumed = MagicLinkConsumed(
            request_id=str(link.request),
            person=person.person,
            ip=await self._sealer.for_person(tx, person.person, event_id=event_id, field="ip", value=origin.ip),
            user_agent=await self._sealer.for_person(
                tx, person.person, event_id=event_id, field="user_agent", value=origin.user_agent
            ),
        )
        await tx.append(
            f"magic_link-{link.request}",
            1,
            [EventDraft(consumed, id=event_id, subject=person.person, org_unit=person.home_unit)],
        )

    async def _record_refusal(
        self, tx: Transaction, link: LinkId | None, reason: MagicLinkRejection, origin: Origin
    ) -> None:
        if await slug_of(tx) is None:
            return  # a made-up link of no tenant: there is no log to write to
        event_id = new_id()
        rejected = MagicLinkRejected(
            request_id=None if link is None else str(link.request),
            reason=reason,
            ip=await self._seal(tx, event_id, "ip", origin.ip),
        )
        # A stream of its own: refusals of one link come at once and must not be in each other's way.
        await tx.append(f"magic_link_refusal-{event_id}", 0, [EventDraft(rejected, id=event_id)])
