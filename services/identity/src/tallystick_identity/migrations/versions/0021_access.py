"""People can be disabled, tenants contained, grants begin later, sessions have names, and machines have keys.

Revision ID: 0021
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.policies import app_role, duty, silo

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

SERVICE = "identity"

CHANGES = (
    # A person's token version is the sum of his own and his tenant's: containing a tenant is one row.
    "alter table identity.tenants add column token_version integer not null default 0",
    "alter table identity.people add column disabled_at timestamptz",
    """
    alter table identity.grants
        add column starts_at timestamptz,
        add constraint ends_after_it_starts
            check (expires_at is null or starts_at is null or starts_at < expires_at)
    """,
    "alter table identity.sessions add column label_ciphertext bytea",
    """
    create table identity.service_keys (
        tenant_id uuid not null references identity.tenants,
        id uuid not null,
        org_unit_id uuid not null,
        subtree boolean not null,
        name text not null,
        prefix text not null,
        secret_hash bytea not null check (octet_length(secret_hash) = 32),
        capabilities text[] not null,
        created_by text not null,
        created_at timestamptz not null,
        expires_at timestamptz not null,
        last_used_at timestamptz,
        revoked_at timestamptz,
        primary key (tenant_id, id),
        foreign key (tenant_id, org_unit_id) references identity.org_units
    )
    """,
    "create index service_keys_page on identity.service_keys (tenant_id, created_at, id)",
    """
    create trigger epoch after update or delete on identity.service_keys for each row
        execute function identity.note_epoch('session', 'id', 'last_used_at')
    """,
)


def upgrade() -> None:
    """Add them."""
    for statement in CHANGES:
        op.execute(statement)
    # One column; and with it the right to lock the row, for rules over a whole tenant.
    op.execute(f"grant update (token_version) on identity.tenants to {app_role(SERVICE)}")
    silo(op, SERVICE, "service_keys", by_unit=True, grants="select, insert, update")
    duty(op, SERVICE, "service_keys", commands=("select",), columns="tenant_id, id")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
