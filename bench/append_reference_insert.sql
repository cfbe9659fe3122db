-- One batch into the bare table, as anyone would write it: an array for each
-- column that varies.
insert into append_reference
select
    $1 as tenant_id,
    $2 as log_id,
    $3 as origin,
    $4 as recorded,
    $1 as org_unit_id,
    batch.seq,
    batch.entry_line,
    batch.event_size,
    batch.leaf_hash,
    batch.prev_hash,
    batch.source_name,
    batch.aggregate_name,
    batch.source_seq,
    batch.event_id,
    batch.event_type,
    batch.actor_ref,
    batch.subject_ref,
    batch.correlation_ref
from unnest(
    $5::bigint[],
    $6::bytea[],
    $7::integer[],
    $8::bytea[],
    $9::bytea[],
    $10::text[],
    $11::text[],
    $12::bigint[],
    $13::uuid[],
    $14::text[],
    $15::text[],
    $16::text[],
    $17::text[]
) as batch (
    seq, entry_line, event_size, leaf_hash, prev_hash, source_name,
    aggregate_name, source_seq, event_id, event_type, actor_ref, subject_ref,
    correlation_ref
)
