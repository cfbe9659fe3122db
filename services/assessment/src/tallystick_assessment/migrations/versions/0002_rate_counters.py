"""Counters of rate limits, shared by all replicas.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.rate_limits import create_rate_counters

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    create_rate_counters(op, "assessment")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
