"""The duty role may see when an erasure was ordered, so that the oldest open one can be measured.

Revision ID: 0003
Revises: 0002
"""

from alembic import op
from tallystick_chassis.policies import duty_role

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Grant one more column; the policy stands."""
    op.execute(f"grant select (ordered_at) on privacy.erasure_jobs to {duty_role('privacy')}")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
