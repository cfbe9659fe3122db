"""What a passkey is made for, what a browser answers, and what is kept of it.

User verification is always asked for and always checked, so that a passkey is two factors: the device, and the PIN or
biometric that opened it. What an answer is worth is judged in `ceremony_checks`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID

CHALLENGE_BYTES: Final = 32
ALGORITHMS: Final = (-7, -8, -257)
"""ECDSA with SHA-256, EdDSA, RSASSA-PKCS1-v1_5 with SHA-256 (IANA, COSE Algorithms)."""
MAX_CREDENTIAL_ID_BYTES: Final = 1_023  # WebAuthn §4


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whom passkeys are made for: ``id`` is a host name, ``origins`` those of the pages that may ask."""

    id: str
    name: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a browser answers to ``navigator.credentials.create()``."""

    id: str
    raw_id: bytes
    client_data: bytes
    attestation_object: bytes


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a browser answers to ``navigator.credentials.get()``."""

    id: str
    raw_id: bytes
    client_data: bytes
    authenticator_data: bytes
    signature: bytes
    user_handle: bytes | None


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential that was made: its id, its public key (COSE), and where its counter stands."""

    id: bytes
    public_key: bytes
    sign_count: int


def user_handle(key: bytes, tenant: UUID, person: str) -> bytes:
    """Return the 32 bytes by which authenticators know a person: they say nothing without the server's key."""
    return hmac.digest(key, b"tallystick passkey v1\x00" + tenant.bytes + person.encode(), "sha256")


def went_back(*, stored: int, shown: int) -> bool:
    """Say whether the counter did not go on (§7.2 step 21); one that stays at zero counts nothing."""
    return (stored > 0 or shown > 0) and shown <= stored
