"""Challenges that a passkey answers: to sign in, or as the second factor of a session.

Revision ID: 0040
Revises: 0031
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.policies import silo

revision = "0040"
down_revision = "0031"
branch_labels = None
depends_on = None

SERVICE = "identity"

STATEMENTS = (
    # Either a session's, or bound to a browser by the hash of a nonce in its cookie. No reference to a tenant:
    # whoever asks for one that does not exist is answered alike.
    """
    create table identity.passkey_challenges (
        tenant_id uuid not null,
        id uuid not null,
        session_ref text,
        nonce_hash bytea check (octet_length(nonce_hash) = 32),
        challenge bytea not null check (octet_length(challenge) = 32),
        expires_at timestamptz not null,
        primary key (tenant_id, id),
        check (num_nonnulls(session_ref, nonce_hash) = 1)
    )
    """,
    "create index passkey_challenges_session on identity.passkey_challenges (tenant_id, session_ref)",
    "create index passkey_challenges_expiry on identity.passkey_challenges (tenant_id, expires_at)",
)


def upgrade() -> None:
    """Create the table and close it."""
    for statement in STATEMENTS:
        op.execute(statement)
    silo(op, SERVICE, "passkey_challenges", grants="select, insert, delete")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
