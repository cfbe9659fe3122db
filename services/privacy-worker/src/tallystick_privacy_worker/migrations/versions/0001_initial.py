"""Key pool, erasure jobs and their receipts."""

from alembic import op
from tallystick_chassis.policies import duty, silo
from tallystick_chassis.schema import create_chassis_tables

revision = "0001"
down_revision = None

_SERVICE = "privacy"


def upgrade() -> None:
    """Create the service's tables."""
    create_chassis_tables(op, _SERVICE)
    op.execute(
        "create table privacy.pool_keys ("
        " tenant_id uuid not null, key_id text not null, public_key bytea not null, minted_at timestamptz not null,"
        " person text, claimed_at timestamptz,"
        " primary key (tenant_id, key_id))"
    )
    op.execute("create unique index pool_keys_person on privacy.pool_keys (tenant_id, person) where person is not null")
    silo(op, _SERVICE, "pool_keys", grants="select, insert, update")

    op.execute(
        "create table privacy.erasure_jobs ("
        " tenant_id uuid not null, id uuid not null, person text not null, key_id text not null,"
        " org_unit_id uuid not null, state text not null check (state in ('ordered', 'key_destroyed', 'complete')),"
        " correlation text not null, ordered_at timestamptz not null, completed_at timestamptz,"
        " irrecoverable_after date,"
        " primary key (tenant_id, id), unique (tenant_id, person))"
    )
    op.execute("create index erasure_jobs_open on privacy.erasure_jobs (tenant_id, state) where state <> 'complete'")
    silo(op, _SERVICE, "erasure_jobs", by_unit=True, grants="select, insert, update")
    duty(op, _SERVICE, "erasure_jobs", commands=("select",), columns="tenant_id, id, state, correlation")

    op.execute(
        "create table privacy.erasure_receipts ("
        " tenant_id uuid not null, job_id uuid not null, service text not null, store text not null,"
        " outcome text not null, items integer not null, given_at timestamptz not null,"
        " primary key (tenant_id, job_id, service, store))"
    )
    silo(op, _SERVICE, "erasure_receipts")


def downgrade() -> None:
    """Refuse: the way back is a new revision (expand, then contract)."""
    msg = "migrations only go forward"
    raise NotImplementedError(msg)
