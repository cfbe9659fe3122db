"""The search table, filled behind the writer, and how far it reaches; no look-up stands in the write path any more.

Revision ID: 0005
Revises: 0004
"""

from alembic import op
from tallystick_chassis.policies import IN_TENANT, IN_UNIT, app_role, duty, silo

revision = "0005"
down_revision = "0004"

SERVICE = "ledger"

# What can be searched for, copied from the entries by a worker (docs/adr/0030-search-behind-the-writer.md).
SEARCH = """
create table ledger.search (
    tenant_id uuid not null,
    log_id uuid not null,
    seq bigint not null,
    org_unit_id uuid not null,
    recorded timestamptz not null,
    type text not null,
    actor text not null,
    subject text,
    correlation text,
    stream text,
    primary key (tenant_id, log_id, seq)
)
"""
SEARCH_CURSORS = """
create table ledger.search_cursors (
    tenant_id uuid not null,
    log_id uuid not null,
    indexed_to bigint not null check (indexed_to >= 0),
    primary key (tenant_id, log_id),
    foreign key (tenant_id, log_id) references ledger.logs (tenant_id, id)
)
"""
# The row is there as soon as the log is: a search reads each log's tail from here on, also before the worker came by.
BEGIN_SEARCH = """
create function ledger.begin_search() returns trigger language plpgsql as $$
begin
    insert into ledger.search_cursors (tenant_id, log_id, indexed_to) values (new.tenant_id, new.id, 0);
    return null;
end
$$
"""
BEGIN_SEARCH_TRIGGER = """
create trigger begin_search after insert on ledger.logs for each row execute function ledger.begin_search()
"""
# FORCE binds the owner as well, who fills in the logs that are there already.
BACKFILL = (
    "alter table ledger.logs no force row level security",
    "insert into ledger.search_cursors (tenant_id, log_id, indexed_to) select tenant_id, id, 0 from ledger.logs",
    "alter table ledger.logs force row level security",
)

# A log is read whole or not at all, so whoever holds the capability in the root unit finds every unit's entries.
ROOT_IN_REACH = (
    "(select nullif(current_setting('app.tenant_id', true), '') "
    "= any(string_to_array(current_setting('app.org_units', true), ',')))"
)
_PLACE = "recorded, log_id, seq"


def upgrade() -> None:
    """Create the tables, their indexes and who may do what; drop the index that the writer had to keep."""
    op.execute(SEARCH)
    op.execute(SEARCH_CURSORS)
    op.execute(f"create index search_recorded on ledger.search (tenant_id, {_PLACE})")
    for column in ("type", "actor", "stream", "org_unit_id"):
        op.execute(f"create index search_{column} on ledger.search (tenant_id, {column}, {_PLACE})")
    for column in ("subject", "correlation"):
        op.execute(
            f"create index search_{column} on ledger.search (tenant_id, {column}, {_PLACE}) where {column} is not null"
        )
    for statement in BACKFILL:
        op.execute(statement)

    condition = f"{IN_TENANT} and (({IN_UNIT}) or {ROOT_IN_REACH})"
    op.execute("alter table ledger.search enable row level security")
    op.execute("alter table ledger.search force row level security")
    op.execute(
        f"create policy silo on ledger.search for all to {app_role(SERVICE)} "
        f"using ({condition}) with check ({condition})"
    )
    op.execute(f"grant select on ledger.search to {app_role(SERVICE)}")
    silo(op, SERVICE, "search_cursors", grants="select")
    duty(op, SERVICE, "search", commands=("insert",))
    duty(op, SERVICE, "search_cursors", commands=("select", "insert"))
    duty(op, SERVICE, "search_cursors", commands=("update",), columns="indexed_to")

    op.get_bind().exec_driver_sql(BEGIN_SEARCH)
    op.execute(BEGIN_SEARCH_TRIGGER)
    op.execute("drop index ledger.entries_correlation")
