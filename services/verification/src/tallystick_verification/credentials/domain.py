"""What a verifier is told: a decision over the public half of one certificate, at one moment. Pure."""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Self
from uuid import UUID

import msgspec
from tallystick_contracts.generated.assessment import CredentialPublished


class Status(enum.StrEnum):
    """The three answers; there is no fourth (requirement EV-64)."""

    VALID = "valid"
    REVOKED = "revoked"
    CANNOT_BE_CONFIRMED = "cannot_be_confirmed"


class ProofState(enum.StrEnum):
    """How far the ledger's proof has come: not had yet; had and checked; had, and it does not hold."""

    PENDING = "pending"
    VERIFIED = "verified"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published of a certificate, by the event ``event_id``. No part of it names a person."""

    event_id: UUID
    reference: str
    commitment: str
    credential_type: str
    issuer: str
    issued_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, event_id: UUID, data: CredentialPublished) -> Self:
        """Return the event's publication.

        Raises:
            ValueError: if a part is missing or a time is none.
        """
        if not (data.reference and data.commitment and data.credential_type and data.issuer):
            message = "a published credential lacks its reference, commitment, type or issuer"
            raise ValueError(message)
        return cls(
            event_id=event_id,
            reference=data.reference,
            commitment=data.commitment,
            credential_type=data.credential_type,
            issuer=data.issuer,
            issued_at=moment(data.issued_at),
            expires_at=None if data.expires_at is None else moment(data.expires_at),
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """The ledger's entry of the publication, checked: the line and the proof file, verbatim, and where they stand."""

    line: bytes
    proof: bytes
    log: str
    entry: int
    tree_size: int


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a look-up found. ``as_of`` is when this service last held all that its tenant's assessment had published."""

    credential_type: str
    issuer: str
    issued_at: datetime
    expires_at: datetime | None
    withdrawn_at: datetime | None
    proof_state: ProofState
    evidence: Evidence | None
    as_of: datetime | None


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """What backs the answer: the entry in the ledger's log, and how fresh the answer is (``as_of``)."""

    proof: ProofState
    log: str | None
    entry: int | None
    tree_size: int | None
    as_of: datetime | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly what a verifier learns (requirement EV-64). Every field is always there; ``null`` says nothing."""

    status: Status
    credential_type: str | None = None
    issuer: str | None = None
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    integrity: Integrity | None = None


def reference_of(token: str) -> str:
    """Return the public reference of the token in a holder's link: base64url of its SHA-256, without padding."""
    digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def moment(text: str) -> datetime:
    """Read an RFC 3339 time.

    Raises:
        ValueError: if it is none, or has no zone.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        message = "a time without a zone names no moment"
        raise ValueError(message)
    return time


def is_expired(certificate: Certificate, now: datetime) -> bool:
    """Say whether the certificate's time is over."""
    return certificate.expires_at is not None and certificate.expires_at <= now


def status_of(certificate: Certificate | None, now: datetime) -> Status:
    """Decide the answer. A withdrawal outweighs everything; otherwise whatever is in doubt is not confirmed."""
    if certificate is None:
        return Status.CANNOT_BE_CONFIRMED
    if certificate.withdrawn_at is not None:
        return Status.REVOKED
    if certificate.proof_state is ProofState.REFUSED or is_expired(certificate, now):
        return Status.CANNOT_BE_CONFIRMED
    return Status.VALID


def answer_for(certificate: Certificate | None, now: datetime) -> Answer:
    """Return what the verifier is told; of a certificate that the ledger contradicts, nothing but that."""
    status = status_of(certificate, now)
    if certificate is None:
        return Answer(status=status)
    evidence = certificate.evidence
    integrity = Integrity(
        proof=certificate.proof_state,
        log=evidence.log if evidence else None,
        entry=evidence.entry if evidence else None,
        tree_size=evidence.tree_size if evidence else None,
        as_of=certificate.as_of,
    )
    if certificate.proof_state is ProofState.REFUSED and status is Status.CANNOT_BE_CONFIRMED:
        return Answer(status=status, integrity=integrity)
    return Answer(
        status=status,
        credential_type=certificate.credential_type,
        issuer=certificate.issuer,
        issued_at=certificate.issued_at,
        expires_at=certificate.expires_at,
        integrity=integrity,
    )
