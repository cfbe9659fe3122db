"""What the database itself refuses, whoever asks: an entry that does not continue its log, and any rewriting.

Revision ID: 0002
Revises: 0001
"""

from alembic import op
from tallystick_chassis.policies import append_only

revision = "0002"
down_revision = "0001"

SERVICE = "ledger"

# Every column of these checks is not null: a check that yields null would pass. `substr` has no (bytea, bigint) form;
# event_size is an integer. What the guards cost: bench/append_one_log.py.
LEAF_IS_HASH_OF_LINE = r"""
alter table ledger.entries add constraint leaf_is_hash_of_line check (leaf_hash = sha256('\x00'::bytea || line))
"""
LINE_SAYS_WHAT_COLUMNS_SAY = """
alter table ledger.entries add constraint line_says_what_columns_say check (
    line = '{"event":'::bytea || substr(line, 10, event_size) || convert_to(
        ',"log":"' || origin
        || '","prev":"' || encode(prev_hash, 'base64')
        || '","recorded":"' || to_char(recorded at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","seq":' || seq
        || ',"source_seq":' || source_seq
        || ',"v":1}', 'UTF8'
    )
)
"""
BOUNDS = """
alter table ledger.entries add constraint line_fits_and_numbers_count check (
    octet_length(line) <= 65535 and octet_length(prev_hash) = 32 and seq >= 0 and source_seq > 0
)
"""

# One call per insert, not one per row: lag() sets each new row beside the one before it, and the first beside the
# stored head. The same trigger moves the head, so rows beyond the head cannot exist. One statement adds to one log.
CONTINUE_LOG = """
create function ledger.continue_log() returns trigger language plpgsql as $$
declare
    log ledger.logs;
    bad bigint;
    newest record;
begin
    select logs.* into log
    from (select tenant_id, log_id from added limit 1) as first_row
    inner join ledger.logs on logs.tenant_id = first_row.tenant_id and logs.id = first_row.log_id;
    if not found and not exists (select from added) then
        return null;
    end if;

    select run.seq into bad
    from (
        select
            tenant_id, log_id, origin, seq, prev_hash, recorded,
            lag(seq) over log_order as seq_before,
            lag(leaf_hash) over log_order as hash_before,
            lag(recorded) over log_order as recorded_before
        from added
        window log_order as (order by seq)
    ) as run
    where
        log.id is null
        or log.closed_at is not null
        or run.log_id <> log.id
        or run.tenant_id <> log.tenant_id
        or run.origin <> log.origin
        or run.seq <> coalesce(run.seq_before + 1, log.size)
        or run.prev_hash <> coalesce(run.hash_before, log.head)
        or run.recorded < coalesce(run.recorded_before, log.last_recorded)
    limit 1;
    if found then
        raise exception 'entry % does not continue its log', bad
            using errcode = 'integrity_constraint_violation', constraint = 'entries_continue_log';
    end if;

    select added.seq, added.leaf_hash, added.recorded into newest from added order by added.seq desc limit 1;
    update ledger.logs
    set size = newest.seq + 1, head = newest.leaf_hash, last_recorded = newest.recorded
    where logs.tenant_id = log.tenant_id and logs.id = log.id;
    return null;
end
$$
"""
CONTINUE_LOG_TRIGGER = """
create trigger entries_continue_log after insert on ledger.entries
referencing new table as added for each statement execute function ledger.continue_log()
"""

GUARD_LOG = r"""
create function ledger.guard_log() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        if new.size = 0 and new.head = decode(repeat('00', 32), 'hex')
            and new.closed_at is null and new.announced_at is null then
            return new;
        end if;
        raise exception 'log % must be opened empty', new.origin
            using errcode = 'integrity_constraint_violation', constraint = 'logs_open_empty';
    end if;
    if row(new.tenant_id, new.org_unit_id, new.id, new.kind, new.period, new.origin, new.opened_at)
        is distinct from row(old.tenant_id, old.org_unit_id, old.id, old.kind, old.period, old.origin, old.opened_at)
        or (old.closed_at is not null and new.closed_at is distinct from old.closed_at)
        or (old.announced_at is not null and new.announced_at is distinct from old.announced_at)
    then
        raise exception 'log % cannot be rewritten', old.origin
            using errcode = 'integrity_constraint_violation', constraint = 'logs_keep_identity';
    end if;
    -- Depth 1 is this trigger by itself: somebody wrote the update by hand. Below continue_log the depth is 2. (Looking
    -- the newest entry up instead cost more than all other guards: its plan, cached while the table was small, scans.)
    if row(new.size, new.head, new.last_recorded) is distinct from row(old.size, old.head, old.last_recorded) and (
        pg_trigger_depth() < 2
        or old.closed_at is not null
        or new.size <= old.size
        or (new.period is not null and to_char(new.last_recorded at time zone 'UTC', 'YYYY-MM') <> new.period)
    ) then
        raise exception 'the head of log % moves only with new entries', old.origin
            using errcode = 'integrity_constraint_violation', constraint = 'logs_head_moves_with_entries';
    end if;
    return new;
end
$$
"""
GUARD_LOG_TRIGGER = """
create trigger guard_log before insert or update on ledger.logs for each row execute function ledger.guard_log()
"""
KEEP_LOGS_TRIGGER = """
create trigger keep_logs before delete or truncate on ledger.logs
for each statement execute function ledger.refuse_change()
"""


def upgrade() -> None:
    """Add the checks and triggers."""
    for statement in (
        LEAF_IS_HASH_OF_LINE,
        LINE_SAYS_WHAT_COLUMNS_SAY,
        BOUNDS,
        CONTINUE_LOG,
        CONTINUE_LOG_TRIGGER,
        GUARD_LOG,
        GUARD_LOG_TRIGGER,
        KEEP_LOGS_TRIGGER,
    ):
        # The text goes to the server as it stands: `:` and `%` in it are SQL's, not parameters.
        op.get_bind().exec_driver_sql(statement)
    for table in ("entries", "tree_hashes", "checkpoints", "exports"):
        append_only(op, SERVICE, table)
