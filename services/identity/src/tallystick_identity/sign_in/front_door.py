"""Sign-in by mail as one calls it, with or without HTTP: ask for a link, use the link, type the code.

Each call opens its own transactions. What is refused is recorded before it is raised, so the record stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_chassis.http.route_limits import refuse_if_over
from tallystick_contracts.generated.identity import MagicLinkRejection

from tallystick_identity.errors import CodeNotAccepted, CodeRequired, LinkNotAccepted
from tallystick_identity.sign_in.commands import Presented, SignedIn, SignIn, nobodys_tenant
from tallystick_identity.sign_in.domain import Purpose, parse_link_id
from tallystick_identity.tenants.store import tenant_by_slug

if TYPE_CHECKING:
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.ids import TenantId

    from tallystick_identity.request_edge import Visit
    from tallystick_identity.sign_in.domain import Binding, LinkId
    from tallystick_identity.sign_in.spray import SprayGuard


class FrontDoor:
    """What a person does before there is a session. ``slug_key`` is 32 bytes."""

    def __init__(
        self, *, database: Database, duty: DutyDatabase, sign_in: SignIn, spray: SprayGuard, slug_key: bytes
    ) -> None:
        self._database = database
        self._duty = duty
        self._sign_in = sign_in
        self._spray = spray
        self._slug_key = slug_key

    async def tenant(self, slug: str) -> TenantId:
        """Return the tenant of that slug, or one that does not exist, for which everything takes its usual time."""
        async with self._duty.duty() as connection:
            return await tenant_by_slug(connection, slug) or nobodys_tenant(self._slug_key, slug)

    async def ask(self, visit: Visit, *, slug: str, email: str, purpose: Purpose = Purpose.SIGN_IN) -> Binding:
        """Ask for a mail; return what binds it to this browser, whether anybody has the address or not.

        Raises:
            TooManyRequests: if the address has had its three mails of the hour.
        """
        async with self._database.transaction(visit.scope(await self.tenant(slug))) as tx:
            asked = await self._sign_in.ask(tx, email=email, origin=visit.origin, purpose=purpose)
        refuse_if_over(asked.over, now_of=self._database)
        if asked.binding is None:
            msg = "a request that is neither taken nor over its budget"
            raise RuntimeError(msg)
        return asked.binding

    async def follow_link(
        self, visit: Visit, *, request_id: str, token: str, code: str | None = None, binding: Binding | None = None
    ) -> SignedIn:
        """Use a link: in the browser that asked for it, or in another one together with its code.

        Raises:
            LinkNotAccepted: if it is unknown, used or too old.
            CodeRequired: if it is good and this is another browser; nothing is used up.
            CodeNotAccepted: if the link is good and the code is not.
            TooManyRequests: if a code comes with it and codes have failed too often.
        """
        link, presented = presented_link(request_id, token=token, code=code, binding=binding)
        return await self._use(visit, link, presented)

    async def type_code(self, visit: Visit, *, code: str, binding: Binding | None) -> SignedIn:
        """Use the code of a mail in the browser that asked for it.

        Raises:
            CodeNotAccepted: if it is wrong, used, too old, or was asked for elsewhere: one answer for all.
            TooManyRequests: if codes have failed too often.
        """
        if binding is None:
            await self._spray.refuse_if_spent(visit)
            raise CodeNotAccepted
        return await self._use(visit, binding.link, Presented(nonce=binding.nonce, code=code))

    async def _use(self, visit: Visit, link: LinkId, presented: Presented) -> SignedIn:
        if presented.code is not None:
            await self._spray.refuse_if_spent(visit)
        async with self._database.transaction(visit.scope(link.tenant)) as tx:
            signed_in = await self._sign_in.use(tx, link, presented, origin=visit.origin)
        if isinstance(signed_in, SignedIn):
            return signed_in
        if signed_in is MagicLinkRejection.WRONG_CODE:
            await self._spray.count(visit)
        raise refusal(signed_in, presented)


def presented_link(
    request_id: str, *, token: str, code: str | None, binding: Binding | None
) -> tuple[LinkId, Presented]:
    """Return which request a link names, and what is presented for it.

    Raises:
        LinkNotAccepted: if it names none.
    """
    link = parse_link_id(request_id)
    if link is None:
        raise LinkNotAccepted
    nonce = binding.nonce if binding is not None and binding.link == link else None
    return link, Presented(nonce=nonce, token=token, code=code)


def refusal(reason: MagicLinkRejection, presented: Presented) -> CodeNotAccepted | CodeRequired | LinkNotAccepted:
    """Return what is answered. Whoever has the link may know that it is good; whoever has a code alone, nothing."""
    if presented.token is None or reason is MagicLinkRejection.WRONG_CODE:
        return CodeNotAccepted()
    return CodeRequired() if reason is MagicLinkRejection.OTHER_BROWSER else LinkNotAccepted()
