"""The rules of a magic link: single use, ten minutes, one browser, the newest request only (AC-06, X-02, X-03)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from tallystick_chassis.ids import TenantId
from tallystick_contracts.generated.identity import MagicLinkRejection

if TYPE_CHECKING:
    from collections.abc import Collection

LIFETIME = timedelta(minutes=10)
_UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class LinkId:
    """What a link and a form name: the request and the tenant it belongs to."""

    tenant: TenantId
    request: UUID

    def __str__(self) -> str:
        """Return 43 URL-safe characters."""
        return base64.urlsafe_b64encode(self.tenant.bytes + self.request.bytes).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """A stored request for a link; ``nonce_hash`` is of the cookie given to the browser that asked."""

    id: UUID
    nonce_hash: bytes
    expires_at: datetime
    person: str | None
    superseded_at: datetime | None
    consumed_at: datetime | None


def secret_hash(secret: str) -> bytes:
    """Return the SHA-256 of a secret of at least 128 random bits: what is stored in its stead."""
    return hashlib.sha256(secret.encode()).digest()


def parse_link_id(text: str) -> LinkId | None:
    """Read what ``str(LinkId)`` wrote; ``None`` for anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != 2 * _UUID_BYTES:
        return None
    link = LinkId(TenantId(UUID(bytes=raw[:_UUID_BYTES])), UUID(bytes=raw[_UUID_BYTES:]))
    return link if str(link) == text else None


def judge(
    request: LoginRequest | None,
    links: Collection[bytes],
    *,
    token_hash: bytes,
    nonce_hash: bytes,
    now: datetime,
) -> MagicLinkRejection | None:
    """Say why a link is refused, or ``None`` when it is good.

    ``links`` are the hashes of all secrets mailed for the request.
    """
    known = [one for one in links if hmac.compare_digest(one, token_hash)]
    if request is None or not known or request.person is None:
        return MagicLinkRejection.UNKNOWN
    if request.consumed_at is not None:
        return MagicLinkRejection.REPLAYED
    if request.superseded_at is not None or request.expires_at <= now:
        return MagicLinkRejection.EXPIRED
    if not hmac.compare_digest(request.nonce_hash, nonce_hash):
        return MagicLinkRejection.OTHER_BROWSER
    return None
