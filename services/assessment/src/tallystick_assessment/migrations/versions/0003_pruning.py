"""The duty role may delete idempotency keys and inbox rows that are old, and see no more of them than their age.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.pruning import let_duty_prune

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add indexes, policies and grants."""
    let_duty_prune(op, "assessment")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
