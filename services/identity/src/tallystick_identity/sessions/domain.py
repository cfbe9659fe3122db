"""The rules of a session: how long it lives, and what a refresh secret does to it."""

from __future__ import annotations

import base64
import enum
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from tallystick_chassis.ids import TenantId

TOKEN_LIFETIME: Final = timedelta(minutes=5)
IDLE_LIMIT: Final = timedelta(minutes=30)
ABSOLUTE_LIMIT: Final = timedelta(hours=12)
GRACE: Final = timedelta(seconds=10)
"""How long the secret before the newest still gets the newest: the answer that carried it may have been lost."""

_UUID_BYTES = 16
_LOCATOR_BYTES = 2 * _UUID_BYTES


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a session came from: an identity at the tenant's provider, and the hash of the provider's own session."""

    identity: UUID
    session: bytes | None


@dataclass(frozen=True, slots=True)
class Session:
    """A session as stored. ``refresh_hash`` is of the newest secret, ``previous_hash`` of the one before.

    ``proved_at`` is when its person proved to a provider who they are, where that was not when it was opened.
    """

    id: UUID
    person: str
    session_ref: str
    token_version: int
    amr: tuple[str, ...]
    refresh_hash: bytes
    previous_hash: bytes | None
    refreshed_at: datetime
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    label_ciphertext: bytes | None = None
    upstream: Upstream | None = None
    proved_at: datetime | None = None

    @property
    def auth_time(self) -> int:
        """When the person last proved who they are, in seconds since 1970."""
        return int((self.proved_at or self.created_at).timestamp())


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a session lasts without a refresh, and at all."""

    idle: timedelta = IDLE_LIMIT
    absolute: timedelta = ABSOLUTE_LIMIT


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh cookie's value, read: which session of which tenant, and the secret."""

    tenant: TenantId
    session: UUID
    secret: str

    def __str__(self) -> str:
        """Return the cookie's value."""
        locator = base64.urlsafe_b64encode(self.tenant.bytes + self.session.bytes).rstrip(b"=").decode()
        return f"{locator}.{self.secret}"


class Verdict(enum.Enum):
    """What becomes of a session when somebody presents a refresh secret."""

    ROTATE = "rotate"
    REPEAT = "repeat"  # within the grace: the same successor once more
    REUSED = "reused"  # an older secret came back: one of its two holders is a thief
    OVER = "over"


def parse_refresh_token(text: str) -> RefreshToken | None:
    """Read what ``str(RefreshToken)`` wrote; ``None`` for anything else."""
    locator, _, secret = text.partition(".")
    try:
        raw = base64.b64decode(locator + "=" * (-len(locator) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    if len(raw) != _LOCATOR_BYTES or not secret:
        return None
    return RefreshToken(TenantId(UUID(bytes=raw[:_UUID_BYTES])), UUID(bytes=raw[_UUID_BYTES:]), secret)


def successor(key: bytes, session: UUID, secret: str) -> str:
    """Return the secret that follows ``secret``: 256 bits that need both it and the server's key.

    It is derived, not drawn, so that a request whose answer was lost gets the same one again.
    """
    mac = hmac.digest(key, b"tallystick refresh v1\x00" + session.bytes + secret.encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def ends_at(session: Session, *, idle: timedelta = IDLE_LIMIT) -> datetime:
    """Return when the session is over if nobody refreshes it before."""
    return min(session.expires_at, session.refreshed_at + idle)


def is_live(session: Session, *, now: datetime, idle: timedelta = IDLE_LIMIT) -> bool:
    """Say whether the session has not ended, nor idled too long, nor reached its end."""
    return session.ended_at is None and now < ends_at(session, idle=idle)


def judge_refresh(
    session: Session, secret_hash: bytes, *, token_version: int, now: datetime, idle: timedelta = IDLE_LIMIT
) -> Verdict:
    """Decide what a presented secret does. ``token_version`` is the person's present one.

    The session's id stands in no token but the refresh cookie, so a wrong secret beside it is an old one.
    """
    if not is_live(session, now=now, idle=idle) or session.token_version != token_version:
        return Verdict.OVER
    if hmac.compare_digest(session.refresh_hash, secret_hash):
        return Verdict.ROTATE
    within_grace = now < session.refreshed_at + GRACE
    if session.previous_hash and hmac.compare_digest(session.previous_hash, secret_hash) and within_grace:
        return Verdict.REPEAT
    return Verdict.REUSED
