"""The logs, their entries and trees, checkpoints, what was quarantined and what was exported.

Revision ID: 0001
Revises:
"""

from alembic import op
from tallystick_chassis.policies import IN_TENANT, IN_UNIT, app_role, duty, silo
from tallystick_chassis.schema import create_chassis_tables

revision = "0001"
down_revision = None

SERVICE = "ledger"

LOGS = """
create table ledger.logs (
    tenant_id uuid not null,
    org_unit_id uuid not null check (org_unit_id = tenant_id),
    id uuid not null,
    kind text not null check (kind in ('compliance', 'audit')),
    period text check (period ~ '^[0-9]{4}-[0-9]{2}$'),
    -- The origin stands in every line as it is, so it may hold nothing that JSON would escape.
    origin text not null check (origin ~ '^[A-Za-z0-9._/-]+$'),
    size bigint not null,
    head bytea not null check (octet_length(head) = 32),
    last_recorded timestamptz not null,
    opened_at timestamptz not null,
    closed_at timestamptz,
    announced_at timestamptz check (announced_at is null or closed_at is not null),
    primary key (tenant_id, id),
    unique (tenant_id, origin),
    unique nulls not distinct (tenant_id, kind, period),
    check ((kind = 'audit') = (period is not null))
)
"""

# event_size says where the producer's bytes end in the line: they are line[10 .. 10 + event_size).
ENTRIES = """
create table ledger.entries (
    tenant_id uuid not null,
    log_id uuid not null,
    seq bigint not null,
    org_unit_id uuid not null,
    origin text not null,
    line bytea not null,
    event_size integer not null,
    leaf_hash bytea not null,
    prev_hash bytea not null,
    recorded timestamptz not null,
    source text not null,
    aggregate text not null,
    source_seq bigint not null,
    event_id uuid not null,
    type text not null,
    actor text not null,
    subject text,
    correlation text,
    primary key (tenant_id, log_id, seq),
    constraint entries_event_once unique (tenant_id, log_id, event_id),
    constraint entries_source_seq_once unique (tenant_id, log_id, source, aggregate, source_seq)
)
"""

TREE_HASHES = """
create table ledger.tree_hashes (
    tenant_id uuid not null,
    log_id uuid not null,
    level smallint not null check (level > 0 and level % 8 = 0),
    index bigint not null check (index >= 0),
    hash bytea not null check (octet_length(hash) = 32),
    primary key (tenant_id, log_id, level, index),
    foreign key (tenant_id, log_id) references ledger.logs (tenant_id, id)
)
"""

# No second index: on a young table Postgres cannot tell which of two to use, and the writer asks with every batch.
# frontier: the perfect subtrees of the first `size` leaves. `start` is the size that the batch before had left.
CHECKPOINTS = """
create table ledger.checkpoints (
    tenant_id uuid not null,
    log_id uuid not null,
    size bigint not null,
    start bigint not null check (start >= 0 and start < size),
    root bytea not null check (octet_length(root) = 32),
    frontier bytea not null,
    note text not null,
    signed_at timestamptz not null,
    primary key (tenant_id, log_id, size),
    foreign key (tenant_id, log_id) references ledger.logs (tenant_id, id)
)
"""

SOURCE_HEADS = """
create table ledger.source_heads (
    tenant_id uuid not null,
    source text not null,
    aggregate text not null,
    last_seq bigint not null check (last_seq > 0),
    primary key (tenant_id, source, aggregate)
)
"""

QUARANTINE = """
create table ledger.quarantine (
    tenant_id uuid not null,
    digest bytea not null check (octet_length(digest) = 32),
    reason text not null,
    detail text not null,
    subject text not null,
    source_seq bigint,
    body bytea not null,
    seen bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    primary key (tenant_id, digest)
)
"""

EXPORTS = """
create table ledger.exports (
    tenant_id uuid not null,
    org_unit_id uuid not null check (org_unit_id = tenant_id),
    log_id uuid not null,
    size bigint not null,
    created_at timestamptz not null,
    primary key (tenant_id, log_id, size),
    foreign key (tenant_id, log_id, size) references ledger.checkpoints (tenant_id, log_id, size)
)
"""

# A log is read whole or not at all, so whoever holds the capability in the root unit reads every unit's entries.
ROOT_IN_REACH = (
    "(select nullif(current_setting('app.tenant_id', true), '') "
    "= any(string_to_array(current_setting('app.org_units', true), ',')))"
)


def upgrade() -> None:
    """Create the tables and say who may do what with them."""
    create_chassis_tables(op, SERVICE)
    for table in (LOGS, ENTRIES, TREE_HASHES, CHECKPOINTS, SOURCE_HEADS, QUARANTINE, EXPORTS):
        op.execute(table)
    op.execute(
        "create index entries_correlation on ledger.entries (tenant_id, correlation) where correlation is not null"
    )
    op.execute("create index logs_to_announce on ledger.logs (tenant_id, id) where announced_at is null")

    silo(op, SERVICE, "logs", by_unit=True, grants="select")
    _silo_entries()
    silo(op, SERVICE, "tree_hashes", grants="select")
    silo(op, SERVICE, "checkpoints", grants="select")
    silo(op, SERVICE, "source_heads", grants="select")
    silo(op, SERVICE, "quarantine", grants="select")
    silo(op, SERVICE, "exports", by_unit=True)

    duty(op, SERVICE, "logs", commands=("select", "insert"))
    duty(op, SERVICE, "logs", commands=("update",), columns="size, head, last_recorded, closed_at, announced_at")
    duty(op, SERVICE, "entries", commands=("select", "insert"))
    duty(op, SERVICE, "tree_hashes", commands=("select", "insert"))
    duty(op, SERVICE, "checkpoints", commands=("select", "insert"))
    duty(op, SERVICE, "source_heads", commands=("select", "insert"))
    duty(op, SERVICE, "source_heads", commands=("update",), columns="last_seq")
    duty(op, SERVICE, "quarantine", commands=("select", "insert"))
    duty(op, SERVICE, "quarantine", commands=("update",), columns="seen, last_at")


def _silo_entries() -> None:
    condition = f"{IN_TENANT} and (({IN_UNIT}) or {ROOT_IN_REACH})"
    op.execute("alter table ledger.entries enable row level security")
    op.execute("alter table ledger.entries force row level security")
    op.execute(
        f"create policy silo on ledger.entries for all to {app_role(SERVICE)} "
        f"using ({condition}) with check ({condition})"
    )
    op.execute(f"grant select on ledger.entries to {app_role(SERVICE)}")
