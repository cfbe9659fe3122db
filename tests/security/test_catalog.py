"""What holds tenants apart is in the database's own catalog, for every table there is and for every one to come."""

from __future__ import annotations

import re

import pytest
from sweep.catalog import SCHEMAS, Catalog, Table, read_catalog
from tallystick_cli.stack import database_setup
from tallystick_cli.stack.errors import ServerFailedError
from tallystick_cli.stack.temporary import Databases, RunningServers
from tallystick_contracts.topology import ServiceName

pytestmark = [pytest.mark.control("EV-11c"), pytest.mark.control("EV-11d"), pytest.mark.control("DI-01")]

UNSILOED = {"alembic_version"}
"""The version table alone holds no tenant's rows."""

WITHOUT_TENANT_FIRST = {
    "credentials_reference": "a public look-up knows the reference and no tenant",
    "logs_published": "a public look-up knows the log and no tenant",
    "credentials_due": "the worker asks which tenants have proofs to fetch",
    "idempotency_created_at": "pruning asks what is old, of all tenants",
    "inbox_handled_at": "pruning asks what is old, of all tenants",
    "outbox_published_at": "the relay asks which tenants have rows that were never confirmed",
}
"""Indexes for what crosses tenants, each with its reason. None is unique: a unique key across tenants would tell."""

UNIT_COLUMN_WITHOUT_UNIT_POLICY = {
    "identity.org_units": "the tree itself: whoever may read units sees all of the tenant's",
}

DEFINER_FUNCTIONS = {"ledger.find_open_log", "verification.find_credential"}
"""Functions that run as their owner. Row-level security binds the owner too (FORCE): see ADR 0021."""

OWNER_POLICIES = {
    "ledger.logs": "public_look_up",
    "verification.credentials": "public_look_up",
    "verification.withdrawals": "public_look_up",
    "verification.source_cursors": "public_freshness",
}

PURGED = {f"ledger.{table}" for table in ("logs", "entries", "tree_hashes", "search", "search_cursors")}
"""What the purge role sees of logs that were dropped, and of no other."""

APPEND_ONLY = {
    *(f"{schema}.{table}" for schema in SCHEMAS for table in ("events", "feed")),
    *(
        f"assessment.{table}"
        for table in (
            "evaluations",
            "evaluation_versions",
            "question_versions",
            "papers",
            "releases",
            "submissions",
            "score_versions",
            "remediations",
            "remediation_steps",
        )
    ),
    *(f"ledger.{table}" for table in ("entries", "tree_hashes", "checkpoints", "exports", "export_parts")),
    *(f"ledger.key_{table}" for table in ("changes", "statements", "rotations_finished")),
    "verification.withdrawals",
}

_TENANT = re.compile(
    r"tenant_id = \( SELECT \(NULLIF\(current_setting\('app\.tenant_id'::text, true\), ''::text\)\)::uuid"
)
_UNITS = re.compile(r"NULLIF\(current_setting\('app\.org_units'::text, true\), ''::text\)")


@pytest.fixture(scope="module")
def databases(stack: RunningServers) -> Databases:
    return stack.fresh_databases(migrated=True)


@pytest.fixture(scope="module", params=["main", "keys"])
def database(request: pytest.FixtureRequest, databases: Databases) -> str:
    return databases.name if request.param == "main" else databases.keys_name


@pytest.fixture(scope="module")
def catalog(databases: Databases, database: str) -> Catalog:
    return read_catalog(databases.servers, database)


def siloed(catalog: Catalog) -> list[Table]:
    return [table for table in catalog.tables if table.kind in "rp" and table.name not in UNSILOED]


def test_every_table_belongs_to_its_services_owner_and_no_other_kind_of_relation_is_there(catalog):
    assert siloed(catalog)
    assert {table.kind for table in catalog.tables} <= {"r", "v"}
    for table in catalog.tables:
        assert table.owner == f"tally_{table.schema}_owner", table.full


def test_every_row_says_whose_tenants_it_is(catalog):
    for table in siloed(catalog):
        (tenant,) = (column for column in table.columns if column.name == "tenant_id")
        assert tenant.required, table.full
        assert tenant.type == "uuid", table.full
        if table.has("org_unit_id"):
            (unit,) = (column for column in table.columns if column.name == "org_unit_id")
            assert (unit.required, unit.type) == (True, "uuid"), table.full


