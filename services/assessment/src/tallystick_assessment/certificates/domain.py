"""A certificate's secret token, its public reference and its commitment, and who gets one."""

from base64 import urlsafe_b64encode
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec

from tallystick_assessment.canonical import canonical_json, salted_hash


class CertificateContent(msgspec.Struct, frozen=True):
    """What a certificate's commitment binds; shown to nobody but its holder."""

    certificate_id: UUID
    person: str
    submission_id: UUID
    score_version: int
    credential_type: str
    issuer: str
    issued_at: str

    def commitment(self, salt: bytes) -> str:
        """Return SHA-256(salt ‖ canonical content), hexadecimal; ``salt`` is 32 random bytes."""
        return salted_hash(salt, canonical_json(self))


def reference_of(token: str) -> str:
    """Return the public reference of a token: base64url of its SHA-256, 43 characters."""
    return urlsafe_b64encode(sha256(token.encode()).digest()).decode().rstrip("=")


def issued_on(now: datetime) -> str:
    """Return the day of issue as RFC 3339, midnight UTC.

    A day and no more: the public entry repeats it, and a time to the second would lead back to the private entry.
    """
    return f"{now:%Y-%m-%d}T00:00:00Z"
