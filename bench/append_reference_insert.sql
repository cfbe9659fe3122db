-- One batch into the bare table: one array of numbers, one of lines.
insert into append_reference (seq, line)
select
    new.seq,
    new.line
from unnest($1::bigint [], $2::bytea []) as new (seq, line)
