-- What append_one_log is measured against: a table for the same rows that guards nothing and finds nothing. Logged, so
-- that a commit is as durable as the ledger's.
create table append_reference (
    tenant_id uuid,
    log_id uuid,
    seq bigint,
    org_unit_id uuid,
    origin text,
    line bytea,
    event_size integer,
    leaf_hash bytea,
    prev_hash bytea,
    recorded timestamptz,
    source text,
    aggregate text,
    source_seq bigint,
    event_id uuid,
    type text,
    actor text,
    subject text,
    correlation text
)
