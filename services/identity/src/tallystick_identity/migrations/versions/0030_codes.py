"""A mail has a code beside its link, tries at it are counted, and a link may be there to set a password.

Revision ID: 0030
"""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0021"
branch_labels = None
depends_on = None

CHANGES = (
    # Mails from before have no code: their links work where they were asked for.
    "alter table identity.magic_links add column code_hash bytea check (octet_length(code_hash) = 32)",
    "alter table identity.login_requests add column code_tries integer not null default 0",
    """
    alter table identity.login_requests
        add column purpose text not null default 'sign_in' check (purpose in ('sign_in', 'reset'))
    """,
)


def upgrade() -> None:
    """Add them."""
    for statement in CHANGES:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
