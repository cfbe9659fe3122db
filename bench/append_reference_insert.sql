-- One batch into the bare table, as anyone would write it: an array for each column that varies.
insert into append_reference (
    tenant_id, log_id, origin, recorded, org_unit_id,
    seq, line, event_size, leaf_hash, prev_hash, source, aggregate, source_seq, event_id, type, actor, subject,
    correlation
)
select
    $1,
    $2,
    $3,
    $4,
    $1,
    new.*
from unnest(
    $5::bigint [],
    $6::bytea [],
    $7::integer [],
    $8::bytea [],
    $9::bytea [],
    $10::text [],
    $11::text [],
    $12::bigint [],
    $13::uuid [],
    $14::text [],
    $15::text [],
    $16::text [],
    $17::text []
) as new (
    seq, line, event_size, leaf_hash, prev_hash, source, aggregate, source_seq, event_id, type, actor, subject,
    correlation
)
