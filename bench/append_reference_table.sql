-- What append_one_log is measured against: a table for the same lines that guards nothing. Logged, so that a commit
-- is as durable as the ledger's.
create table append_reference (
    seq bigint not null primary key,
    line bytea not null
)
