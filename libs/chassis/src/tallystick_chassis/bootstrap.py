"""The SQL that an administrator runs once for each service: roles, schema, and nothing else.

Four roles a service: an owner that cannot log in, a migrator that may become the owner, a runtime role that owns
nothing, and a narrow duty role for what crosses tenants (relay, ledger writer). The ledger has a fifth, which can do
nothing but delete the rows of logs that were dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

SERVICES_WITH_KEY_STORE = frozenset({"identity", "assessment", "privacy"})
"""Which have a schema in the key store's database."""
SERVICES_WITH_KEK = SERVICES_WITH_KEY_STORE | {"ledger"}
"""Which have key-encryption keys: for the key store, and the ledger for the secrets of SIEM streams."""
SERVICES_WITH_PURGE = frozenset({"ledger"})
"""Which have a role that deletes what has expired."""


@dataclass(frozen=True, slots=True)
class RolePasswords:
    """The passwords of one service's login roles; ``purge`` is the ledger's."""

    migrate: str
    app: str
    duty: str
    purge: str | None = None


def login_kinds(service: str) -> tuple[str, ...]:
    """Return the kinds of the service's login roles."""
    return ("migrate", "app", "duty", "purge") if service in SERVICES_WITH_PURGE else ("migrate", "app", "duty")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def role_sql(service: str, passwords: RolePasswords) -> list[str]:
    """Return the statements that make the service's roles, once for all databases of a server. Safe to run again."""
    roles = [("owner", "nologin", "")] + [
        (kind, "login", f" password {_quoted(password)}")
        for kind in login_kinds(service)
        if (password := getattr(passwords, kind)) is not None
    ]
    statements = []
    for kind, login, password in roles:
        name = f"tally_{service}_{kind}"
        # `nosuperuser` and `nobypassrls` only where the role is made: to name them later takes a superuser, which
        # nobody is on a managed server. The self-test of every process looks whether they hold.
        statements.append(
            f"do $$ begin if not exists (select from pg_roles where rolname = '{name}') "
            f"then create role {name} nosuperuser nobypassrls; end if; end $$"
        )
        statements.append(f"alter role {name} {login} nocreatedb nocreaterole noinherit{password}")
    statements.append(f"grant tally_{service}_owner to tally_{service}_migrate")
    return statements


def schema_sql(service: str, database: str) -> list[str]:
    """Return the statements that make the service's schema; run them connected to ``database``, again if need be."""
    owner = f"tally_{service}_owner"
    logins = ", ".join(f"tally_{service}_{kind}" for kind in login_kinds(service))
    return [
        f"revoke all on database {database} from public",
        "revoke all on schema public from public",
        f"grant connect on database {database} to {logins}",
        f"grant {owner} to current_user",  # who is no superuser must be a member to act for the owner
        f"create schema if not exists {service} authorization {owner}",
        f"grant usage on schema {service} to {logins}",
        f"alter default privileges for role {owner} revoke execute on functions from public",
        f"revoke {owner} from current_user",
    ]
