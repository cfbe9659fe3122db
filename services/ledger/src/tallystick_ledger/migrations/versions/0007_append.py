"""One round trip for a batch: the writer's insert as a function that looks first whether the log ends where it thinks.

Revision ID: 0007
Revises: 0006
"""

from alembic import op
from tallystick_chassis.policies import duty_role

revision = "0007"
down_revision = "0006"

SERVICE = "ledger"

# $1 tenant, $2 log, $3 its origin, $4 its size before, $5 the time of the entries. $6 the lines; $7 the log's head
# before and then the leaf hashes, 32 bytes each. $8 to $17 have one line of text for each entry: sizes of events,
# sources, aggregates, source numbers, event ids, types, actors, subjects, correlations, units. $18 to $20 the feeds'
# last numbers; $21 to $23 tree hashes; $24 to $28 the checkpoint: size, root, frontier, note, time.
# It adds no privilege: it runs as who calls it, and the guards of 0002 bind it as any insert. It is a function because
# its plan is kept and its lock is taken first. lock_timeout: who waits for a log keeps a connection from the others.
APPEND = r"""
create function ledger.append(
    uuid, uuid, text, bigint, timestamptz, bytea[], bytea, text, text, text, text, text, text, text, text, text, text,
    text[], text[], bigint[], smallint[], bigint[], bytea[], bigint, bytea, bytea, text, timestamptz
) returns boolean language plpgsql volatile set lock_timeout = '500ms' as $$
begin
    perform from ledger.logs
    where logs.tenant_id = $1 and logs.id = $2 and logs.size = $4 and logs.head = substr($7, 1, 32)
        and logs.closed_at is null
    for update;
    if not found then
        return false;
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
    ),
    signed as (
        insert into ledger.checkpoints (tenant_id, log_id, size, start, root, frontier, note, signed_at)
        values ($1, $2, $24, $4, $25, $26, $27, $28)
    )
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
    return true;
end
$$
"""


def upgrade() -> None:
    """Add the function; the duty role alone may call it."""
    op.get_bind().exec_driver_sql(APPEND)
    op.execute("revoke execute on function ledger.append from public")
    op.execute(f"grant execute on function ledger.append to {duty_role(SERVICE)}")
