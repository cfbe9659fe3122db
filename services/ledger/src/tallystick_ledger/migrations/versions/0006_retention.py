"""Retention: until when an audit log is kept, what holds it, and the role that can drop what has expired, no more.

Revision ID: 0006
Revises: 0005
"""

from alembic import op
from tallystick_chassis.policies import app_role, duty, silo

revision = "0006"
down_revision = "0005"

SERVICE = "ledger"
PURGE = "tally_ledger_purge"

# dropped_at: from then on nobody gets the content, and the compliance log says so. gone_at: the last row is deleted.
COLUMNS = """
alter table ledger.logs
add column kept_until timestamptz,
add column dropped_at timestamptz,
add column gone_at timestamptz
"""
HOLDS = """
create table ledger.holds (
    tenant_id uuid not null,
    id uuid not null,
    log_id uuid,
    code text not null check (code ~ '^[A-Za-z0-9._-]{1,40}$'),
    placed_at timestamptz not null,
    released_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, log_id) references ledger.logs (tenant_id, id)
)
"""
# Whoever places a hold and whoever drops take turns for a tenant: a hold is either seen, or comes too late and shows.
GUARD_RETENTION = """
create function ledger.guard_retention() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if new.kept_until is null and new.dropped_at is null and new.gone_at is null then
            return new;
        end if;
        raise exception 'log % must be opened as one that is kept', new.origin
            using errcode = 'integrity_constraint_violation', constraint = 'logs_retention';
    end if;
    if new.kept_until is distinct from old.kept_until and (
        new.kept_until is null
        or new.kind <> 'audit'
        or new.closed_at is null
        or old.dropped_at is not null
        or new.kept_until < coalesce(old.kept_until, to_date(new.period, 'YYYY-MM') + interval '1 month')
    ) then
        raise exception 'log % is never kept for a shorter time', old.origin
            using errcode = 'integrity_constraint_violation', constraint = 'logs_retention';
    end if;
    if new.dropped_at is distinct from old.dropped_at then
        perform pg_advisory_xact_lock(hashtextextended('ledger.holds:' || new.tenant_id, 0));
        if old.dropped_at is not null
            or new.dropped_at is null
            or new.kind <> 'audit'
            or new.announced_at is null
            or new.kept_until is distinct from old.kept_until
            or new.kept_until is null
            or new.kept_until > clock_timestamp()
            or exists (
                select from ledger.holds
                where
                    holds.tenant_id = new.tenant_id and holds.released_at is null
                    and (holds.log_id is null or holds.log_id = new.id)
            )
        then
            raise exception 'log % is kept: it has not expired, or is held', old.origin
                using errcode = 'integrity_constraint_violation', constraint = 'logs_retention';
        end if;
    end if;
    if new.gone_at is distinct from old.gone_at and (
        old.gone_at is not null
        or new.gone_at is null
        or old.dropped_at is null
        or exists (select from ledger.entries where entries.tenant_id = new.tenant_id and entries.log_id = new.id)
    ) then
        raise exception 'the entries of log % are not gone', old.origin
            using errcode = 'integrity_constraint_violation', constraint = 'logs_retention';
    end if;
    return new;
end
$$
"""
GUARD_RETENTION_TRIGGER = """
create trigger guard_retention before insert or update on ledger.logs
for each row execute function ledger.guard_retention()
"""
GUARD_HOLD = """
create function ledger.guard_hold() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        perform pg_advisory_xact_lock(hashtextextended('ledger.holds:' || new.tenant_id, 0));
        if new.released_at is null and not exists (
            select from ledger.logs
            where logs.tenant_id = new.tenant_id and logs.id = new.log_id and logs.dropped_at is not null
        ) then
            return new;
        end if;
    elsif tg_op = 'UPDATE' then
        if old.released_at is null and new.released_at is not null
            and row(new.tenant_id, new.id, new.log_id, new.code, new.placed_at)
            is not distinct from row(old.tenant_id, old.id, old.log_id, old.code, old.placed_at)
        then
            return new;
        end if;
    end if;
    raise exception 'a hold is placed on what is there, and released once'
        using errcode = 'integrity_constraint_violation', constraint = 'holds_once';
end
$$
"""
GUARD_HOLD_TRIGGER = """
create trigger guard_hold before insert or update or delete on ledger.holds
for each row execute function ledger.guard_hold()
"""
# The one exception to append-only: the purge role deletes. Which rows, its policies say, and the trigger behind them.
REFUSE_ALL_BUT_PURGE = f"""
create function ledger.refuse_all_but_purge() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_user = '{PURGE}' then
        return null;
    end if;
    raise exception '%.% is append-only', tg_table_schema, tg_table_name
        using errcode = 'integrity_constraint_violation';
end
$$
"""
ONLY_DROPPED = """
create function ledger.only_dropped() returns trigger language plpgsql as $$
begin
    if exists (
        select from (select distinct gone.tenant_id, gone.log_id from gone) as touched
        where not exists (
            select from ledger.logs
            where logs.tenant_id = touched.tenant_id and logs.id = touched.log_id and logs.dropped_at is not null
        )
    ) then
        raise exception '%.% is append-only: this log was not dropped', tg_table_schema, tg_table_name
            using errcode = 'integrity_constraint_violation';
    end if;
    return null;
end
$$
"""
DROPPED = "exists (select from ledger.logs where logs.tenant_id = {0}.tenant_id and logs.id = {0}.log_id)"


