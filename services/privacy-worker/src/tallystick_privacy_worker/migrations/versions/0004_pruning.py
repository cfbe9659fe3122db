"""The duty role may delete idempotency keys and inbox rows that are old, and see no more of them than their age.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.pruning import let_duty_prune

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add indexes, policies and grants."""
    let_duty_prune(op, "privacy")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
