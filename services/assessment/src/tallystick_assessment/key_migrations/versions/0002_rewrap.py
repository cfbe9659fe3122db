"""A data key may be wrapped anew, under a newer epoch of the key-encryption key."""

from alembic import op
from tallystick_chassis.keystore import allow_rewrapping

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Allow it."""
    allow_rewrapping(op, "assessment")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
