"""The rules of a mailed link and its code: single use, ten minutes, one browser, the newest request only.

Rows AC-06, X-02 and X-03 of the requirements; what the code is for: ADR 46.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tallystick_chassis.ids import TenantId
from tallystick_contracts.generated.identity import MagicLinkRejection

if TYPE_CHECKING:
    from collections.abc import Collection

LIFETIME = timedelta(minutes=10)
MAX_CODE_TRIES: Final = 5
"""How many wrong codes a request bears; after them its code is void, and the link alone is good."""

CODE_DIGITS: Final = 6
_UUID_BYTES = 16


class Purpose(enum.StrEnum):
    """What a mailed link is for."""

    SIGN_IN = "sign_in"
    RESET = "reset"


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
    code_tries: int = 0
    purpose: Purpose = Purpose.SIGN_IN
    email_index: bytes = b""


@dataclass(frozen=True, slots=True)
class Mailed:
    """What is stored of one mail: the hashes of the link's secret and of the code."""

    token_hash: bytes
    code_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What a browser shows, hashed: its cookie's nonce, the link's secret, the typed code; whatever it has."""

    nonce_hash: bytes | None = None
    token_hash: bytes | None = None
    code_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """The cookie of a browser that asked: which request, and the nonce that nobody else has."""

    link: LinkId
    nonce: str

    def __str__(self) -> str:
        """Return the cookie's value."""
        return f"{self.link}.{self.nonce}"


def secret_hash(secret: str) -> bytes:
    """Return the SHA-256 of a secret of at least 128 random bits: what is stored in its stead."""
    return hashlib.sha256(secret.encode()).digest()


def code_hash(key: bytes, request: UUID, code: str) -> bytes:
    """Return what is stored of a code: 32 bytes that need the server's key, for six digits alone are soon guessed."""
    digits = "".join(code.split())
    return hmac.digest(key, b"tallystick mailed code v1\x00" + request.bytes + digits.encode(), "sha256")


def parse_binding(text: str) -> Binding | None:
    """Read what ``str(Binding)`` wrote; ``None`` for anything else."""
    locator, _, nonce = text.partition(".")
    link = parse_link_id(locator)
    return None if link is None or not nonce else Binding(link, nonce)


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


def judge(  # noqa: PLR0911 - a list of refusals in their order
    request: LoginRequest | None, mails: Collection[Mailed], shown: Shown, *, now: datetime
) -> MagicLinkRejection | None:
    """Say why what is shown is refused, or ``None`` when it is good.

    Good are: the link in the browser that asked; the code in the browser that asked; link and code together anywhere.
    An address that nobody has reads like a wrong code, so that guessing a code tells nothing about an address.
    """
    if request is None:
        return MagicLinkRejection.UNKNOWN
    is_own_browser = _is_one_of(shown.nonce_hash, [request.nonce_hash])
    has_link = _is_one_of(shown.token_hash, [mail.token_hash for mail in mails])
    if not has_link and (shown.token_hash is not None or not is_own_browser):
        return MagicLinkRejection.UNKNOWN
    if request.consumed_at is not None:
        return MagicLinkRejection.REPLAYED
    if request.superseded_at is not None or request.expires_at <= now:
        return MagicLinkRejection.EXPIRED
    if has_link and is_own_browser:
        return None
    if shown.code_hash is None:
        return MagicLinkRejection.OTHER_BROWSER
    codes = [mail.code_hash for mail in mails if mail.code_hash is not None]
    if request.code_tries >= MAX_CODE_TRIES or not _is_one_of(shown.code_hash, codes):
        return MagicLinkRejection.WRONG_CODE
    return None


def _is_one_of(shown: bytes | None, known: Collection[bytes]) -> bool:
    return shown is not None and any(hmac.compare_digest(shown, one) for one in known)
