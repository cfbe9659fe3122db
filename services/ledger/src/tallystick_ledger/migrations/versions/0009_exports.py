"""Exports' files: how long each is, its SHA-256, and where in a log's file every so manieth entry begins.

Revision ID: 0009
Revises: 0008
"""

from alembic import op
from tallystick_chassis.policies import append_only, duty, silo

revision = "0009"
down_revision = "0008"

SERVICE = "ledger"

# A file is ready as soon as its length is known; the digest of a long one comes later.
FILES = """
create table ledger.export_files (
    tenant_id uuid not null,
    org_unit_id uuid not null check (org_unit_id = tenant_id),
    log_id uuid not null,
    size bigint not null,
    bytes bigint check (bytes > 0),
    sha256 bytea check (octet_length(sha256) = 32),
    primary key (tenant_id, log_id, size),
    foreign key (tenant_id, log_id, size) references ledger.exports (tenant_id, log_id, size),
    check (sha256 is null or bytes is not null)
)
"""
# A file at one size is the beginning of the file at every greater one: so the parts are the log's, not an export's.
PARTS = """
create table ledger.export_parts (
    tenant_id uuid not null,
    log_id uuid not null,
    first_seq bigint not null check (first_seq > 0),
    start_byte bigint not null check (start_byte > first_seq),
    primary key (tenant_id, log_id, first_seq),
    unique (tenant_id, log_id, start_byte),
    foreign key (tenant_id, log_id) references ledger.logs (tenant_id, id)
)
"""
# FORCE binds the owner as well, who fills in the exports that are there already: the worker prepares them.
BACKFILL = (
    "alter table ledger.exports no force row level security",
    """
    insert into ledger.export_files (tenant_id, org_unit_id, log_id, size)
    select tenant_id, org_unit_id, log_id, size from ledger.exports
    """,
    "alter table ledger.exports force row level security",
)


def upgrade() -> None:
    """Create the tables, and say who may do what."""
    op.execute(FILES)
    op.execute(PARTS)
    op.execute(
        "create index export_files_unfinished on ledger.export_files (tenant_id, log_id, size) where sha256 is null"
    )
    for statement in BACKFILL:
        op.execute(statement)
    silo(op, SERVICE, "export_files", by_unit=True)
    silo(op, SERVICE, "export_parts", grants="select")
    duty(op, SERVICE, "export_files", commands=("select",))
    duty(op, SERVICE, "export_files", commands=("update",), columns="bytes, sha256")
    duty(op, SERVICE, "export_parts", commands=("select", "insert"))
    append_only(op, SERVICE, "export_parts")
