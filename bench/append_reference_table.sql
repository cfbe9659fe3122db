-- What append_one_log is measured against: a table for the same rows that
-- guards nothing and finds nothing. Logged, so that a commit is as durable
-- as the ledger's.
create table append_reference (
    tenant_id uuid,
    log_id uuid,
    origin text,
    recorded timestamptz,
    org_unit_id uuid,
    seq bigint,
    entry_line bytea,
    event_size integer,
    leaf_hash bytea,
    prev_hash bytea,
    source_name text,
    aggregate_name text,
    source_seq bigint,
    event_id uuid,
    event_type text,
    actor_ref text,
    subject_ref text,
    correlation_ref text
)
