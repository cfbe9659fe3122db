"""What a service key looks like, what it may hold, and how long it lasts."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from tallystick_chassis.ids import SERVICE_KEY_PREFIX, TenantId
from tallystick_contracts.capabilities import GRANTABLE_CAPABILITIES, Capability

MAX_LIFETIME: Final = timedelta(days=366)
PREFIX_CHARS: Final = 12
KEY_CAPABILITIES: Final = GRANTABLE_CAPABILITIES - {
    Capability.GRANTS_WRITE,
    Capability.ROLES_WRITE,
    Capability.SERVICE_KEYS_WRITE,
}
"""A key that leaks must not be able to make others, or to give its holder a role."""

_UUID_BYTES = 16
_LOCATOR_BYTES = 2 * _UUID_BYTES


@dataclass(frozen=True, slots=True)
class KeyToken:
    """A service key, read: which key of which tenant, and the secret. The key's id comes first: it tells keys apart."""

    tenant: TenantId
    id: UUID
    secret: str

    def __str__(self) -> str:
        """Return the key as its holder sends it."""
        locator = base64.urlsafe_b64encode(self.id.bytes + self.tenant.bytes).rstrip(b"=").decode()
        return f"{SERVICE_KEY_PREFIX}{locator}.{self.secret}"

    @property
    def prefix(self) -> str:
        """What may be shown of it."""
        return str(self)[:PREFIX_CHARS]


def parse_key(text: str) -> KeyToken | None:
    """Read what ``str(KeyToken)`` wrote; ``None`` for anything else."""
    locator, _, secret = text.removeprefix(SERVICE_KEY_PREFIX).partition(".")
    try:
        raw = base64.b64decode(locator + "=" * (-len(locator) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    if not text.startswith(SERVICE_KEY_PREFIX) or len(raw) != _LOCATOR_BYTES or not secret:
        return None
    return KeyToken(TenantId(UUID(bytes=raw[_UUID_BYTES:])), UUID(bytes=raw[:_UUID_BYTES]), secret)
