"""What Postgres itself says about tables, policies, privileges, functions and roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from tallystick_cli.stack import database_setup
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from tallystick_cli.stack.services import Servers

SCHEMAS = tuple(ServiceName)
_IN_OURS = "n.nspname = any(array[" + ", ".join(f"'{schema}'" for schema in SCHEMAS) + "])"

_TABLES = f"""
select n.nspname as schema, c.relname as name, c.relkind as kind, pg_get_userbyid(c.relowner) as owner,
    c.relrowsecurity as enabled, c.relforcerowsecurity as forced,
    coalesce('security_invoker=true' = any(c.reloptions), false) as invoker,
    (select coalesce(json_agg(json_build_object(
        'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'required', a.attnotnull)
        order by a.attnum), '[]')
     from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
    (select coalesce(json_agg(t.tgname::text order by t.tgname), '[]')
     from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled = 'O') as triggers
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where {_IN_OURS} and c.relkind in ('r', 'p', 'v', 'm', 'f')
order by 1, 2
"""
_INDEXES = f"""
select n.nspname as schema, t.relname as "table", c.relname as name, i.indisunique as is_unique,
    pg_get_indexdef(i.indexrelid, 1, true) as first
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
    join pg_namespace n on n.oid = t.relnamespace
where {_IN_OURS} order by 1, 2, 3
"""
_POLICIES = f"""
select n.nspname as schema, c.relname as "table", p.polname as name, p.polcmd as command, p.polpermissive as permissive,
    (select json_agg(coalesce(r.rolname::text, 'public'))
     from unnest(p.polroles) o left join pg_roles r on r.oid = o) as roles,
    pg_get_expr(p.polqual, p.polrelid) as "using", pg_get_expr(p.polwithcheck, p.polrelid) as "check"
from pg_policy p join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
where {_IN_OURS} order by 1, 2, 3
"""
_PRIVILEGES = f"""
select n.nspname as schema, c.relname as object, coalesce(r.rolname::text, 'public') as role,
    lower(a.privilege_type) as privilege, g.whole as whole
from pg_class c join pg_namespace n on n.oid = c.relnamespace
    cross join lateral (
        select c.relacl as acl, true as whole
        union all
        select a.attacl, false from pg_attribute a where a.attrelid = c.oid and a.attacl is not null
    ) g
    cross join lateral aclexplode(g.acl) a
    left join pg_roles r on r.oid = a.grantee
where {_IN_OURS} and a.grantee <> c.relowner
group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4
"""
_FUNCTIONS = f"""
select n.nspname as schema, p.proname as name, p.prosecdef as definer, coalesce(to_json(p.proconfig), '[]') as settings,
    pg_get_userbyid(p.proowner) as owner,
    exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            where a.grantee = 0) as anyone
from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {_IN_OURS} order by 1, 2
"""
_ROLES = """
select r.rolname as name, r.rolcanlogin as login, r.rolsuper as super, r.rolbypassrls as bypass,
    r.rolcreaterole as makes_roles,
    r.rolcreatedb as makes_databases, r.rolreplication as replicates, r.rolinherit as inherits,
    (select coalesce(json_agg(distinct g.rolname::text), '[]') from pg_auth_members m
     join pg_roles g on g.oid = m.roleid where m.member = r.oid) as member_of,
    has_database_privilege(r.oid, current_database(), 'create') as makes_schemas,
    has_database_privilege(r.oid, current_database(), 'temp') as makes_temporary,
    (select coalesce(json_agg(n.nspname::text order by n.nspname), '[]') from pg_namespace n
     where has_schema_privilege(r.oid, n.oid, 'create')) as creates_in,
    (select coalesce(json_agg(n.nspname::text order by n.nspname), '[]') from pg_namespace n
     where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and has_schema_privilege(r.oid, n.oid, 'usage')) as uses
from pg_roles r where r.rolname ~ '^tally_' order by 1
"""


class Column(msgspec.Struct, frozen=True):
    name: str
    type: str
    required: bool


class Table(msgspec.Struct, frozen=True):
    """A table or view (``kind`` as in ``pg_class.relkind``)."""

    schema: str
    name: str
    kind: str
    owner: str
    enabled: bool
    forced: bool
    invoker: bool
    columns: tuple[Column, ...]
    triggers: tuple[str, ...]

    @property
    def full(self) -> str:
        return f"{self.schema}.{self.name}"

    def has(self, column: str) -> bool:
        return any(one.name == column for one in self.columns)


class Index(msgspec.Struct, frozen=True):
    schema: str
    table: str
    name: str
    is_unique: bool
    first: str


class Policy(msgspec.Struct, frozen=True):
    schema: str
    table: str
    name: str
    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None
    check: str | None

    @property
    def full(self) -> str:
        return f"{self.schema}.{self.table}"


class Privilege(msgspec.Struct, frozen=True):
    """``whole`` is false where single columns are meant."""

    schema: str
    object: str
    role: str
    privilege: str
    whole: bool


class Function(msgspec.Struct, frozen=True):
    schema: str
    name: str
    definer: bool
    settings: tuple[str, ...]
    owner: str
    anyone: bool


class Role(msgspec.Struct, frozen=True):
    name: str
    login: bool
    super: bool
    bypass: bool
    makes_roles: bool
    makes_databases: bool
    replicates: bool
    inherits: bool
    member_of: tuple[str, ...]
    makes_schemas: bool
    makes_temporary: bool
    creates_in: tuple[str, ...]
    uses: tuple[str, ...]


class Catalog(msgspec.Struct, frozen=True):
    """One database."""

    tables: tuple[Table, ...]
    indexes: tuple[Index, ...]
    policies: tuple[Policy, ...]
    privileges: tuple[Privilege, ...]
    functions: tuple[Function, ...]
    roles: tuple[Role, ...]


def read_catalog(servers: Servers, database: str) -> Catalog:
    """Read everything, as the superuser."""
    parts = {
        "tables": _TABLES,
        "indexes": _INDEXES,
        "policies": _POLICIES,
        "privileges": _PRIVILEGES,
        "functions": _FUNCTIONS,
        "roles": _ROLES,
    }
    statements = [f"select coalesce(json_agg(to_json(x)), '[]')::text from ({query}) x" for query in parts.values()]
    rows = [database_setup.run_sql(servers, database, [statement]) for statement in statements]
    found = {name: msgspec.json.decode(row) for name, row in zip(parts, rows, strict=True)}
    return msgspec.convert(found, Catalog)
