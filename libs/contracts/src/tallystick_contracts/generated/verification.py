"""The `verification` messages. Generated from proto/tallystick/verification; run `make proto`."""

import enum
from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import StoreErasure
from tallystick_contracts.message import EventData, EventType, LogKind, PiiClass


class VerificationResult(enum.Enum):
    """What a verifier was told."""

    UNSPECIFIED = "VERIFICATION_RESULT_UNSPECIFIED"
    VALID = "VERIFICATION_RESULT_VALID"
    REVOKED = "VERIFICATION_RESULT_REVOKED"
    NOT_CONFIRMED = "VERIFICATION_RESULT_NOT_CONFIRMED"


class CertificateVerified(EventData, frozen=True, kw_only=True):
    """A certificate was looked up; nothing about who asked is recorded."""

    # P0.
    result: VerificationResult = VerificationResult.UNSPECIFIED
    # P1. The public reference, where one was found and the look-up was sampled.
    reference: str | None = None


class ErasureReceiptGiven(EventData, frozen=True, kw_only=True):
    """The service destroyed what it held about a person and says what each of its stores reported."""

    # P1. The erasure job.
    job_id: str = msgspec.field(name="jobId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. What each store of this service reports.
    stores: tuple[StoreErasure, ...] = ()


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        type="verification.certificate.verified",
        version=1,
        service="verification",
        aggregate="certificate",
        verb="verified",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=6003,
        ocsf_activity=2,
        ocsf_status="",
        summary="A certificate was looked up; nothing about who asked is recorded.",
        struct=CertificateVerified,
        pii=MappingProxyType({"result": PiiClass.P0, "reference": PiiClass.P1}),
    ),
    EventType(
        type="verification.erasure_receipt.given",
        version=1,
        service="verification",
        aggregate="erasure_receipt",
        verb="given",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=7,
        ocsf_status="Success",
        summary="The service destroyed what it held about a person and says what each of its stores reported.",
        struct=ErasureReceiptGiven,
        pii=MappingProxyType(
            {
                "job_id": PiiClass.P1,
                "person": PiiClass.P1,
                "stores.name": PiiClass.P0,
                "stores.items": PiiClass.P0,
                "stores.outcome": PiiClass.P0,
            }
        ),
    ),
)
