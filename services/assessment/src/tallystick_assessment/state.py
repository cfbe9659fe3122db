"""What of assessment's state an auditor can compare with the ledger: no text of questions, answers or reasons.

What is stored as hashed bytes is hashed again here, so that a changed row shows even where its hash was left alone.
"""

from typing import Final

from tallystick_chassis.state import StateKind, day_keys, people_directory

_VERSION = ("t.version", "bigint")

KINDS: Final = (
    StateKind(
        name="question_version",
        source="assessment.question_versions t",
        key=(("t.question_id", "uuid"), _VERSION),
        stream="'question-' || t.question_id",
        fields={"item_type": "'ITEM_TYPE_' || upper(t.item_type)", "content_hash": "t.content_hash"},
    ),
    StateKind(
        name="evaluation_version",
        source=(
            "assessment.evaluation_versions t join assessment.evaluations e "
            "on e.tenant_id = t.tenant_id and e.id = t.evaluation_id"
        ),
        key=(("t.evaluation_id", "uuid"), _VERSION),
        stream="'evaluation-' || t.evaluation_id",
        fields={
            "slug": "e.slug",
            "content_hash": "t.content_hash",
            "snapshot_sha256": "encode(sha256(t.snapshot), 'hex')",
        },
    ),
    StateKind(
        name="release",
        source=(
            "assessment.releases t left join assessment.papers p on p.tenant_id = t.tenant_id "
            "and p.org_unit_id = t.unit_id and p.evaluation_id = t.evaluation_id and p.version = t.version"
        ),
        key=(("t.evaluation_id", "uuid"), _VERSION, ("t.unit_id", "uuid")),
        stream="'release-' || t.evaluation_id || '-' || t.version || '-' || t.unit_id",
        fields={"has_paper": "p.tenant_id is not null"},
    ),
    StateKind(
        name="assignment",
        source="assessment.assignments t",
        key=(("t.id", "uuid"),),
        stream="'assignment-' || t.id",
        fields={
            "unit": "t.org_unit_id",
            "person": "t.person",
            "evaluation": "t.evaluation_id",
            "version": "t.version",
            "revoked": "t.revoked_at is not null",
        },
    ),
    StateKind(
        name="attempt",
        source="assessment.attempts t",
        key=(("t.id", "uuid"),),
        stream="'attempt-' || t.id",
        fields={"unit": "t.org_unit_id", "assignment": "t.assignment_id", "person": "t.person"},
    ),
    StateKind(
        name="answer",
        source="assessment.answers t",
        key=(("t.attempt_id", "uuid"), ("t.item_id", "text"), ("t.revision", "bigint")),
        stream="'attempt-' || t.attempt_id",
        fields={"answer_hash": "t.answer_hash"},
    ),
    StateKind(
        name="submission",
        source="assessment.submissions t",
        key=(("t.id", "uuid"),),
        stream="'attempt-' || t.attempt_id",
        fields={
            "unit": "t.org_unit_id",
            "attempt": "t.attempt_id",
            "person": "t.person",
            "evaluation": "t.evaluation_id",
            "version": "t.version",
            "snapshot_hash": "t.snapshot_hash",
            "snapshot_sha256": "encode(sha256(t.snapshot), 'hex')",
            "response_root": "t.response_root",
        },
    ),
    StateKind(
        name="score_version",
        source="assessment.score_versions t",
        key=(("t.submission_id", "uuid"), ("t.score_version", "bigint")),
        stream="'score-' || t.submission_id",
        fields={
            "person": "t.person",
            "cause": "'SCORE_CAUSE_' || upper(t.cause)",
            "remediation": "t.remediation_id",
            "points_milli": "t.points_milli",
            "item_points_sum": (
                "(select coalesce(sum(points.value::bigint), 0)::bigint "
                "from jsonb_each_text(convert_from(t.item_points, 'UTF8')::jsonb) points)"
            ),
            "max_points_milli": "t.max_points_milli",
            "passed": "t.passed",
        },
    ),
    StateKind(
        name="remediation",
        source="assessment.remediations t",
        key=(("t.id", "uuid"),),
        stream="'remediation-' || t.id",
        fields={
            "evaluation": "t.evaluation_id",
            "version": "t.version",
            "item": "t.item_id",
            "diff_hash": "t.diff_hash",
            "diff_sha256": "encode(sha256(t.diff), 'hex')",
        },
    ),
    StateKind(
        name="remediation_step",
        source="assessment.remediation_steps t",
        key=(("t.remediation_id", "uuid"), ("t.application", "bigint"), ("t.kind", "text")),
        stream="'remediation-' || t.remediation_id",
        fields={"affected": "t.affected", "actor": "t.actor"},
    ),
    StateKind(
        name="certificate",
        source="assessment.certificates t",
        key=(("t.id", "uuid"),),
        stream="'certificate-' || t.id",
        fields={
            "unit": "t.org_unit_id",
            "person": "t.person",
            "submission": "t.submission_id",
            "score_version": "t.score_version",
            "credential_type": "t.credential_type",
            "commitment": "t.commitment",
            "issued_at": "t.issued_at",
            "revoked": "t.revoked_at is not null",
        },
    ),
    people_directory("assessment"),
    day_keys("assessment"),
)
