"""What each event says of the rows that services keep: the one table of rules by which an auditor reconciles.

A rule reads: when an event of this type is in the log, the row of this kind and key in that service has these fields.
Services know nothing of it: they serve rows (their ``state.py``) and the auditor's command line folds the log by
this table, which goes along with it as JSON (``auditor_table``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tallystick_contracts.topology import ServiceName

_IDENTITY, _ASSESSMENT, _PRIVACY = ServiceName.IDENTITY, ServiceName.ASSESSMENT, ServiceName.PRIVACY
_VERIFICATION = ServiceName.VERIFICATION


@dataclass(frozen=True, slots=True)
class Data:
    """A field of the event's data; ``as_time`` where the row holds it as a moment; ``absent``: what it then has."""

    name: str
    as_time: bool = False
    absent: bool | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """A part of the event's envelope."""

    name: Literal["id", "actor", "subject", "org_unit", "stream_version"]


@dataclass(frozen=True, slots=True)
class Always:
    """A value that follows from the event's type."""

    value: str | int | bool | None


Part = Data | Given | Always


@dataclass(frozen=True, slots=True)
class Rule:
    """One row that one event type makes or changes.

    ``creates``: the row exists from this event on. ``elsewhere``: the event is of another stream than the row's, so
    that an event still under way cannot be told from its stream to concern the row.
    """

    event: str
    service: ServiceName
    kind: str
    key: tuple[Part, ...]
    sets: Mapping[str, Part] = field(default_factory=dict)
    creates: bool = True
    elsewhere: bool = False
    version: int = 1


def _directory(service: ServiceName, *, forgets: bool) -> tuple[Rule, ...]:
    created = Rule(
        "identity.user.created",
        service,
        "directory_person",
        (Data("person"),),
        {
            "unit": Data("home_unit"),
            "key_id": Data("key_id"),
            "public_key": Data("public_key"),
            "erased": Always(value=False),
        },
    )
    forgotten = Rule(
        "privacy.erasure.ordered",
        service,
        "directory_person",
        (Data("person"),),
        {"public_key": Always(None), "erased": Always(value=True)},
        creates=False,
        elsewhere=True,
    )
    return (created, forgotten) if forgets else (created,)


def _day_key(service: ServiceName) -> Rule:
    fields = {"key_id": Data("key_id"), "public_key": Data("public_key")}
    return Rule("privacy.tenant_key.minted", service, "tenant_key", (Data("day"),), fields)


_OF_IDENTITY = (
    Rule(
        "identity.tenant.created",
        _IDENTITY,
        "tenant",
        (Given("org_unit"),),
        {"slug": Data("slug"), "name": Data("name")},
    ),
    Rule(
        "identity.org_unit.created",
        _IDENTITY,
        "org_unit",
        (Data("unit_id"),),
        {"parent": Data("parent_id"), "name": Data("name"), "path": Data("path")},
    ),
    Rule(
        "identity.user.created",
        _IDENTITY,
        "person",
        (Data("person"),),
        {
            "home_unit": Data("home_unit"),
            "key_id": Data("key_id"),
            "token_version": Always(1),
            "deleted": Always(value=False),
            "erased": Always(value=False),
            "has_personal_data": Always(value=True),
        },
    ),
    Rule(
        "identity.user.deleted",
        _IDENTITY,
        "person",
        (Data("person"),),
        {"deleted": Always(value=True)},
        creates=False,
    ),
    Rule(
        "identity.token_version.bumped",
        _IDENTITY,
        "person",
        (Data("person"),),
        {"token_version": Data("version")},
        creates=False,
        elsewhere=True,
    ),
    Rule(
        "identity.erasure_receipt.given",
        _IDENTITY,
        "person",
        (Data("person"),),
        {"deleted": Always(value=True), "erased": Always(value=True), "has_personal_data": Always(value=False)},
        creates=False,
        elsewhere=True,
    ),
    Rule(
        "identity.role.changed",
        _IDENTITY,
        "role",
        (Data("role_id"),),
        {
            "name": Data("name"),
            "capabilities": Data("capabilities"),
            "staff": Data("staff", absent=False),
            "version": Given("stream_version"),
        },
    ),
    Rule(
        "identity.role.assigned",
        _IDENTITY,
        "grant",
        (Data("grant_id"),),
        {
            "person": Data("person"),
            "role": Data("role_id"),
            "unit": Data("unit_id"),
            "subtree": Data("subtree"),
            "revoked": Always(value=False),
        },
    ),
    Rule(
        "identity.role.assigned",
        _IDENTITY,
        "grant",
        (Data("grant_id"),),
        {
            "person": Data("person"),
            "role": Data("role_id"),
            "unit": Data("unit_id"),
            "subtree": Data("subtree"),
            "starts_at": Data("starts_at", as_time=True),
            "expires_at": Data("expires_at", as_time=True),
            "revoked": Always(value=False),
        },
        version=2,
    ),
    Rule(
        "identity.role.revoked",
        _IDENTITY,
        "grant",
        (Data("grant_id"),),
        {"revoked": Always(value=True)},
        creates=False,
    ),
)

