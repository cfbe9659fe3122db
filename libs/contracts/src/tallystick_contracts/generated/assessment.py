"""The `assessment` messages. Generated from proto/tallystick/assessment; run `make proto`."""

import enum
from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import Sealed, StoreErasure
from tallystick_contracts.message import EventData, EventType, LogKind, Message, PiiClass, UInt32


class ItemType(enum.Enum):
    """How an item is answered and scored."""

    UNSPECIFIED = "ITEM_TYPE_UNSPECIFIED"
    SINGLE_CHOICE = "ITEM_TYPE_SINGLE_CHOICE"
    MULTIPLE_CHOICE = "ITEM_TYPE_MULTIPLE_CHOICE"
    TRUE_FALSE = "ITEM_TYPE_TRUE_FALSE"
    NUMERIC = "ITEM_TYPE_NUMERIC"
    SHORT_TEXT = "ITEM_TYPE_SHORT_TEXT"
    ORDERING = "ITEM_TYPE_ORDERING"
    MATCHING = "ITEM_TYPE_MATCHING"
    ESSAY = "ITEM_TYPE_ESSAY"


class ScoreCause(enum.Enum):
    """What made a score version."""

    UNSPECIFIED = "SCORE_CAUSE_UNSPECIFIED"
    AUTOMATIC = "SCORE_CAUSE_AUTOMATIC"
    REMEDIATION_APPLIED = "SCORE_CAUSE_REMEDIATION_APPLIED"
    REMEDIATION_REVERTED = "SCORE_CAUSE_REMEDIATION_REVERTED"


class QuestionRef(Message, frozen=True, kw_only=True):
    """One version of one question."""

    # P0.
    question_id: str = msgspec.field(name="questionId", default="")
    # P0.
    version: UInt32 = 0


class QuestionVersionPublished(EventData, frozen=True, kw_only=True):
    """A version of a question was published; it never changes."""

    # P0.
    question_id: str = msgspec.field(name="questionId", default="")
    # P0. The question's version.
    version: UInt32 = 0
    # P0.
    item_type: ItemType = msgspec.field(name="itemType", default=ItemType.UNSPECIFIED)
    # P0. Salted SHA-256 of the question with its key, hexadecimal.
    content_hash: str = msgspec.field(name="contentHash", default="")


class EvaluationVersionPublished(EventData, frozen=True, kw_only=True):
    """A version of an evaluation was published; it never changes."""

    # P0.
    evaluation_id: str = msgspec.field(name="evaluationId", default="")
    # P0. The evaluation's version.
    version: UInt32 = 0
    # P0. The evaluation's short name.
    slug: str = ""
    # P0. SHA-256 of the evaluation's canonical form, hexadecimal.
    content_hash: str = msgspec.field(name="contentHash", default="")
    # P0. Which version of which question, in order.
    question_refs: tuple[QuestionRef, ...] = msgspec.field(name="questionRefs", default=())
    # P0. 0 to 100.
    pass_mark_percent: UInt32 = msgspec.field(name="passMarkPercent", default=0)


class EvaluationReleased(EventData, frozen=True, kw_only=True):
    """An evaluation's paper, without its keys, was copied to an org unit."""

    # P0.
    evaluation_id: str = msgspec.field(name="evaluationId", default="")
    # P0. The evaluation's version.
    version: UInt32 = 0
    # P0.
    unit_id: str = msgspec.field(name="unitId", default="")


