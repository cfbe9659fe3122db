"""Ask for a link and use one.

Asking does the same work and says the same for a known address, an unknown one, and a tenant that does not exist. No
secret is made here: the worker makes it as it sends the mail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec
from nacl.public import PublicKey, SealedBox
from tallystick_chassis.budgets import LINK_RECIPIENT
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
from tallystick_identity.sign_in.domain import LIFETIME, LinkId, judge, secret_hash
from tallystick_identity.tenants.store import slug_of

if TYPE_CHECKING:
    from tallystick_chassis.rate_limits import RateLimiter, Spent
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.generated.common import Sealed

    from tallystick_identity.people.store import PersonRow
    from tallystick_identity.request_edge import Origin
    from tallystick_identity.sessions.commands import Credentials, Sessions

NO_TENANT: Final = TenantId(UUID("00000000-0000-4000-8000-000000000000"))
"""Under this id requests for tenants that do not exist are stored, until they are pruned like the others."""

# A public key whose private half nobody knows (the base point), for work that must take its time and leaves nothing.
_NOBODY: Final = SealedBox(PublicKey(bytes([9]) + bytes(31)))


ASK_ROUTE: Final = "POST /api/v1/auth/login"


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a request for a link: the nonce that binds it to the browser, or the budget that is spent."""

    nonce: str | None
    over: tuple[Spent, ...]


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A link was good: who it was, and what the browser is given."""

    person: str
    credentials: Credentials


class SignIn:
    """The commands of sign-in, with what they need."""

    def __init__(self, *, sealer: Sealer, sessions: Sessions, blind_index_key: bytes, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self._sealer = sealer
        self._sessions = sessions
        self._blind_index_key = blind_index_key

    async def ask(self, tx: Transaction, *, email: str, origin: Origin) -> Asked:
        """Store a request for a link, unless the address has had its three of the hour.

        Counted alike for an address that nobody has, in a tenant that does not exist too, so that it tells nothing.
        What is over the budget voids no earlier link.
        """
        index = blind_index(self._blind_index_key, tx.scope.tenant, email)
        spent = await self._limiter.count(tx, [Charge(LINK_RECIPIENT, index.hex())])
        over = [one for one in spent if one.is_over]
        if over:
            if await slug_of(tx) is not None:
                await record_exceeded(tx, self._sealer, over, route=ASK_ROUTE, address=origin.ip)
            return Asked(None, tuple(over))
        nonce = new_secret()
        event_id = new_id()
        now = tx.clock()
        await store.insert_request(
            tx,
            store.NewRequest(
                id=new_id(),
                email_index=index,
                nonce_hash=secret_hash(nonce),
                event_id=event_id,
                sealed_email=await self._sealed(tx, event_id, "email", email),
                sealed_ip=await self._sealed(tx, event_id, "ip", origin.ip),
                created_at=now,
                expires_at=now + LIFETIME,
            ),
        )
        return Asked(nonce, ())

    async def use(self, tx: Transaction, link: LinkId, *, token: str, nonce: str, origin: Origin) -> SignedIn | None:
        """Use a link once; ``None`` when it is refused, for a reason that only the record knows.

        The request's row is locked first, so of two at once exactly one wins.
        """
        now = tx.clock()
        request, links = await store.find_locked(tx, link.request)
        refusal = judge(request, links, token_hash=secret_hash(token), nonce_hash=secret_hash(nonce), now=now)
        person = None
        if request is not None and request.person is not None:
            person = await find_by_ref(tx, request.person)
        if refusal is None and (person is None or not person.is_active):
            refusal = MagicLinkRejection.UNKNOWN
        if refusal is not None or person is None:
            known = None if request is None else link
            await self._record_refusal(tx, known, refusal or MagicLinkRejection.UNKNOWN, origin)
            return None
        await store.consume(tx, link.request, now=now)
        await self._record_use(tx, link, person, origin)
        credentials = await self._sessions.open(tx, person, amr=MAGIC_LINK, origin=origin)
        return SignedIn(person.person, credentials)

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