_OF_ASSESSMENT = (
    Rule(
        "assessment.question.version_published",
        _ASSESSMENT,
        "question_version",
        (Data("question_id"), Data("version")),
        {"item_type": Data("item_type"), "content_hash": Data("content_hash")},
    ),
    Rule(
        "assessment.evaluation.version_published",
        _ASSESSMENT,
        "evaluation_version",
        (Data("evaluation_id"), Data("version")),
        {"slug": Data("slug"), "content_hash": Data("content_hash"), "snapshot_sha256": Data("content_hash")},
    ),
    Rule(
        "assessment.evaluation.released",
        _ASSESSMENT,
        "release",
        (Data("evaluation_id"), Data("version"), Data("unit_id")),
        {"has_paper": Always(value=True)},
    ),
    Rule(
        "assessment.assignment.issued",
        _ASSESSMENT,
        "assignment",
        (Data("assignment_id"),),
        {
            "unit": Given("org_unit"),
            "person": Data("person"),
            "evaluation": Data("evaluation_id"),
            "version": Data("version"),
            "revoked": Always(value=False),
        },
    ),
    Rule(
        "assessment.assignment.revoked",
        _ASSESSMENT,
        "assignment",
        (Data("assignment_id"),),
        {"revoked": Always(value=True)},
        creates=False,
    ),
    Rule(
        "assessment.attempt.started",
        _ASSESSMENT,
        "attempt",
        (Data("attempt_id"),),
        {"unit": Given("org_unit"), "assignment": Data("assignment_id"), "person": Given("subject")},
    ),
    Rule(
        "assessment.attempt.answered",
        _ASSESSMENT,
        "answer",
        (Data("attempt_id"), Data("item_id"), Data("revision")),
        {"answer_hash": Data("answer_hash")},
    ),
    Rule(
        "assessment.submission.finalised",
        _ASSESSMENT,
        "submission",
        (Data("submission_id"),),
        {
            "unit": Given("org_unit"),
            "attempt": Data("attempt_id"),
            "person": Data("person"),
            "evaluation": Data("evaluation_id"),
            "version": Data("version"),
            "snapshot_hash": Data("snapshot_hash"),
            "snapshot_sha256": Data("snapshot_hash"),
            "response_root": Data("response_root"),
        },
    ),
    Rule(
        "assessment.score.recorded",
        _ASSESSMENT,
        "score_version",
        (Data("submission_id"), Data("score_version")),
        {
            "person": Data("person"),
            "cause": Data("cause"),
            "remediation": Data("remediation_id"),
            "points_milli": Data("points_milli"),
            "item_points_sum": Data("points_milli"),
            "max_points_milli": Data("max_points_milli"),
            "passed": Data("passed"),
        },
    ),
    Rule(
        "assessment.remediation.proposed",
        _ASSESSMENT,
        "remediation",
        (Data("remediation_id"),),
        {
            "evaluation": Data("evaluation_id"),
            "version": Data("version"),
            "item": Data("item_id"),
            "diff_hash": Data("diff_hash"),
            "diff_sha256": Data("diff_hash"),
        },
    ),
    *(
        Rule(
            f"assessment.remediation.{kind}",
            _ASSESSMENT,
            "remediation_step",
            (Data("remediation_id"), Data("application"), Always(kind)),
            {"affected": Data("affected"), "actor": Given("actor")},
        )
        for kind in ("applied", "reverted")
    ),
    Rule(
        "assessment.certificate.issued",
        _ASSESSMENT,
        "certificate",
        (Data("certificate_id"),),
        {
            "unit": Given("org_unit"),
            "person": Data("person"),
            "submission": Data("submission_id"),
            "score_version": Data("score_version"),
            "credential_type": Data("credential_type"),
            "commitment": Data("commitment"),
            "issued_at": Data("issued_at"),
            "revoked": Always(value=False),
        },
    ),
    Rule(
        "assessment.certificate.revoked",
        _ASSESSMENT,
        "certificate",
        (Data("certificate_id"),),
        {"revoked": Always(value=True)},
        creates=False,
    ),
)

_OF_OTHERS = (
    Rule(
        "assessment.credential.published",
        _VERIFICATION,
        "credential",
        (Data("reference"),),
        {
            "event": Given("id"),
            "commitment": Data("commitment"),
            "credential_type": Data("credential_type"),
            "issuer": Data("issuer"),
            "issued_at": Data("issued_at", as_time=True),
            "expires_at": Data("expires_at", as_time=True),
        },
    ),
    Rule(
        "assessment.credential.withdrawn",
        _VERIFICATION,
        "withdrawal",
        (Data("reference"),),
        {"event": Given("id"), "withdrawn_at": Data("withdrawn_at", as_time=True)},
    ),
    Rule(
        "privacy.erasure.ordered",
        _PRIVACY,
        "erasure_job",
        (Data("job_id"),),
        {"person": Data("person"), "complete": Always(value=False), "irrecoverable_after": Always(None)},
    ),
    Rule(
        "privacy.user.anonymised",
        _PRIVACY,
        "erasure_job",
        (Data("job_id"),),
        {"complete": Always(value=True), "irrecoverable_after": Data("irrecoverable_after")},
        creates=False,
    ),
)

RULES: Final[tuple[Rule, ...]] = (
    *_OF_IDENTITY,
    *_OF_ASSESSMENT,
    *_OF_OTHERS,
    *_directory(_IDENTITY, forgets=True),
    *_directory(_ASSESSMENT, forgets=True),
    *_directory(_PRIVACY, forgets=False),
    *(_day_key(service) for service in (_IDENTITY, _ASSESSMENT, _PRIVACY)),
)