class AssignmentIssued(EventData, frozen=True, kw_only=True):
    """A person was assigned an evaluation."""

    # P1.
    assignment_id: str = msgspec.field(name="assignmentId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0.
    evaluation_id: str = msgspec.field(name="evaluationId", default="")
    # P0. The evaluation's version.
    version: UInt32 = 0


class AssignmentRevoked(EventData, frozen=True, kw_only=True):
    """An assignment was taken back."""

    # P1.
    assignment_id: str = msgspec.field(name="assignmentId", default="")
    # P1. The person's pseudonym.
    person: str = ""


class AttemptStarted(EventData, frozen=True, kw_only=True):
    """A person started an attempt."""

    # P1.
    attempt_id: str = msgspec.field(name="attemptId", default="")
    # P1.
    assignment_id: str = msgspec.field(name="assignmentId", default="")
    # P2. The caller's address.
    ip: Sealed | None = None
    # P2. The caller's user agent.
    user_agent: Sealed | None = msgspec.field(name="userAgent", default=None)


class AttemptAnswered(EventData, frozen=True, kw_only=True):
    """An answer was saved; its text stays in an encrypted side table."""

    # P1.
    attempt_id: str = msgspec.field(name="attemptId", default="")
    # P0.
    item_id: str = msgspec.field(name="itemId", default="")
    # P0. 1 for the first answer to the item in this attempt.
    revision: UInt32 = 0
    # P1. Salted SHA-256 of the answer, hexadecimal.
    answer_hash: str = msgspec.field(name="answerHash", default="")


class SubmissionFinalised(EventData, frozen=True, kw_only=True):
    """A person submitted; the versions it was taken under are frozen."""

    # P1.
    submission_id: str = msgspec.field(name="submissionId", default="")
    # P1.
    attempt_id: str = msgspec.field(name="attemptId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0.
    evaluation_id: str = msgspec.field(name="evaluationId", default="")
    # P0. The evaluation's version.
    version: UInt32 = 0
    # P0. SHA-256 of the version snapshot, hexadecimal.
    snapshot_hash: str = msgspec.field(name="snapshotHash", default="")
    # P1. SHA-256 over the salted answer hashes, hexadecimal.
    response_root: str = msgspec.field(name="responseRoot", default="")


class ScoreRecorded(EventData, frozen=True, kw_only=True):
    """A score version was recorded for a submission."""

    # P1.
    submission_id: str = msgspec.field(name="submissionId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. 1 for the automatic score; each change adds one.
    score_version: UInt32 = msgspec.field(name="scoreVersion", default=0)
    # P0.
    cause: ScoreCause = ScoreCause.UNSPECIFIED
    # P0. Set when a remediation is the cause.
    remediation_id: str | None = msgspec.field(name="remediationId", default=None)
    # P1. Points times 1,000.
    points_milli: UInt32 = msgspec.field(name="pointsMilli", default=0)
    # P0. Points to be had, times 1,000.
    max_points_milli: UInt32 = msgspec.field(name="maxPointsMilli", default=0)
    # P1.
    passed: bool = False


class RemediationProposed(EventData, frozen=True, kw_only=True):
    """A change of an item's key was proposed after a dry run."""

    # P0.
    remediation_id: str = msgspec.field(name="remediationId", default="")
    # P0.
    evaluation_id: str = msgspec.field(name="evaluationId", default="")
    # P0. The evaluation's version.
    version: UInt32 = 0
    # P0.
    item_id: str = msgspec.field(name="itemId", default="")
    # P0. Salted SHA-256 of the new key, hexadecimal.
    new_key_hash: str = msgspec.field(name="newKeyHash", default="")
    # P0. SHA-256 of the dry run's list of changes, hexadecimal.
    diff_hash: str = msgspec.field(name="diffHash", default="")
    # P0. Submissions whose points change.
    affected: UInt32 = 0
    # P0. Submissions that pass or fail otherwise than before.
    changed_pass: UInt32 = msgspec.field(name="changedPass", default=0)
    # P2. Why, sealed to the tenant's key of the day.
    reason: Sealed | None = None


class RemediationApplied(EventData, frozen=True, kw_only=True):
    """A remediation was applied as new score versions."""

    # P0.
    remediation_id: str = msgspec.field(name="remediationId", default="")
    # P0. 1 for the first time it is applied.
    application: UInt32 = 0
    # P0. Submissions that got a new score version.
    affected: UInt32 = 0


class RemediationReverted(EventData, frozen=True, kw_only=True):
    """A remediation was reverted as new score versions."""

    # P0.
    remediation_id: str = msgspec.field(name="remediationId", default="")
    # P0. The application that is reverted.
    application: UInt32 = 0
    # P0. Submissions that got a new score version.
    affected: UInt32 = 0


class CertificateIssued(EventData, frozen=True, kw_only=True):
    """A certificate was issued to a person who passed."""

    # P1.
    certificate_id: str = msgspec.field(name="certificateId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P1.
    submission_id: str = msgspec.field(name="submissionId", default="")
    # P0.
    score_version: UInt32 = msgspec.field(name="scoreVersion", default=0)
    # P0.
    credential_type: str = msgspec.field(name="credentialType", default="")
    # P1. Salted commitment to the certificate's content.
    commitment: str = ""
    # P0. RFC 3339.
    issued_at: str = msgspec.field(name="issuedAt", default="")
    # P0. RFC 3339; absent when it does not expire.
    expires_at: str | None = msgspec.field(name="expiresAt", default=None)


class CertificateRevoked(EventData, frozen=True, kw_only=True):
    """A certificate was revoked."""

    # P1.
    certificate_id: str = msgspec.field(name="certificateId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P2. Why, sealed to the tenant's key of the day.
    reason: Sealed | None = None


class CredentialPublished(EventData, frozen=True, kw_only=True):
    """The public entry of a certificate: a reference of its own and a salted commitment."""

    # P1. base64url of SHA-256 of the token in the holder's link.
    reference: str = ""
    # P1. SHA-256 of salt and canonical content.
    commitment: str = ""
    # P0.
    credential_type: str = msgspec.field(name="credentialType", default="")
    # P0. The organisation that stands behind it.
    issuer: str = ""
    # P0. RFC 3339.
    issued_at: str = msgspec.field(name="issuedAt", default="")
    # P0. RFC 3339; absent when it does not expire.
    expires_at: str | None = msgspec.field(name="expiresAt", default=None)


class CredentialWithdrawn(EventData, frozen=True, kw_only=True):
    """The public entry that withdraws a certificate."""

    # P1. The reference it was published under.
    reference: str = ""
    # P0. RFC 3339.
    withdrawn_at: str = msgspec.field(name="withdrawnAt", default="")


class ErasureReceiptGiven(EventData, frozen=True, kw_only=True):
    """The service destroyed what it held about a person and says what each of its stores reported."""

    # P1. The erasure job.
    job_id: str = msgspec.field(name="jobId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. What each store of this service reports.
    stores: tuple[StoreErasure, ...] = ()


class ContentKeyRotated(EventData, frozen=True, kw_only=True):
    """The key that wraps the keys of questions, answers and certificates' links is another one."""

    # P0. The epoch of the new key.
    epoch: str = ""
    # P0. The epoch of the key before.
    previous_epoch: str = msgspec.field(name="previousEpoch", default="")


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        type="assessment.question.version_published",
        version=1,
        service="assessment",
        aggregate="question",
        verb="version_published",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="A version of a question was published; it never changes.",
        struct=QuestionVersionPublished,
        pii=MappingProxyType(
            {"question_id": PiiClass.P0, "version": PiiClass.P0, "item_type": PiiClass.P0, "content_hash": PiiClass.P0}
        ),
    ),
    EventType(
        type="assessment.evaluation.version_published",
        version=1,
        service="assessment",
        aggregate="evaluation",
        verb="version_published",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="A version of an evaluation was published; it never changes.",
        struct=EvaluationVersionPublished,
        pii=MappingProxyType(
            {
                "evaluation_id": PiiClass.P0,
                "version": PiiClass.P0,
                "slug": PiiClass.P0,
                "content_hash": PiiClass.P0,
                "question_refs.question_id": PiiClass.P0,
                "question_refs.version": PiiClass.P0,
                "pass_mark_percent": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="assessment.evaluation.released",
        version=1,
        service="assessment",
        aggregate="evaluation",
        verb="released",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="An evaluation's paper, without its keys, was copied to an org unit.",
        struct=EvaluationReleased,
        pii=MappingProxyType({"evaluation_id": PiiClass.P0, "version": PiiClass.P0, "unit_id": PiiClass.P0}),
    ),
    EventType(
        type="assessment.assignment.issued",
        version=1,
        service="assessment",
        aggregate="assignment",
        verb="issued",
        log=LogKind.COMPLIANCE,
        must_record=False,
        public=False,
        ocsf_class=3004,
        ocsf_activity=6,
        ocsf_status="",
        summary="A person was assigned an evaluation.",
        struct=AssignmentIssued,
        pii=MappingProxyType(
            {"assignment_id": PiiClass.P1, "person": PiiClass.P1, "evaluation_id": PiiClass.P0, "version": PiiClass.P0}
        ),
    ),
    EventType(
        type="assessment.assignment.revoked",
        version=1,
        service="assessment",
        aggregate="assignment",
        verb="revoked",
        log=LogKind.COMPLIANCE,
        must_record=False,
        public=False,
        ocsf_class=3004,
        ocsf_activity=7,
        ocsf_status="",
        summary="An assignment was taken back.",
        struct=AssignmentRevoked,
        pii=MappingProxyType({"assignment_id": PiiClass.P1, "person": PiiClass.P1}),
    ),
    EventType(
        type="assessment.attempt.started",
        version=1,
        service="assessment",
        aggregate="attempt",
        verb="started",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3004,
        ocsf_activity=10,
        ocsf_status="",
        summary="A person started an attempt.",
        struct=AttemptStarted,
        pii=MappingProxyType(
            {"attempt_id": PiiClass.P1, "assignment_id": PiiClass.P1, "ip": PiiClass.P2, "user_agent": PiiClass.P2}
        ),
    ),
    EventType(
        type="assessment.attempt.answered",
        version=1,
        service="assessment",
        aggregate="attempt",
        verb="answered",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="An answer was saved; its text stays in an encrypted side table.",
        struct=AttemptAnswered,
        pii=MappingProxyType(
            {"attempt_id": PiiClass.P1, "item_id": PiiClass.P0, "revision": PiiClass.P0, "answer_hash": PiiClass.P1}
        ),
    ),
    EventType(
        type="assessment.submission.finalised",
        version=1,
        service="assessment",
        aggregate="submission",
        verb="finalised",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="A person submitted; the versions it was taken under are frozen.",
        struct=SubmissionFinalised,
        pii=MappingProxyType(
            {
                "submission_id": PiiClass.P1,
                "attempt_id": PiiClass.P1,
                "person": PiiClass.P1,
                "evaluation_id": PiiClass.P0,
                "version": PiiClass.P0,
                "snapshot_hash": PiiClass.P0,
                "response_root": PiiClass.P1,
            }
        ),
    ),
    EventType(
        type="assessment.score.recorded",
        version=1,
        service="assessment",
        aggregate="score",
        verb="recorded",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="A score version was recorded for a submission.",
        struct=ScoreRecorded,
        pii=MappingProxyType(
            {
                "submission_id": PiiClass.P1,
                "person": PiiClass.P1,
                "score_version": PiiClass.P0,
                "cause": PiiClass.P0,
                "remediation_id": PiiClass.P0,
                "points_milli": PiiClass.P1,
                "max_points_milli": PiiClass.P0,
                "passed": PiiClass.P1,
            }
        ),
    ),
    EventType(
        type="assessment.remediation.proposed",
        version=1,
        service="assessment",
        aggregate="remediation",
        verb="proposed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="A change of an item's key was proposed after a dry run.",
        struct=RemediationProposed,
        pii=MappingProxyType(
            {
                "remediation_id": PiiClass.P0,
                "evaluation_id": PiiClass.P0,
                "version": PiiClass.P0,
                "item_id": PiiClass.P0,
                "new_key_hash": PiiClass.P0,
                "diff_hash": PiiClass.P0,
                "affected": PiiClass.P0,
                "changed_pass": PiiClass.P0,
                "reason": PiiClass.P2,
            }
        ),
    ),
    EventType(
        type="assessment.remediation.applied",
        version=1,
        service="assessment",
        aggregate="remediation",
        verb="applied",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="A remediation was applied as new score versions.",
        struct=RemediationApplied,
        pii=MappingProxyType({"remediation_id": PiiClass.P0, "application": PiiClass.P0, "affected": PiiClass.P0}),
    ),
    EventType(
        type="assessment.remediation.reverted",
        version=1,
        service="assessment",
        aggregate="remediation",
        verb="reverted",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="A remediation was reverted as new score versions.",
        struct=RemediationReverted,
        pii=MappingProxyType({"remediation_id": PiiClass.P0, "application": PiiClass.P0, "affected": PiiClass.P0}),
    ),
    EventType(
        type="assessment.certificate.issued",
        version=1,
        service="assessment",
        aggregate="certificate",
        verb="issued",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="A certificate was issued to a person who passed.",
        struct=CertificateIssued,
        pii=MappingProxyType(
            {
                "certificate_id": PiiClass.P1,
                "person": PiiClass.P1,
                "submission_id": PiiClass.P1,
                "score_version": PiiClass.P0,
                "credential_type": PiiClass.P0,
                "commitment": PiiClass.P1,
                "issued_at": PiiClass.P0,
                "expires_at": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="assessment.certificate.revoked",
        version=1,
        service="assessment",
        aggregate="certificate",
        verb="revoked",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=11,
        ocsf_status="",
        summary="A certificate was revoked.",
        struct=CertificateRevoked,
        pii=MappingProxyType({"certificate_id": PiiClass.P1, "person": PiiClass.P1, "reason": PiiClass.P2}),
    ),
    EventType(
        type="assessment.credential.published",
        version=1,
        service="assessment",
        aggregate="credential",
        verb="published",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=True,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="The public entry of a certificate: a reference of its own and a salted commitment.",
        struct=CredentialPublished,
        pii=MappingProxyType(
            {
                "reference": PiiClass.P1,
                "commitment": PiiClass.P1,
                "credential_type": PiiClass.P0,
                "issuer": PiiClass.P0,
                "issued_at": PiiClass.P0,
                "expires_at": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="assessment.credential.withdrawn",
        version=1,
        service="assessment",
        aggregate="credential",
        verb="withdrawn",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=True,
        ocsf_class=3004,
        ocsf_activity=11,
        ocsf_status="",
        summary="The public entry that withdraws a certificate.",
        struct=CredentialWithdrawn,
        pii=MappingProxyType({"reference": PiiClass.P1, "withdrawn_at": PiiClass.P0}),
    ),
    EventType(
        type="assessment.erasure_receipt.given",
        version=1,
        service="assessment",
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
    EventType(
        type="assessment.content_key.rotated",
        version=1,
        service="assessment",
        aggregate="content_key",
        verb="rotated",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="The key that wraps the keys of questions, answers and certificates' links is another one.",
        struct=ContentKeyRotated,
        pii=MappingProxyType({"epoch": PiiClass.P0, "previous_epoch": PiiClass.P0}),
    ),
)