def test_every_key_and_index_begins_with_the_tenant(catalog):
    keyed = {(index.schema, index.table) for index in catalog.indexes if index.is_unique}
    assert keyed >= {(table.schema, table.name) for table in siloed(catalog)}
    for index in catalog.indexes:
        if index.table in UNSILOED or (index.name in WITHOUT_TENANT_FIRST and not index.is_unique):
            continue
        assert index.first == "tenant_id", f"{index.schema}.{index.name} begins with {index.first}"


def test_row_level_security_is_on_and_binds_the_owner(catalog):
    for table in siloed(catalog):
        assert (table.enabled, table.forced) == (True, True), table.full


def test_the_runtime_role_has_one_policy_for_reading_and_writing_alike(catalog):
    for table in siloed(catalog):
        app = f"tally_{table.schema}_app"
        (silo,) = (policy for policy in catalog.policies if policy.full == table.full and app in policy.roles)
        assert (silo.name, silo.command, silo.permissive, silo.roles) == ("silo", "*", True, (app,)), table.full
        assert silo.using == silo.check, table.full
        assert _TENANT.search(str(silo.using)), f"{table.full}: {silo.using}"
        assert not re.search(r"\btrue\b(?!\)| ELSE|\s+ELSE)", str(silo.using).replace("THEN true", "")), table.full
        by_unit = bool(_UNITS.search(str(silo.using)))
        assert by_unit == (table.has("org_unit_id") and table.full not in UNIT_COLUMN_WITHOUT_UNIT_POLICY), table.full


def test_nobody_else_has_a_policy_but_the_duty_role_and_the_public_look_up(catalog):
    for policy in catalog.policies:
        if policy.name == "silo":
            continue
        if policy.roles == (f"tally_{policy.schema}_owner",):
            assert OWNER_POLICIES.get(policy.full) == policy.name
            assert (policy.command, policy.check) == ("r", None)
            assert policy.using != "true"
            continue
        if policy.full in PURGED and policy.name.startswith("purge_"):
            assert policy.roles == ("tally_ledger_purge",), f"{policy.full} {policy.name}"
            assert "true" not in {policy.using, policy.check}
            continue
        assert policy.roles == (f"tally_{policy.schema}_duty",), f"{policy.full} {policy.name}"
        assert policy.name.startswith("duty_"), f"{policy.full} {policy.name}"
        assert policy.command in "rawd", f"{policy.full} {policy.name}: a duty names its commands one by one"


def test_there_are_duties_in_the_main_database_only(catalog, database, databases):
    duties = {policy.full for policy in catalog.policies if policy.name.startswith("duty_")}
    assert bool(duties) == (database == databases.name)


@pytest.mark.control("AU-01")
@pytest.mark.control("EV-14a")
def test_nobody_may_change_what_is_append_only(catalog, database, databases):
    present = {table.full: table for table in catalog.tables if table.full in APPEND_ONLY}
    if database == databases.name:
        assert set(present) == APPEND_ONLY
    for privilege in catalog.privileges:
        if f"{privilege.schema}.{privilege.object}" in present:
            purges = privilege.role == "tally_ledger_purge" and privilege.privilege == "delete"
            assert purges or privilege.privilege in {"select", "insert"}, privilege
    for name, table in present.items():
        assert "append_only" in table.triggers, name
    triggered = {table.full for table in catalog.tables if "append_only" in table.triggers}
    assert triggered == set(present), "a table that only grows is on the list of this test"


@pytest.mark.control("AU-01")
@pytest.mark.control("EV-14a")
@pytest.mark.parametrize("table", sorted(APPEND_ONLY))
def test_not_even_the_superuser_changes_an_append_only_row_in_passing(databases, table):
    """A trigger stands behind the privileges; it refuses the statement, whether or not a row would match."""
    for statement in (
        f"update {table} set tenant_id = tenant_id where false",
        f"delete from {table} where false",
        f"truncate {table} cascade",
    ):
        with pytest.raises(ServerFailedError, match="is append-only"):
            database_setup.run_sql(databases.servers, databases.name, [statement])


def test_privileges_are_only_the_services_own_and_only_to_rows(catalog):
    for privilege in catalog.privileges:
        own = {f"tally_{privilege.schema}_{kind}" for kind in ("app", "duty")} | (
            {"tally_ledger_purge"} if f"{privilege.schema}.{privilege.object}" in PURGED else set()
        )
        assert privilege.role in own, privilege
        assert privilege.privilege in {"select", "insert", "update", "delete"}, privilege


