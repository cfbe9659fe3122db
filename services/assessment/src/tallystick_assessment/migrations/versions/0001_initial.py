"""First tables: the chassis's own, and from questions to certificates."""

from alembic import op
from tallystick_assessment.tables import IMMUTABLE, METADATA
from tallystick_chassis.policies import append_only, duty, silo
from tallystick_chassis.schema import create_chassis_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERVICE = "assessment"

_CHANGEABLE = {
    # table: the columns that may change, and no others
    "assignments": "select, insert, update (revoked_at)",
    "attempts": "select, insert, update (submitted_at)",
    "answers": "select, insert, update (content)",
    "certificates": "select, insert, update (content, revoked_at)",
}
# What a miss is looked up in, across tenants: the ids alone.
_WITH_ID = ("evaluations", "assignments", "attempts", "submissions", "remediations", "certificates")


def upgrade() -> None:
    """Create every table, closed from its first moment."""
    create_chassis_tables(op, SERVICE)
    connection = op.get_bind().execution_options(schema_translate_map={None: SERVICE})
    METADATA.create_all(connection, checkfirst=False)

    op.execute("create index assignments_person on assessment.assignments (tenant_id, person)")
    op.execute("create index attempts_person on assessment.attempts (tenant_id, person)")
    op.execute("create index answers_person on assessment.answers (tenant_id, person)")
    op.execute("create index submissions_evaluation on assessment.submissions (tenant_id, evaluation_id, version)")
    op.execute("create index submissions_person on assessment.submissions (tenant_id, person)")
    op.execute("create index score_versions_remediation on assessment.score_versions (tenant_id, remediation_id)")
    op.execute("create index remediations_evaluation on assessment.remediations (tenant_id, evaluation_id, version)")
    op.execute("create index certificates_person on assessment.certificates (tenant_id, person)")
    op.execute("create index publications_due on assessment.publications (tenant_id, not_before)")

    for table in IMMUTABLE:
        silo(op, SERVICE, table, by_unit=True)
        append_only(op, SERVICE, table)
    for table, grants in _CHANGEABLE.items():
        silo(op, SERVICE, table, by_unit=True, grants=grants)
    silo(op, SERVICE, "publications", grants="select, insert, delete")
    for table in _WITH_ID:
        duty(op, SERVICE, table, commands=("select",), columns="tenant_id, id")
    duty(op, SERVICE, "publications", commands=("select",), columns="tenant_id, not_before")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
