"""The rules of second factors: one-time codes of the moment, each good once (RFC 6238), and recovery codes."""

from __future__ import annotations

import base64
import enum
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import pyotp

if TYPE_CHECKING:
    from collections.abc import Sequence

MULTI_FACTOR: Final = "mfa"
"""The ``amr`` value (RFC 8176) of a session that has shown two factors."""

STEP_S: Final = 30
_CODE_BYTES: Final = 15  # 120 bits, 24 characters of base32; a fast keyed hash may store what has 112 (ASVS 6.5.2)
RECOVERY_BYTES: Final = 10 * _CODE_BYTES
_GROUP: Final = 4
_MAX_LABEL: Final = 60


class Kind(enum.StrEnum):
    """What a second factor is."""

    TOTP = "totp"
    PASSKEY = "passkey"


class Need(enum.StrEnum):
    """What a session with one factor must do before anything else."""

    SHOW = "show"
    ENROL = "enrol"


@dataclass(frozen=True, slots=True)
class Factor:
    """A stored factor. ``last_step`` is the newest time step whose code was used; pending until ``active_at``."""

    id: UUID
    person: str
    kind: Kind
    label_ciphertext: bytes | None
    seed_ciphertext: bytes | None
    codes_ciphertext: bytes | None
    last_step: int
    challenge: bytes | None
    credential_id: bytes | None
    public_key: bytes | None
    sign_count: int
    created_at: datetime
    active_at: datetime | None


def needed(*, has_factor: bool, is_staff: bool, amr: Sequence[str]) -> Need | None:
    """Say what a session with ``amr`` lacks: whoever has a second factor shows it; staff must have one (X-01)."""
    if MULTI_FACTOR in amr or not (has_factor or is_staff):
        return None
    return Need.SHOW if has_factor else Need.ENROL


def new_seed() -> str:
    """Return a fresh seed: 160 bits in base32, as RFC 4226 §4 recommends."""
    return pyotp.random_base32()


def provisioning_uri(seed: str, *, issuer: str, account: str) -> str:
    """Return the ``otpauth://`` address that authenticators read: what the app calls its entry, and the seed.

    ``issuer`` is the organisation as people call it, ``account`` the person's own address there. A colon parts the two
    and may stand in neither; what is empty gets a word, and a long name is cut, since it makes the QR code finer.
    """
    label = [" ".join(text.replace(":", " ").split())[:_MAX_LABEL] for text in (issuer, account)]
    return pyotp.TOTP(seed).provisioning_uri(name=label[1] or "account", issuer_name=label[0] or "Tallystick")


def accepted_step(seed: str, code: str, *, last_step: int, now: datetime) -> int | None:
    """Return the present time step, if ``code`` is its code and no code of it was used before (ADR 62)."""
    step = int(now.timestamp()) // STEP_S
    is_right = hmac.compare_digest(pyotp.TOTP(seed).generate_otp(step).encode(), code.encode())
    return step if is_right and step > last_step else None


def recovery_codes(random_bytes: bytes) -> tuple[str, ...]:
    """Return ten codes of 120 bits each, in groups of four characters, made of RECOVERY_BYTES random bytes."""
    parts = (random_bytes[start : start + _CODE_BYTES] for start in range(0, RECOVERY_BYTES, _CODE_BYTES))
    texts = (base64.b32encode(part).decode().lower() for part in parts)
    return tuple("-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP)) for text in texts)


def recovery_hash(key: bytes, factor: UUID, code: str) -> bytes:
    """Return what is stored of a recovery code: 32 bytes that need the server's key. Case and hyphens do not count."""
    plain = "".join(code.split()).replace("-", "").lower()
    return hmac.digest(key, b"tallystick recovery v1\x00" + factor.bytes + plain.encode(), "sha256")
