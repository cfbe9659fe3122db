"""Passwords, where a tenant wants them.

Revision ID: 0031
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.policies import app_role, silo

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

SERVICE = "identity"

CHANGES = (
    "alter table identity.tenants add column passwords boolean not null default false",
    # Argon2id, or bcrypt of cost 12 as it was imported, until its owner signs in: nothing that could be read back.
    r"""
    create table identity.passwords (
        tenant_id uuid not null,
        person text not null,
        hash text not null check (hash ~ '^\$argon2id\$' or hash ~ '^\$2[aby]\$12\$'),
        set_at timestamptz not null,
        primary key (tenant_id, person),
        foreign key (tenant_id, person) references identity.people (tenant_id, person)
    )
    """,
)


def upgrade() -> None:
    """Create the table and close it."""
    for statement in CHANGES:
        op.execute(statement)
    op.execute(f"grant update (passwords) on identity.tenants to {app_role(SERVICE)}")
    silo(op, SERVICE, "passwords", grants="select, insert, update, delete")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
