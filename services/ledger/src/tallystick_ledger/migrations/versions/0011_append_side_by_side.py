"""Two batches of one log at once: a log is locked when a batch's rows are in, not before.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"

SERVICE = "ledger"

# What is dear about a batch (checks, indexes) needs no lock: one that does not continue its log is rolled back whole.
# The log's row is locked at the end, by a statement of its own, which sees what was committed while it waited; under
# that lock the run's first row is compared with the head, and the head is moved.
# Three advisory locks keep batches from waiting for each other in a circle, and from overtaking:
# - ledger.log: each batch shares its log's. Who locks the log first, then reads it and appends (writing/store.py), has
#   it alone: so no batch is on its way whose rows could be in the way of his.
# - ledger.from: the place at which a batch begins. Of two batches for one place one begins.
# - ledger.to: the place at which it ends. The batch that begins there waits for it; a short one would overtake a long.
# Nothing but speed depends on them.
CONTINUE_LOG = """
create or replace function ledger.continue_log() returns trigger language plpgsql as $$
declare
    oldest record;
    newest record;
    log ledger.logs;
    bad bigint;
begin
    select tenant_id, log_id, origin, seq, prev_hash, recorded into oldest from added order by seq limit 1;
    if not found then
        return null;
    end if;
    select seq, leaf_hash, recorded into newest from added order by seq desc limit 1;

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
        run.log_id <> oldest.log_id
        or run.tenant_id <> oldest.tenant_id
        or run.origin <> oldest.origin
        or run.seq <> run.seq_before + 1
        or run.prev_hash <> run.hash_before
        or run.recorded < run.recorded_before
    limit 1;

    if bad is null then
        perform from ledger.logs
        where logs.tenant_id = oldest.tenant_id and logs.id = oldest.log_id and logs.size < oldest.seq;
        if found then
            perform pg_advisory_xact_lock_shared(hashtextextended('ledger.to:' || oldest.log_id, oldest.seq));
        end if;
        select logs.* into log from ledger.logs
        where logs.tenant_id = oldest.tenant_id and logs.id = oldest.log_id
        for no key update;
        if not found
            or log.closed_at is not null
            or oldest.origin <> log.origin
            or oldest.seq <> log.size
            or oldest.prev_hash <> log.head
            or oldest.recorded < log.last_recorded
        then
            bad := oldest.seq;
        end if;
    end if;
    if bad is not null then
        raise exception 'entry % does not continue its log', bad
            using errcode = 'integrity_constraint_violation', constraint = 'entries_continue_log';
    end if;

    update ledger.logs
    set size = newest.seq + 1, head = newest.leaf_hash, last_recorded = newest.recorded
    where logs.tenant_id = log.tenant_id and logs.id = log.id;
    return null;
end
$$
"""

# The parameters are those of 0007.
APPEND = r"""
create or replace function ledger.append(
    uuid, uuid, text, bigint, timestamptz, bytea[], bytea, text, text, text, text, text, text, text, text, text, text,
    text[], text[], bigint[], smallint[], bigint[], bytea[], bigint, bytea, bytea, text, timestamptz
) returns boolean language plpgsql volatile set lock_timeout = '500ms' as $$
begin
    if not pg_try_advisory_xact_lock_shared(hashtextextended('ledger.log:' || $2, 0))
        or not pg_try_advisory_xact_lock(hashtextextended('ledger.from:' || $2, $4))
        or not pg_try_advisory_xact_lock(hashtextextended('ledger.to:' || $2, $24))
    then
        return false;
    end if;
    -- The batch before may still be on its way; but a log that has gone on otherwise is not worth the work.
    perform from ledger.logs
    where logs.tenant_id = $1 and logs.id = $2 and logs.closed_at is null
        and (logs.size < $4 or (logs.size = $4 and logs.head = substr($7, 1, 32)));
    if not found then
        return false;
    end if;

    insert into ledger.entries (
        tenant_id, log_id, origin, seq, recorded, line, leaf_hash, prev_hash, event_size,
        source, aggregate, source_seq, event_id, type, actor, subject, correlation, org_unit_id
    )
    select
        $1, $2, $3, $4 + new.place - 1, $5, new.line,
        substr($7::bytea, (new.place * 32 + 1)::integer, 32), substr($7::bytea, (new.place * 32 - 31)::integer, 32),
        new.event_size, new.source, new.aggregate, new.source_seq, new.event_id, new.type, new.actor, new.subject,
        new.correlation, coalesce(new.org_unit_id, $1)
    from unnest(
        $6::bytea[],
        string_to_array($8, E'\n')::integer[],
        string_to_array($9, E'\n'),
        string_to_array($10, E'\n'),
        string_to_array($11, E'\n')::bigint[],
        string_to_array($12, E'\n')::uuid[],
        string_to_array($13, E'\n'),
        string_to_array($14, E'\n'),
        string_to_array($15, E'\n', ''),
        string_to_array($16, E'\n', ''),
        string_to_array($17, E'\n', '')::uuid[]
    ) with ordinality as new (
        line, event_size, source, aggregate, source_seq, event_id, type, actor, subject, correlation, org_unit_id, place
    );

    -- From here on the log is ours. One that has lost its newest checkpoint is not continued.
    if $4 > 0 and not exists (
        select from ledger.checkpoints
        where checkpoints.tenant_id = $1 and checkpoints.log_id = $2 and checkpoints.size = $4
    ) then
        raise exception 'log % has no checkpoint at its size %', $3, $4
            using errcode = 'integrity_constraint_violation', constraint = 'entries_continue_log';
    end if;
    with
    heads as (
        insert into ledger.source_heads (tenant_id, source, aggregate, last_seq)
        select $1, feeds.source, feeds.aggregate, feeds.last_seq
        from unnest($18::text[], $19::text[], $20::bigint[]) as feeds (source, aggregate, last_seq)
        on conflict (tenant_id, source, aggregate) do update set last_seq = excluded.last_seq
    ),
    nodes as (
        insert into ledger.tree_hashes (tenant_id, log_id, level, index, hash)
        select $1, $2, new.level, new.index, new.hash
        from unnest($21::smallint[], $22::bigint[], $23::bytea[]) as new (level, index, hash)
    )
    insert into ledger.checkpoints (tenant_id, log_id, size, start, root, frontier, note, signed_at)
    values ($1, $2, $24, $4, $25, $26, $27, $28);
    return true;
end
$$
"""


def upgrade() -> None:
    """Replace the trigger's function and the writer's."""
    for statement in (CONTINUE_LOG, APPEND):
        # The text goes to the server as it stands: `:` and `%` in it are SQL's, not parameters.
        op.get_bind().exec_driver_sql(statement)
