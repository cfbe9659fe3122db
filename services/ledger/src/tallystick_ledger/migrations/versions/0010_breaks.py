"""Successor logs, and the breaks that they go on after.

Revision ID: 0010
Revises: 0009
"""

from alembic import op
from tallystick_chassis.policies import duty, silo

revision = "0010"
down_revision = "0009"

SERVICE = "ledger"

# A log that cannot go on is succeeded by the next generation of its kind and period; its origin says which it is.
GENERATION = """
alter table ledger.logs
add column generation integer not null default 1 check (generation > 0),
drop constraint logs_tenant_id_kind_period_key,
add constraint logs_one_a_generation unique nulls not distinct (tenant_id, kind, period, generation),
add constraint logs_origin_says_generation check (generation = 1 or origin ~ ('[.]' || generation || '$'))
"""
# marked: what was signed, by the mark outside the database; kept: what the restored database has of it. The log itself
# may be missing, so there is no foreign key.
BREAKS = """
create table ledger.breaks (
    tenant_id uuid not null,
    origin text not null,
    kind text not null check (kind in ('compliance', 'audit')),
    period text check (period ~ '^[0-9]{4}-[0-9]{2}$'),
    verdict text not null check (verdict in ('behind', 'forked')),
    marked_size bigint not null,
    marked_root bytea not null check (octet_length(marked_root) = 32),
    kept_size bigint not null,
    kept_root bytea not null check (octet_length(kept_root) = 32),
    found_at timestamptz not null,
    successor text,
    succeeded_at timestamptz check ((succeeded_at is null) = (successor is null)),
    refilled_at timestamptz check (refilled_at is null or successor is not null),
    primary key (tenant_id, origin)
)
"""


def upgrade() -> None:
    """Add generations and breaks."""
    op.execute(GENERATION)
    op.execute(BREAKS)
    silo(op, SERVICE, "breaks", grants="select")
    duty(op, SERVICE, "breaks", commands=("select", "insert"))
    # A break after which a successor went on stays for ever; any other goes when the right database is back.
    op.execute("create policy duty_delete on ledger.breaks for delete to tally_ledger_duty using (successor is null)")
    op.execute("grant delete on ledger.breaks to tally_ledger_duty")
    duty(op, SERVICE, "breaks", commands=("update",), columns="successor, succeeded_at, refilled_at")
