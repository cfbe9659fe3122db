"""Streaming to SIEMs: destinations, how far each has come in each log, and what it refused.

Revision ID: 0012
Revises: 0011
"""

from alembic import op
from tallystick_chassis.policies import app_role, duty, silo

revision = "0012"
down_revision = "0011"

SERVICE = "ledger"

# beat_at: when something was taken last, or the destination made. leased_until: whoever holds the lease sends; times of
# leases and retries are the database's, so that workers with differing clocks agree.
DESTINATIONS = """
create table ledger.siem_destinations (
    tenant_id uuid not null,
    org_unit_id uuid not null check (org_unit_id = tenant_id),
    id uuid not null,
    name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    kind text not null check (kind in ('https', 'syslog')),
    address text not null check (octet_length(address) <= 2000),
    log_kinds text[] not null check (log_kinds <@ array['audit', 'compliance'] and cardinality(log_kinds) > 0),
    heartbeat_s integer not null check (heartbeat_s between 60 and 86400),
    secret bytea,
    epoch text,
    created_by text not null,
    created_at timestamptz not null,
    paused_at timestamptz,
    removed_at timestamptz,
    test_at timestamptz,
    batch_entries integer not null default 200 check (batch_entries > 0),
    attempts integer not null default 0,
    refused_in_row integer not null default 0,
    next_at timestamptz not null default now(),
    lease uuid,
    leased_until timestamptz,
    beat_at timestamptz not null default now(),
    tried_at timestamptz,
    fault text,
    primary key (tenant_id, id),
    check ((secret is null) = (epoch is null)),
    check (secret is not null or kind <> 'https' or removed_at is not null),
    check (removed_at is null or secret is null)
)
"""
# No row: nothing yet. next_seq: the first entry that the receiver has not taken.
CURSORS = """
create table ledger.siem_cursors (
    tenant_id uuid not null,
    destination_id uuid not null,
    log_id uuid not null,
    next_seq bigint not null check (next_seq >= 0),
    moved_at timestamptz,
    primary key (tenant_id, destination_id, log_id),
    foreign key (tenant_id, destination_id) references ledger.siem_destinations (tenant_id, id),
    foreign key (tenant_id, log_id) references ledger.logs (tenant_id, id)
)
"""
# The entry itself stays in its log; taken_at: a replay came by, and the receiver took it after all.
DEAD_LETTERS = """
create table ledger.siem_dead_letters (
    tenant_id uuid not null,
    destination_id uuid not null,
    log_id uuid not null,
    seq bigint not null,
    event_id uuid not null,
    type text not null,
    status integer not null,
    refused_at timestamptz not null,
    taken_at timestamptz,
    primary key (tenant_id, destination_id, log_id, seq),
    foreign key (tenant_id, destination_id) references ledger.siem_destinations (tenant_id, id)
)
"""


def upgrade() -> None:
    """Create the tables, and say who may do what with them."""
    for statement in (DESTINATIONS, CURSORS, DEAD_LETTERS):
        op.execute(statement)
    op.execute(
        "create unique index siem_destinations_name on ledger.siem_destinations (tenant_id, name) "
        "where removed_at is null"
    )
    silo(op, SERVICE, "siem_destinations", by_unit=True)
    silo(op, SERVICE, "siem_cursors")
    silo(op, SERVICE, "siem_dead_letters")
    changing = (
        "secret, epoch, paused_at, removed_at, test_at, batch_entries, attempts, refused_in_row, next_at, lease, "
        "leased_until, beat_at, tried_at, fault"
    )
    op.execute(f"grant update ({changing}) on ledger.siem_destinations to {app_role(SERVICE)}")
    op.execute(f"grant update (next_seq, moved_at) on ledger.siem_cursors to {app_role(SERVICE)}")
    op.execute(f"grant update (status, refused_at, taken_at) on ledger.siem_dead_letters to {app_role(SERVICE)}")
    # Which destinations are due is asked across tenants; everything else happens in the tenant's own scope.
    due = "tenant_id, id, log_kinds, heartbeat_s, paused_at, removed_at, test_at, next_at, leased_until, beat_at"
    duty(op, SERVICE, "siem_destinations", commands=("select",), columns=due)
    duty(op, SERVICE, "siem_cursors", commands=("select",))
