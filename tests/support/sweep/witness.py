"""Watches every siloed table from inside the database: which job wrote whose rows, and in whose scope.

The services of the test build (``tests/support/unfiltered``) say in each statement which job sends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_cli.stack import database_setup
from tallystick_cli.stack.services import DATABASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_cli.stack.services import Servers

    from sweep.catalog import Catalog

_MAKE = (
    "create schema witness",
    "create table witness.seen (job text, role name, object text, tenant uuid)",
    "create table witness.strays (job text, role name, object text, command text, scope text, tenant uuid)",
    """
    create function witness.note() returns trigger language plpgsql security definer set search_path = '' as $$
    declare
        tenant uuid := case tg_op when 'DELETE' then old.tenant_id else new.tenant_id end;
        scope text := current_setting('app.tenant_id', true);
        job text := coalesce(substring(current_query() from '/\\* job ([^ ]+) \\*/'), '');
    begin
        insert into witness.seen values (job, session_user, tg_table_schema || '.' || tg_table_name, tenant);
        if session_user like '%\\_app' and scope is distinct from tenant::text
            or tg_op = 'UPDATE' and old.tenant_id <> new.tenant_id then
            insert into witness.strays
            values (job, session_user, tg_table_schema || '.' || tg_table_name, tg_op, scope, tenant);
        end if;
        return null;
    end $$
    """,
)


class Witness:
    """Triggers on all tables with a ``tenant_id``, made by the superuser; what they saw is read by it."""

    def __init__(self, servers: Servers, catalog: Catalog) -> None:
        self._servers = servers
        tables = [one for one in catalog.tables if one.kind in {"r", "p"} and one.has("tenant_id")]
        triggers = [
            f"create trigger witness after insert or update or delete on {one.full} "
            "for each row execute function witness.note()"
            for one in tables
        ]
        self._run([*_MAKE, *triggers])

    def workers(self) -> set[tuple[str, str, str]]:
        """Return service, job and tenant of all that was written by a job."""
        # The ledger's writer speaks to the driver itself; nothing else writes entries.
        job = "case when object = 'ledger.entries' then 'writer' else job end"
        query = f"select distinct split_part(role, '_', 2), {job}, tenant from witness.seen where {job} <> ''"
        return {
            (service, job, tenant) for service, job, tenant in (line.split("|") for line in self._run([query]).split())
        }

    def strays(self) -> list[str]:
        """Return the rows that were written in another tenant's scope, by job, table and command."""
        query = "select distinct job || ' ' || object || ' ' || command from witness.strays order by 1"
        return self._run([query]).strip().splitlines()

    def _run(self, statements: Sequence[str]) -> str:
        return database_setup.run_sql(self._servers, DATABASE, list(statements))