def test_nobody_deletes_but_what_is_meant_to_pass(catalog):
    """Deletion is for what must not stay: sign-in requests and links, sessions, factors, passwords, used keys, what
    was sent or said, counts whose window is over, and what was remembered so that nothing happens twice."""
    deleting = {
        (f"{privilege.schema}.{privilege.object}", privilege.role.rsplit("_", 1)[1])
        for privilege in catalog.privileges
        if privilege.privilege == "delete"
    }
    passing = ("outbox", "misses", "rate_counters", "idempotency", "inbox")
    allowed = {(f"{schema}.{table}", "duty") for schema in SCHEMAS for table in passing} | {
        (f"identity.{table}", "app")
        for table in (
            "login_requests",
            "magic_links",
            "sessions",
            "public_key_pool",
            "second_factors",
            "recovery_codes",
            "passwords",
            "passkey_challenges",
            "sso_rules",
            "sso_identities",
            "sso_grants",
            "sso_requests",
            "sso_logouts",
        )
    }
    allowed.add(("ledger.breaks", "duty"))  # while nothing goes on after it: the right database is back
    allowed |= {(table, "purge") for table in PURGED - {"ledger.logs"}}
    allowed |= {("assessment.publications", "app"), ("identity.epochs_waiting", "duty")}
    assert deleting <= allowed


def test_runtime_roles_can_do_nothing_but_use_their_own_schema(catalog):
    roles = {role.name: role for role in catalog.roles}
    assert set(roles) == {
        f"tally_{name}_{kind}" for name in ServiceName for kind in ("owner", "migrate", "app", "duty")
    } | {"tally_ledger_purge"}
    for role in roles.values():
        _, service, kind = role.name.split("_")
        powers = (role.super, role.bypass, role.makes_roles, role.makes_databases, role.replicates)
        assert not any(powers), role
        assert not any((role.inherits, role.makes_schemas, role.makes_temporary)), role
        assert role.login == (kind != "owner"), role
        assert role.member_of == ((f"tally_{service}_owner",) if kind == "migrate" else ()), role
        assert set(role.creates_in) <= ({service} if kind == "owner" else set()), role
        assert set(role.uses) <= {service}, role


def test_views_read_with_the_rights_of_whoever_asks(catalog):
    for table in catalog.tables:
        if table.kind == "v":
            assert table.invoker, f"{table.full} is not security_invoker"


def test_functions_that_run_as_their_owner_are_the_frozen_list_and_pin_their_search_path(catalog, database, databases):
    definers = {f"{function.schema}.{function.name}" for function in catalog.functions if function.definer}
    assert definers == (DEFINER_FUNCTIONS if database == databases.name else set())
    for function in catalog.functions:
        assert not function.anyone, f"{function.schema}.{function.name} may be executed by PUBLIC"
        assert function.owner == f"tally_{function.schema}_owner"
        if function.definer:
            paths = [one for one in function.settings if one.startswith("search_path=")]
            assert paths == ["search_path=pg_catalog, pg_temp"]


def test_no_column_holds_an_inexact_number_or_a_time_without_its_zone(catalog):
    for table in catalog.tables:
        for column in table.columns:
            assert column.type not in {"real", "double precision", "money"}, f"{table.full}.{column.name}"
            assert not column.type.startswith(("timestamp without", "time without")), f"{table.full}.{column.name}"
            assert column.type not in {"json", "jsonb"}, f"{table.full}.{column.name}: bytes stay as they were"


@pytest.mark.control("EV-11c")
def test_the_catalog_test_can_fail(stack):
    """An open policy, a table without a tenant and a leaking view are what these tests are for."""
    databases = stack.fresh_databases(migrated=True)
    database_setup.run_sql(
        databases.servers,
        databases.name,
        [
            "alter policy silo on identity.people using (true) with check (true)",
            "create table identity.loose (id uuid primary key)",
            "create view identity.window as select * from identity.people",
        ],
    )
    catalog = read_catalog(databases.servers, databases.name)
    for broken in (
        test_every_row_says_whose_tenants_it_is,
        test_every_key_and_index_begins_with_the_tenant,
        test_row_level_security_is_on_and_binds_the_owner,
        test_the_runtime_role_has_one_policy_for_reading_and_writing_alike,
        test_views_read_with_the_rights_of_whoever_asks,
    ):
        with pytest.raises((AssertionError, ValueError)):
            broken(catalog)
