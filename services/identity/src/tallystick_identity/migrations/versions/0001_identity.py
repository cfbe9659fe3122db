"""Tenants, org units, people, roles, grants, sign-in, sessions and the key pool.

Revision ID: 0001
"""

from __future__ import annotations

from alembic import op
from tallystick_chassis.policies import duty, silo
from tallystick_chassis.schema import create_chassis_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERVICE = "identity"

TABLES = (
    """
    create table identity.tenants (
        tenant_id uuid primary key,
        slug text not null check (slug ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'),
        name text not null,
        created_at timestamptz not null
    )
    """,
    """
    create table identity.org_units (
        tenant_id uuid not null references identity.tenants,
        org_unit_id uuid not null,
        parent_id uuid,
        name text not null,
        path text not null,
        created_at timestamptz not null,
        primary key (tenant_id, org_unit_id),
        unique (tenant_id, path),
        foreign key (tenant_id, parent_id) references identity.org_units,
        check ((parent_id is null) = (org_unit_id = tenant_id)),
        check ((parent_id is null) = (path = ''))
    )
    """,
    """
    create table identity.people (
        tenant_id uuid not null,
        id uuid not null,
        org_unit_id uuid not null,
        person text not null,
        key_id text not null,
        email_index bytea,
        email_ciphertext bytea,
        name_ciphertext bytea,
        token_version integer not null default 1,
        created_at timestamptz not null,
        deleted_at timestamptz,
        erased_at timestamptz,
        primary key (tenant_id, id),
        unique (tenant_id, person),
        foreign key (tenant_id, org_unit_id) references identity.org_units
    )
    """,
    "create unique index people_email on identity.people (tenant_id, email_index) where deleted_at is null",
    "create index people_page on identity.people (tenant_id, created_at, id)",
    """
    create table identity.roles (
        tenant_id uuid not null references identity.tenants,
        id uuid not null,
        name text not null,
        capabilities text[] not null,
        version integer not null,
        created_at timestamptz not null,
        primary key (tenant_id, id),
        unique (tenant_id, name)
    )
    """,
    """
    create table identity.grants (
        tenant_id uuid not null,
        id uuid not null,
        org_unit_id uuid not null,
        person text not null,
        role_id uuid not null,
        subtree boolean not null,
        expires_at timestamptz,
        revoked_at timestamptz,
        created_at timestamptz not null,
        primary key (tenant_id, id),
        foreign key (tenant_id, org_unit_id) references identity.org_units,
        foreign key (tenant_id, person) references identity.people (tenant_id, person),
        foreign key (tenant_id, role_id) references identity.roles
    )
    """,
    "create index grants_person on identity.grants (tenant_id, person)",
    # No foreign key to tenants: a request for a tenant that does not exist is stored like any other.
    """
    create table identity.login_requests (
        tenant_id uuid not null,
        id uuid not null,
        email_index bytea not null,
        nonce_hash bytea not null,
        event_id uuid not null,
        sealed_email bytea,
        sealed_ip bytea,
        correlation text not null,
        created_at timestamptz not null,
        expires_at timestamptz not null,
        next_attempt_at timestamptz not null,
        attempts integer not null default 0,
        person text,
        done_at timestamptz,
        superseded_at timestamptz,
        consumed_at timestamptz,
        primary key (tenant_id, id)
    )
    """,
    "create index login_requests_email on identity.login_requests (tenant_id, email_index)",
    "create index login_requests_expiry on identity.login_requests (tenant_id, expires_at)",
    """
    create table identity.magic_links (
        tenant_id uuid not null,
        request_id uuid not null,
        token_hash bytea not null check (octet_length(token_hash) = 32),
        primary key (tenant_id, request_id, token_hash),
        foreign key (tenant_id, request_id) references identity.login_requests on delete cascade
    )
    """,
    """
    create table identity.sessions (
        tenant_id uuid not null,
        id uuid not null,
        person text not null,
        session_ref text not null,
        token_version integer not null,
        amr text[] not null,
        refresh_hash bytea not null check (octet_length(refresh_hash) = 32),
        previous_hash bytea,
        refreshed_at timestamptz not null,
        created_at timestamptz not null,
        expires_at timestamptz not null,
        ended_at timestamptz,
        end_reason text,
        primary key (tenant_id, id),
        unique (tenant_id, session_ref),
        foreign key (tenant_id, person) references identity.people (tenant_id, person)
    )
    """,
    "create index sessions_person on identity.sessions (tenant_id, person)",
    """
    create table identity.public_key_pool (
        tenant_id uuid not null,
        key_id text not null,
        public_key bytea not null check (octet_length(public_key) = 32),
        primary key (tenant_id, key_id)
    )
    """,
)


def upgrade() -> None:
    """Create the tables and close them."""
    create_chassis_tables(op, SERVICE)
    for statement in TABLES:
        op.execute(statement)

    silo(op, SERVICE, "tenants")
    silo(op, SERVICE, "org_units")
    silo(op, SERVICE, "people", by_unit=True, grants="select, insert, update")
    silo(op, SERVICE, "roles", grants="select, insert, update")
    silo(op, SERVICE, "grants", by_unit=True, grants="select, insert, update")
    silo(op, SERVICE, "login_requests", grants="select, insert, update, delete")
    silo(op, SERVICE, "magic_links", grants="select, insert, delete")
    silo(op, SERVICE, "sessions", grants="select, insert, update, delete")
    silo(op, SERVICE, "public_key_pool", grants="select, insert, update, delete")

    # Sign-in knows a tenant by its slug before it has a scope (docs/adr/0018-identity-sign-in-before-a-scope.md).
    duty(op, SERVICE, "tenants", commands=("select",), columns="tenant_id, slug")
    # Which tenants have mail to send or old requests to delete; never whose.
    duty(
        op,
        SERVICE,
        "login_requests",
        commands=("select",),
        columns="tenant_id, id, next_attempt_at, done_at, superseded_at, expires_at",
    )
    # Whether a missed id belongs to another tenant (cross-tenant detection).
    for table in ("people", "grants", "roles"):
        duty(op, SERVICE, table, commands=("select",), columns="tenant_id, id")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