def upgrade() -> None:
    """Add the columns, the holds, the guards, and what the purge role may do."""
    op.execute(COLUMNS)
    op.execute(HOLDS)
    op.execute("create index logs_to_drop on ledger.logs (tenant_id, kept_until) where dropped_at is null")
    for statement in (
        GUARD_RETENTION,
        GUARD_RETENTION_TRIGGER,
        GUARD_HOLD,
        GUARD_HOLD_TRIGGER,
        REFUSE_ALL_BUT_PURGE,
        ONLY_DROPPED,
    ):
        op.get_bind().exec_driver_sql(statement)
    silo(op, SERVICE, "holds")
    op.execute(f"grant update (released_at) on ledger.holds to {app_role(SERVICE)}")
    op.execute(f"grant update (dropped_at) on ledger.logs to {app_role(SERVICE)}")
    op.execute("grant update (kept_until) on ledger.logs to tally_ledger_duty")
    duty(op, SERVICE, "holds", commands=("select",))

    op.execute(f"create policy purge_select on ledger.logs for select to {PURGE} using (dropped_at is not null)")
    op.execute(
        f"create policy purge_update on ledger.logs for update to {PURGE} "
        "using (dropped_at is not null and gone_at is null) with check (dropped_at is not null)"
    )
    op.execute(f"grant select (tenant_id, id, dropped_at, gone_at) on ledger.logs to {PURGE}")
    op.execute(f"grant update (gone_at) on ledger.logs to {PURGE}")
    for table in ("entries", "tree_hashes"):
        op.execute(f"drop trigger append_only on ledger.{table}")
        op.execute(
            f"create trigger append_only before update or delete or truncate on ledger.{table} "
            "for each statement execute function ledger.refuse_all_but_purge()"
        )
        op.execute(
            f"create trigger only_dropped after delete on ledger.{table} "
            "referencing old table as gone for each statement execute function ledger.only_dropped()"
        )
    # Its own policy on the logs shows the role those that were dropped, and no other: so `exists` means dropped.
    for table in ("entries", "search", "search_cursors", "tree_hashes"):
        named = "tenant_id, log_id, seq" if table in {"entries", "search"} else "tenant_id, log_id"
        for command in ("select", "delete"):
            op.execute(
                f"create policy purge_{command} on ledger.{table} for {command} to {PURGE} "
                f"using ({DROPPED.format(table)})"
            )
        op.execute(f"grant select ({named}) on ledger.{table} to {PURGE}")
        op.execute(f"grant delete on ledger.{table} to {PURGE}")
