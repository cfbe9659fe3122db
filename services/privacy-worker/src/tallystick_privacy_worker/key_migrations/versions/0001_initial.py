"""The key store: subject private keys, wrapped, in a database of their own."""

from alembic import op
from tallystick_chassis.keystore import create_keystore_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the key store's table in the service's schema."""
    create_keystore_tables(op, "privacy")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
