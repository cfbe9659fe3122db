"""The tables of assessment's own, as SQLAlchemy Core sees them; created by the first migration, used by the stores.

Written without a schema; the chassis translates to ``assessment``. ``tenant_id`` stands first in every key, so that a
foreign id never answers "exists". Content belongs to the root unit, a candidate's rows to the candidate's unit.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

METADATA = MetaData()
_TIME = DateTime(timezone=True)


def _tenant() -> Column[object]:
    return Column("tenant_id", Uuid, primary_key=True)


def _unit() -> Column[object]:
    return Column("org_unit_id", Uuid, nullable=False)


evaluations = Table(
    "evaluations",
    METADATA,
    _tenant(),
    Column("id", Uuid, primary_key=True),
    _unit(),
    Column("slug", Text, nullable=False),
    UniqueConstraint("tenant_id", "slug"),
)
evaluation_versions = Table(
    "evaluation_versions",
    METADATA,
    _tenant(),
    Column("evaluation_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    _unit(),
    Column("content_hash", Text, nullable=False),
    Column("snapshot", LargeBinary, nullable=False),  # canonical JSON: no question text, no key
    Column("published_at", _TIME, nullable=False),
    ForeignKeyConstraint(["tenant_id", "evaluation_id"], ["evaluations.tenant_id", "evaluations.id"]),
)
question_versions = Table(
    "question_versions",
    METADATA,
    _tenant(),
    Column("question_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    _unit(),
    Column("item_type", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),  # encrypted: item with key, and salt
    Column("published_at", _TIME, nullable=False),
)
papers = Table(
    "papers",
    METADATA,
    _tenant(),
    Column("org_unit_id", Uuid, primary_key=True),
    Column("evaluation_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("snapshot", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),  # encrypted: items without keys
    Column("released_at", _TIME, nullable=False),
)
releases = Table(
    "releases",
    METADATA,
    _tenant(),
    Column("evaluation_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("unit_id", Uuid, primary_key=True),
    _unit(),  # the root unit: whoever releases sees where a version went
)
assignments = Table(
    "assignments",
    METADATA,
    _tenant(),
    Column("id", Uuid, primary_key=True),
    _unit(),
    Column("person", Text, nullable=False),
    Column("evaluation_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("issued_at", _TIME, nullable=False),
    Column("revoked_at", _TIME),
)
attempts = Table(
    "attempts",
    METADATA,
    _tenant(),
    Column("id", Uuid, primary_key=True),
    _unit(),
    Column("assignment_id", Uuid, nullable=False),
    Column("person", Text, nullable=False),
    Column("evaluation_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("started_at", _TIME, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    Column("submitted_at", _TIME),
    UniqueConstraint("tenant_id", "assignment_id"),
    ForeignKeyConstraint(["tenant_id", "assignment_id"], ["assignments.tenant_id", "assignments.id"]),
)
answers = Table(
    "answers",
    METADATA,
    _tenant(),
    Column("attempt_id", Uuid, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    _unit(),
    Column("person", Text, nullable=False),
    Column("answer_hash", Text, nullable=False),
    Column("content", LargeBinary),  # encrypted under the person's data key; null once erased
    Column("answered_at", _TIME, nullable=False),
    ForeignKeyConstraint(["tenant_id", "attempt_id"], ["attempts.tenant_id", "attempts.id"]),
)
submissions = Table(
    "submissions",
    METADATA,
    _tenant(),
    Column("id", Uuid, primary_key=True),
    _unit(),
    Column("attempt_id", Uuid, nullable=False),
    Column("person", Text, nullable=False),
    Column("evaluation_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("snapshot", LargeBinary, nullable=False),  # the canonical bytes, frozen
    Column("snapshot_hash", Text, nullable=False),
    Column("response_root", Text, nullable=False),
    Column("finalised_at", _TIME, nullable=False),
    UniqueConstraint("tenant_id", "attempt_id"),
    ForeignKeyConstraint(["tenant_id", "attempt_id"], ["attempts.tenant_id", "attempts.id"]),
)
score_versions = Table(
    "score_versions",
    METADATA,
    _tenant(),
    Column("submission_id", Uuid, primary_key=True),
    Column("score_version", Integer, primary_key=True),
    _unit(),
    Column("person", Text, nullable=False),
    Column("cause", Text, nullable=False),  # automatic | remediation_applied | remediation_reverted
    Column("remediation_id", Uuid),
    Column("application", Integer),
    Column("points_milli", Integer, nullable=False),
    Column("max_points_milli", Integer, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("item_points", LargeBinary, nullable=False),  # canonical JSON: item id to points in thousandths
    Column("recorded_at", _TIME, nullable=False),
    ForeignKeyConstraint(["tenant_id", "submission_id"], ["submissions.tenant_id", "submissions.id"]),
)
remediations = Table(
    "remediations",
    METADATA,
    _tenant(),
    Column("id", Uuid, primary_key=True),
    _unit(),
    Column("evaluation_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("base", Uuid),  # the remediation of this item that was in force at the dry run
    Column("new_key", LargeBinary, nullable=False),  # encrypted: key and salt
    Column("reason", LargeBinary, nullable=False),  # encrypted
    Column("diff", LargeBinary, nullable=False),  # canonical JSON of remediation.domain.Diff
    Column("diff_hash", Text, nullable=False),
    Column("proposed_at", _TIME, nullable=False),
    Column("proposed_by", Text, nullable=False),
)
remediation_steps = Table(
    "remediation_steps",
    METADATA,
    _tenant(),
    Column("remediation_id", Uuid, primary_key=True),
    Column("application", Integer, primary_key=True),
    Column("kind", Text, primary_key=True),  # applied | reverted
    _unit(),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("affected", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", _TIME, nullable=False),
    ForeignKeyConstraint(["tenant_id", "remediation_id"], ["remediations.tenant_id", "remediations.id"]),
)
certificates = Table(
    "certificates",
    METADATA,
    _tenant(),
    Column("id", Uuid, primary_key=True),
    _unit(),
    Column("person", Text, nullable=False),
    Column("submission_id", Uuid, nullable=False),
    Column("evaluation_id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("score_version", Integer, nullable=False),
    Column("credential_type", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("commitment", Text, nullable=False),
    Column("content", LargeBinary),  # encrypted under the holder's data key: token and salt; null once erased
    Column("issued_at", Text, nullable=False),  # the day, as in the event
    Column("revoked_at", _TIME),
    UniqueConstraint("tenant_id", "submission_id"),
    UniqueConstraint("tenant_id", "reference"),
    ForeignKeyConstraint(["tenant_id", "submission_id"], ["submissions.tenant_id", "submissions.id"]),
)
publications = Table(
    "publications",
    METADATA,
    _tenant(),
    # What is still to be said in public. Nothing here leads to a person, an org unit or a private row's id.
    Column("reference", Text, primary_key=True),
    Column("action", Text, primary_key=True),  # publish | withdraw
    Column("commitment", Text, nullable=False),
    Column("credential_type", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("issued_at", Text, nullable=False),
    Column("not_before", _TIME, nullable=False),
)

IMMUTABLE = (
    "evaluations",
    "evaluation_versions",
    "question_versions",
    "papers",
    "releases",
    "submissions",
    "score_versions",
    "remediations",
    "remediation_steps",
)
"""Tables that nobody can change: no privilege, and a trigger behind that."""
