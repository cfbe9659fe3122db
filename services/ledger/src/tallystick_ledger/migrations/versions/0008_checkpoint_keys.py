"""Checkpoint keys: what was announced, where each log changed its key, and which key signs a log now.

Revision ID: 0008
Revises: 0007
"""

from alembic import op
from tallystick_chassis.policies import append_only, duty, silo

revision = "0008"
down_revision = "0007"

SERVICE = "ledger"

# One chain of keys for the whole installation: each key is retired once and comes once. Its rows are the platform's.
KEY_STATEMENTS = """
create table ledger.key_statements (
    tenant_id uuid not null check (tenant_id = '00000000-0000-0000-0000-000000000000'),
    ordinal integer not null check (ordinal > 0),
    old_key bytea not null check (octet_length(old_key) = 32),
    new_key bytea not null check (octet_length(new_key) = 32 and new_key <> old_key),
    statement text not null,
    both_until timestamptz not null,
    announced_at timestamptz not null,
    primary key (tenant_id, ordinal),
    unique (tenant_id, old_key),
    unique (tenant_id, new_key)
)
"""
KEY_ROTATIONS_FINISHED = """
create table ledger.key_rotations_finished (
    tenant_id uuid not null,
    ordinal integer not null,
    finished_at timestamptz not null,
    primary key (tenant_id, ordinal),
    foreign key (tenant_id, ordinal) references ledger.key_statements (tenant_id, ordinal)
)
"""
# seq: the entry that holds the rotation. Checkpoints over it are the new key's.
KEY_CHANGES = """
create table ledger.key_changes (
    tenant_id uuid not null,
    log_id uuid not null,
    seq bigint not null,
    old_key bytea not null check (octet_length(old_key) = 32),
    new_key bytea not null check (octet_length(new_key) = 32),
    primary key (tenant_id, log_id, seq),
    foreign key (tenant_id, log_id) references ledger.logs (tenant_id, id)
)
"""
LOG_KEY = """
alter table ledger.logs
    add column public_key bytea check (octet_length(public_key) = 32),
    add column previous_key bytea check (octet_length(previous_key) = 32),
    add column both_until timestamptz
"""
GUARD_KEY = """
create function ledger.guard_key() returns trigger language plpgsql as $$
begin
    if old.public_key is not null and new.public_key is distinct from old.public_key and not exists (
        select from ledger.key_changes
        where key_changes.tenant_id = old.tenant_id and key_changes.log_id = old.id
            and key_changes.new_key = new.public_key and key_changes.seq >= old.size
    ) then
        raise exception 'the key of log % changes only by a rotation in it', old.origin
            using errcode = 'integrity_constraint_violation', constraint = 'logs_key_by_rotation';
    end if;
    return new;
end
$$
"""
GUARD_KEY_TRIGGER = """
create trigger guard_key before update of public_key on ledger.logs
for each row execute function ledger.guard_key()
"""


def upgrade() -> None:
    """Add tables, columns and the guard."""
    for statement in (KEY_STATEMENTS, KEY_ROTATIONS_FINISHED, KEY_CHANGES, LOG_KEY, GUARD_KEY, GUARD_KEY_TRIGGER):
        op.get_bind().exec_driver_sql(statement)
    for table in ("key_statements", "key_rotations_finished", "key_changes"):
        silo(op, SERVICE, table, grants="select")
        duty(op, SERVICE, table, commands=("select", "insert"))
        append_only(op, SERVICE, table)
    op.execute("grant update (public_key, previous_key, both_until) on ledger.logs to tally_ledger_duty")
