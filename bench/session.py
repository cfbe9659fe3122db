"""What the measures of routes share: one person's session, and identity's answers about it."""

from typing import Final
from uuid import uuid4

from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.authentication import SESSION_COOKIE
from tallystick_chassis.http.epochs import Announcement, encode_announcement
from tallystick_chassis.http.introspection import Grant, Introspection
from tallystick_chassis.http.tokens import TokenSigner
from tallystick_chassis.ids import TenantId
from tallystick_contracts.capabilities import Capability

ANNOUNCE_S: Final = 0.5
_PERSON: Final = "p_0123456789abcdefghijkl"
_SESSION: Final = "s_0123456789abcdefghijkl"


class Identity:
    """Identity's answer about the one session there is; stands where the client of services does."""

    def __init__(self, tenant: TenantId) -> None:
        self._known = Introspection(
            active=True,
            tenant=tenant,
            person=_PERSON,
            session=_SESSION,
            home_unit=tenant,
            grants=(Grant(uuid4(), (Capability.LEDGER_READ.value,), (tenant,)),),
        )

    async def call(self, *_: object, **__: object) -> Introspection:
        """Answer any question."""
        return self._known

    async def close(self) -> None:
        """Close nothing."""


def session_cookie(jwks: bytes, tenant: TenantId) -> str:
    """Return the cookie of the session, signed with identity's private keys."""
    token = TokenSigner(jwks, clock=utc_now).issue_session(
        person=_PERSON,
        tenant=tenant,
        session=_SESSION,
        role_ids=(),
        token_version=1,
        amr=("otp",),
        auth_time=int(utc_now().timestamp()),
    )
    return f"{SESSION_COOKIE}={token}"


def announcement() -> bytes:
    """Return what identity says twice a second while nothing changes."""
    return encode_announcement(Announcement(utc_now().timestamp(), 0, 0))
