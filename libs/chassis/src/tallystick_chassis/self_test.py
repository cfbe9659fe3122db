"""The start-up self-test: a service serves only when its role is harmless, its tables closed and its guards in place.

``row_security = on`` protects nothing by itself: owners and BYPASSRLS roles see every row, and a view of theirs leaks.
What nobody may rewrite is held by a missing privilege and by a trigger behind it; both are looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from tallystick_chassis.policies import duty_role

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Row

    from tallystick_chassis.database import Database

UNSILOED = frozenset({"alembic_version"})
"""Tables without tenants' rows: the version table only."""

_ROLE = text(
    "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, "
    # Membership of any kind, also without SET or INHERIT; those two words are unknown before Postgres 16.
    "pg_has_role(current_user, :owner, 'member') as may_own, "
    "has_schema_privilege(current_user, :schema, 'create') as may_create, current_user::text as name "
    "from pg_roles where rolname = current_user"
)
_TABLES = text(
    "select c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) = current_user as owned, "
    "exists (select from pg_attribute a "
    "  where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnotnull) as has_tenant, "
    "exists (select from pg_policy p where p.polrelid = c.oid and "
    "  (select oid from pg_roles where rolname = current_user) = any(p.polroles)) as has_policy, "
    "exists (select from pg_policy p where p.polrelid = c.oid and ("
    "  coalesce(pg_get_expr(p.polqual, p.polrelid), '') = 'true' or "
    "  coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') = 'true') "
    "  and (0 = any(p.polroles) or (select oid from pg_roles where rolname = current_user) = any(p.polroles))"
    "  ) as open_policy, "
    "exists (select from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled = 'D') "
    "  as trigger_off, "
    "exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'append_only') "
    "  and (has_table_privilege(current_user, c.oid, 'update, delete, truncate')"
    "    or has_table_privilege(:duty, c.oid, 'update, delete, truncate')) as may_rewrite "
    "from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where n.nspname = :schema and c.relkind in ('r', 'p') order by 1"
)
_VIEWS = text(
    "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = :schema "
    "and c.relkind in ('v', 'm') and not coalesce('security_invoker=true' = any(c.reloptions), false) order by 1"
)
_GUARDS = text(
    "select c.relname || '.' || k.conname as guard from pg_constraint k join pg_class c on c.oid = k.conrelid "
    "join pg_namespace n on n.oid = c.relnamespace where n.nspname = :schema and k.convalidated "
    "union all "
    "select c.relname || '.' || t.tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid "
    "join pg_namespace n on n.oid = c.relnamespace where n.nspname = :schema and t.tgenabled in ('O', 'A')"
)


class SelfTestError(RuntimeError):
    """The database would not hold tenants apart; the service refuses to serve. ``findings`` says why."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("database self-test failed: " + "; ".join(self.findings))


_ROLE_FAULTS = (
    ("rolsuper", "is a superuser"),
    ("rolbypassrls", "bypasses row-level security"),
    ("rolcreaterole", "may create roles"),
    ("rolcreatedb", "may create databases"),
    ("may_own", "may become the owner"),
    ("may_create", "may create tables"),
)


async def findings(database: Database, guards: frozenset[str] = frozenset()) -> list[str]:
    """Return what is wrong with the service's role, tables, views and ``guards``; empty when all holds."""
    schema = database.service
    async with database.unscoped() as connection:
        role = (await connection.execute(_ROLE, {"owner": f"tally_{schema}_owner", "schema": schema})).one()
        tables = (await connection.execute(_TABLES, {"schema": schema, "duty": duty_role(schema)})).all()
        views = (await connection.execute(_VIEWS, {"schema": schema})).scalars().all()
        standing = set((await connection.execute(_GUARDS, {"schema": schema})).scalars())
    found = [f"role {role.name} {wrong}" for attribute, wrong in _ROLE_FAULTS if getattr(role, attribute)]
    if not tables:
        found.append(f"schema {schema} has no tables: run its migrations")
    for table in tables:
        found += [f"table {table.relname} {wrong}" for wrong in _table_faults(table)]
    found += [f"view {view} is not security_invoker" for view in views]
    return found + [f"guard {guard} is missing or switched off" for guard in sorted(guards - standing)]


def _table_faults(table: Row[Any]) -> Iterator[str]:
    if table.owned:
        yield "belongs to the runtime role"
    if table.relname in UNSILOED:
        return
    if not table.has_tenant:
        yield "has no tenant_id that is not null"
    if not (table.relrowsecurity and table.relforcerowsecurity):
        yield "does not force row-level security"
    if not table.has_policy:
        yield "has no policy for the runtime role"
    if table.open_policy:
        yield "has a policy that lets every row through"
    if table.trigger_off:
        yield "has a trigger that is switched off"
    if table.may_rewrite:
        yield "is append-only, yet a runtime role may rewrite it"


async def self_test(database: Database, guards: frozenset[str] = frozenset()) -> None:
    """Refuse to go on unless the runtime role and every table hold tenants apart, and every guard stands.

    ``guards`` are ``table.name`` of constraints and triggers that the service counts on (``Service.guards``).

    Raises:
        SelfTestError: naming every finding.
    """
    if found := await findings(database, guards):
        raise SelfTestError(found)
