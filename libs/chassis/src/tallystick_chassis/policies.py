"""Row-level security, as migrations apply it: one silo per tenant and unit, and narrow doors for duties.

The settings are read as ``(select current_setting(…))``: bare, Postgres evaluates them for each row and is five times
slower. ``nullif`` is there because a setting is the empty string, not null, after the transaction that set it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.operations import Operations

IN_TENANT = "tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid)"
_UNITS = "nullif(current_setting('app.org_units', true), '')"
IN_UNIT = (
    f"case when (select {_UNITS}) = '*' then true "
    f"else org_unit_id in (select unnest(string_to_array(nullif({_UNITS}, '*'), ',')::uuid[])) end"
)


def app_role(service: str) -> str:
    """Return the service's runtime role, which row-level security binds."""
    return f"tally_{service}_app"


def duty_role(service: str) -> str:
    """Return the service's narrow cross-tenant role."""
    return f"tally_{service}_duty"


def silo(
    op: Operations, service: str, table: str, *, by_unit: bool = False, grants: str = "select, insert", schema: str = ""
) -> None:
    """Close ``table`` to all but the scope's tenant (``by_unit``: and its units); grant the runtime role ``grants``.

    The policy binds the owner as well (FORCE) and holds for reading and writing alike. ``UPDATE`` and ``DELETE`` are
    had only by naming them in ``grants``.
    """
    name = f"{schema or service}.{table}"
    condition = f"{IN_TENANT} and {IN_UNIT}" if by_unit else IN_TENANT
    op.execute(f"alter table {name} enable row level security")
    op.execute(f"alter table {name} force row level security")
    op.execute(
        f"create policy silo on {name} for all to {app_role(service)} using ({condition}) with check ({condition})"
    )
    op.execute(f"grant {grants} on {name} to {app_role(service)}")


def duty(op: Operations, service: str, table: str, *, commands: tuple[str, ...], columns: str = "") -> None:
    """Give the service's duty role ``commands`` (such as ``select``) on all tenants' rows of ``table``.

    ``columns`` narrows a select to the named columns, as in ``tenant_id, id``.
    """
    for command in commands:
        using = "" if command == "insert" else " using (true)"
        check = " with check (true)" if command in {"insert", "update"} else ""
        op.execute(
            f"create policy duty_{command} on {service}.{table} for {command} to {duty_role(service)}{using}{check}"
        )
        narrowed = f" ({columns})" if columns else ""
        op.execute(f"grant {command}{narrowed} on {service}.{table} to {duty_role(service)}")


def append_only(op: Operations, service: str, table: str, *, schema: str = "") -> None:
    """Let nobody, the owner included, update, delete or truncate rows of ``table``."""
    schema = schema or service
    op.execute(
        f"create or replace function {schema}.refuse_change() returns trigger language plpgsql as $$ "
        "begin raise exception '%.% is append-only', tg_table_schema, tg_table_name "
        "using errcode = 'integrity_constraint_violation'; end $$"
    )
    op.execute(
        f"create trigger append_only before update or delete or truncate on {schema}.{table} "
        f"for each statement execute function {schema}.refuse_change()"
    )
