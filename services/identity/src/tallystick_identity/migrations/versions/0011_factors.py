"""Second factors, recovery codes, and which roles need them.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.policies import silo

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SERVICE = "identity"

STATEMENTS = (
    # Roles of before stay as they were until their tenant says otherwise; new ones say it when they are made.
    "alter table identity.roles add column staff boolean not null default false",
    # Seed and codes are ciphertext under the person's data key; the codes only until the factor is confirmed.
    """
    create table identity.second_factors (
        tenant_id uuid not null,
        id uuid not null,
        person text not null,
        kind text not null check (kind in ('totp', 'passkey')),
        label_ciphertext bytea,
        seed_ciphertext bytea,
        codes_ciphertext bytea,
        last_step bigint not null default 0,
        challenge bytea,
        credential_id bytea,
        public_key bytea,
        sign_count bigint not null default 0,
        created_at timestamptz not null,
        active_at timestamptz,
        primary key (tenant_id, id),
        foreign key (tenant_id, person) references identity.people (tenant_id, person),
        check (active_at is null or kind = 'passkey' or seed_ciphertext is not null),
        check (active_at is null or kind = 'totp' or (credential_id is not null and public_key is not null))
    )
    """,
    "create index second_factors_person on identity.second_factors (tenant_id, person)",
    "create unique index second_factors_credential on identity.second_factors (tenant_id, credential_id)",
    """
    create table identity.recovery_codes (
        tenant_id uuid not null,
        factor_id uuid not null,
        code_hash bytea not null check (octet_length(code_hash) = 32),
        primary key (tenant_id, factor_id, code_hash),
        foreign key (tenant_id, factor_id) references identity.second_factors on delete cascade
    )
    """,
)


def upgrade() -> None:
    """Create the tables and close them."""
    for statement in STATEMENTS:
        op.execute(statement)
    silo(op, SERVICE, "second_factors", grants="select, insert, update, delete")
    silo(op, SERVICE, "recovery_codes", grants="select, insert, delete")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
