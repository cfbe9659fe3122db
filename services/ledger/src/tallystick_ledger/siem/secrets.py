"""What a destination's receiver checks by: a secret shared with it, and what it wants in ``Authorization``.

Batches are signed as Standard Webhooks has it (HMAC-SHA256 over id, time and body). At rest the secret lies wrapped
under a key-encryption key, bound to tenant, destination and address: a row that somebody points elsewhere does not
open, so nothing is sent there.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.keystore import KeyWrap

_KEY_BYTES: Final = 32
_PREFIX: Final = "whsec_"


class Wrapped(NamedTuple):
    """A secret at rest."""

    secret: bytes
    epoch: str


@dataclass(frozen=True, slots=True)
class Secret:
    """The signing key (32 bytes) and the value of ``Authorization``, if the receiver wants one."""

    key: bytes = field(repr=False)
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def new(cls, authorization: str | None) -> Secret:
        """Make a new key."""
        return cls(secrets.token_bytes(_KEY_BYTES), authorization)

    @property
    def shown(self) -> str:
        """The signing key as Standard Webhooks writes it: what the receiver is configured with."""
        return _PREFIX + base64.b64encode(self.key).decode()

    def sign(self, message_id: str, timestamp_s: int, body: bytes) -> str:
        """Return the value of ``webhook-signature``."""
        digest = hmac.new(self.key, b"%s.%d." % (message_id.encode(), timestamp_s) + body, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(digest).decode()}"


class SecretBox:
    """Wraps and opens secrets."""

    def __init__(self, wrap: KeyWrap) -> None:
        self._wrap = wrap

    @property
    def epoch(self) -> str:
        """The epoch under which secrets are wrapped now."""
        return self._wrap.epoch

    def close(self, secret: Secret, *, tenant: TenantId, destination: UUID, address: str) -> Wrapped:
        """Return the secret as it may be stored."""
        epoch, plain = self._wrap.epoch, secret.key + (secret.authorization or "").encode()
        subject = _subject(destination, address)
        return Wrapped(self._wrap.wrap_under(epoch, plain, tenant=tenant, subject=subject), epoch)

    def open(self, wrapped: Wrapped, *, tenant: TenantId, destination: UUID, address: str) -> Secret:
        """Return the secret of a destination.

        Raises:
            KeyStoreError: the key is gone, or this is another destination's or address's secret.
        """
        subject = _subject(destination, address)
        plain = self._wrap.unwrap(wrapped.secret, epoch=wrapped.epoch, tenant=tenant, subject=subject)
        return Secret(plain[:_KEY_BYTES], plain[_KEY_BYTES:].decode() or None)


def _subject(destination: UUID, address: str) -> str:
    return f"siem|{destination}|{address}"
