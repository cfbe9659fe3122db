"""Single sign-on: a tenant's provider, who is who there, sign-ins under way, and logouts that were heard.

Revision ID: 0041
Revises: 0040
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.policies import silo

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

SERVICE = "identity"

STATEMENTS = (
    # One for each tenant. It lies in the root unit, so that whoever may manage a part of the tenant does not see it.
    """
    create table identity.sso_providers (
        tenant_id uuid not null references identity.tenants,
        id uuid not null,
        org_unit_id uuid not null check (org_unit_id = tenant_id),
        version integer not null,
        issuer text not null,
        client_id text not null,
        secret_ciphertext bytea,
        enabled boolean not null,
        domains text[] not null,
        creates_accounts boolean not null,
        role_claim text,
        makes_administrators boolean not null,
        two_factor_values text[] not null,
        updated_at timestamptz not null,
        primary key (tenant_id)
    )
    """,
    """
    create table identity.sso_rules (
        tenant_id uuid not null references identity.sso_providers on delete cascade,
        position integer not null,
        claim_value text not null,
        role_id uuid not null,
        unit_id uuid not null,
        subtree boolean not null,
        primary key (tenant_id, position),
        foreign key (tenant_id, role_id) references identity.roles,
        foreign key (tenant_id, unit_id) references identity.org_units
    )
    """,
    # The subject is a keyed hash over issuer and subject together: neither alone is anybody.
    """
    create table identity.sso_identities (
        tenant_id uuid not null,
        id uuid not null,
        issuer text not null,
        subject_index bytea not null check (octet_length(subject_index) = 32),
        person text not null,
        created_at timestamptz not null,
        primary key (tenant_id, id),
        unique (tenant_id, subject_index),
        unique (tenant_id, person, issuer),
        foreign key (tenant_id, person) references identity.people (tenant_id, person)
    )
    """,
    """
    create table identity.sso_grants (
        tenant_id uuid not null,
        grant_id uuid not null,
        person text not null,
        primary key (tenant_id, grant_id),
        foreign key (tenant_id, grant_id) references identity.grants
    )
    """,
    "create index sso_grants_person on identity.sso_grants (tenant_id, person)",
    """
    create table identity.sso_requests (
        tenant_id uuid not null,
        id uuid not null,
        secret_hash bytea not null check (octet_length(secret_hash) = 32),
        provider_id uuid not null,
        issuer text not null,
        client_id text not null,
        fresh boolean not null,
        created_at timestamptz not null,
        expires_at timestamptz not null,
        primary key (tenant_id, id)
    )
    """,
    "create index sso_requests_expiry on identity.sso_requests (tenant_id, expires_at)",
    """
    create table identity.sso_logouts (
        tenant_id uuid not null,
        token_index bytea not null check (octet_length(token_index) = 32),
        expires_at timestamptz not null,
        primary key (tenant_id, token_index)
    )
    """,
    "create index sso_logouts_expiry on identity.sso_logouts (tenant_id, expires_at)",
    # Which identity a session came from, the provider's own session, and when its person last proved who they are.
    """
    alter table identity.sessions
        add column sso_identity uuid,
        add column sso_session bytea check (octet_length(sso_session) = 32),
        add column proved_at timestamptz
    """,
    "create index sessions_sso on identity.sessions (tenant_id, sso_identity) where sso_identity is not null",
)
TABLES = {
    "sso_rules": "select, insert, delete",
    "sso_identities": "select, insert, delete",
    "sso_grants": "select, insert, delete",
    "sso_requests": "select, insert, delete",
    "sso_logouts": "select, insert, delete",
}


def upgrade() -> None:
    """Create the tables and close them."""
    for statement in STATEMENTS:
        op.execute(statement)
    silo(op, SERVICE, "sso_providers", by_unit=True, grants="select, insert, update")
    for table, grants in TABLES.items():
        silo(op, SERVICE, table, grants=grants)


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
