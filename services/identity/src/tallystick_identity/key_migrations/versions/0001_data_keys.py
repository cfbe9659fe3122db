"""The key store: one wrapped data key for each person.

Revision ID: 0001
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.keystore import create_keystore_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the key store's table in the service's schema."""
    create_keystore_tables(op, "identity")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
