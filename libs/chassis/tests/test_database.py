"""A transaction sees its scope's tenant and units, and nothing else, whatever the pool did before."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import pytest_asyncio
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError
from tallystick_chassis.database import Database, DutyDatabase, InsecureConnectionError, connection_arguments
from tallystick_chassis.ids import OrgUnitId, PersonRef, TenantId
from tallystick_chassis.scope import ALL_UNITS, Scope, ScopeError
from tallystick_chassis.self_test import SelfTestError, findings, self_test
from tallystick_chassis.tables import directory_people, directory_tenants, events, outbox
from tallystick_chassis.transaction import ConcurrencyError, EventDraft
from tallystick_cli.stack.database_setup import run_sql
from tallystick_cli.stack.errors import ServerFailedError
from tallystick_contracts.generated.assessment import CredentialPublished
from tallystick_contracts.generated.identity import OrgUnitCreated, TenantCreated
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_cli.stack.temporary import Databases

ONE, OTHER = TenantId(uuid4()), TenantId(uuid4())
NORTH, SOUTH = OrgUnitId(uuid4()), OrgUnitId(uuid4())
SERVICE = ServiceName.PRIVACY


class HalfWayError(Exception):
    """A transaction that goes no further."""


def _scope(tenant: TenantId = ONE, *units: OrgUnitId) -> Scope:
    return Scope(tenant=tenant, org_units=frozenset(units), actor="p_someone", correlation="c1")


@pytest_asyncio.fixture
async def database(chassis_databases: Databases) -> AsyncIterator[Database]:
    """One connection only, so that transactions follow each other on it."""
    ca_file = chassis_databases.servers.layout.ca_file
    opened = Database(chassis_databases.dsn(SERVICE, "app"), SERVICE, pool_size=1, ca_file=ca_file)
    yield opened
    await opened.dispose()


@pytest_asyncio.fixture
async def duty(chassis_databases: Databases) -> AsyncIterator[DutyDatabase]:
    ca_file = chassis_databases.servers.layout.ca_file
    opened = DutyDatabase(chassis_databases.dsn(SERVICE, "duty"), SERVICE, pool_size=1, ca_file=ca_file)
    yield opened
    await opened.dispose()


def _as_superuser(databases: Databases, statement: str) -> None:
    run_sql(databases.servers, databases.name, [statement])


async def _add_tenant(database: Database, tenant: TenantId, slug: str) -> None:
    async with database.transaction(_scope(tenant)) as tx:
        await tx.execute(insert(directory_tenants).values(tenant_id=tenant, slug=slug, name=slug))


async def _slugs(database: Database, scope: Scope) -> list[str]:
    async with database.transaction(scope) as tx:
        return list((await tx.execute(select(directory_tenants.c.slug))).scalars())


@pytest.mark.control("EV-11b")
async def test_two_thousand_interleaved_transactions_on_one_connection_never_mix_tenants(database: Database) -> None:
    await _add_tenant(database, ONE, "one")
    await _add_tenant(database, OTHER, "other")
    order = [(ONE, ["one"]), (OTHER, ["other"])] * 1_000
    random.Random(7).shuffle(order)  # noqa: S311 - an order, not a secret
    for tenant, expected in order:
        assert await _slugs(database, _scope(tenant)) == expected


@pytest.mark.control("EV-22d")
async def test_without_a_scope_nothing_is_seen_and_nothing_can_be_written(database: Database) -> None:
    await _add_tenant(database, ONE, "one")
    async with database.unscoped() as connection:
        assert (await connection.execute(select(directory_tenants))).all() == []
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.unscoped() as connection:
            await connection.execute(insert(directory_tenants).values(tenant_id=OTHER, slug="x", name="x"))
    with pytest.raises(ScopeError):
        async with database.transaction(None):  # type: ignore[arg-type] # that is the point
            pass


@pytest.mark.control("EV-22d")
@pytest.mark.parametrize("garbage", ["not-a-uuid", "' or true --", "*"])
async def test_a_garbage_tenant_setting_is_an_error_and_never_all_rows(database: Database, garbage: str) -> None:
    await _add_tenant(database, ONE, "one")
    async with database.unscoped() as connection:
        await connection.execute(text("select set_config('app.tenant_id', :garbage, true)"), {"garbage": garbage})
        with pytest.raises(DBAPIError, match="uuid"):
            await connection.execute(select(directory_tenants))


@pytest.mark.control("DI-01")
async def test_a_row_can_only_be_written_for_the_own_tenant(database: Database) -> None:
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.transaction(_scope(ONE)) as tx:
            await tx.execute(insert(directory_tenants).values(tenant_id=OTHER, slug="x", name="x"))


@pytest.mark.control("EV-11d")
async def test_the_same_key_in_two_tenants_is_no_conflict(database: Database) -> None:
    # A unique violation would tell one tenant what the other has.
    for tenant in (ONE, OTHER):
        async with database.transaction(_scope(tenant, NORTH)) as tx:
            row = {"tenant_id": tenant, "person": "p_same", "org_unit_id": NORTH, "key_id": "k"}
            await tx.execute(insert(directory_people).values(row))


@pytest.mark.control("EV-22c")
async def test_rows_of_another_org_unit_are_neither_seen_nor_written(database: Database) -> None:
    def person(name: str, unit: OrgUnitId) -> dict[str, object]:
        return {"tenant_id": ONE, "person": name, "org_unit_id": unit, "key_id": "k"}

    async with database.transaction(_scope(ONE, NORTH, SOUTH)) as tx:
        await tx.execute(insert(directory_people), [person("p_north", NORTH), person("p_south", SOUTH)])
    cases = [((NORTH,), {"p_north"}), ((SOUTH,), {"p_south"}), ((), set()), ((NORTH, SOUTH), {"p_north", "p_south"})]
    for units, expected in cases:
        async with database.transaction(_scope(ONE, *units)) as tx:
            assert set((await tx.execute(select(directory_people.c.person))).scalars()) == expected
    everywhere = Scope(tenant=ONE, org_units=ALL_UNITS, actor="privacy", correlation="c1")
    async with database.transaction(everywhere) as tx:
        assert len((await tx.execute(select(directory_people))).all()) == 2
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.transaction(_scope(ONE, NORTH)) as tx:
            await tx.execute(insert(directory_people).values(person("p_moved", SOUTH)))


async def test_a_failed_transaction_leaves_nothing_and_the_connection_no_scope(database: Database) -> None:
    async def fail_half_way() -> None:
        async with database.transaction(_scope(ONE)) as tx:
            await tx.execute(insert(directory_tenants).values(tenant_id=ONE, slug="one", name="one"))
            raise HalfWayError

    with pytest.raises(HalfWayError):
        await fail_half_way()
    assert await _slugs(database, _scope(ONE)) == []
    async with database.unscoped() as connection:
        left = (await connection.execute(text("select current_setting('app.tenant_id', true)"))).scalar_one()
    assert left == ""


def _created(slug: str) -> EventDraft:
    return EventDraft(TenantCreated(slug=slug, name=slug))


@pytest_asyncio.fixture
async def identity(chassis_databases: Databases) -> AsyncIterator[Database]:
    ca_file = chassis_databases.servers.layout.ca_file
    opened = Database(chassis_databases.dsn(ServiceName.IDENTITY, "app"), "identity", ca_file=ca_file)
    yield opened
    await opened.dispose()


async def test_events_come_back_as_they_were_appended_each_with_its_outbox_row(
    identity: Database, chassis_databases: Databases
) -> None:
    scope = Scope(
        tenant=ONE, org_units=frozenset({OrgUnitId(ONE)}), actor="p_a", correlation="c9", causation="e0",
        idempotency_key="key-1", client_correlation="mine",
    )  # fmt: skip
    async with identity.transaction(scope) as tx:
        (first,) = await tx.append("tenant:1", 0, [_created("one")])
        second, third = await tx.append("tenant:1", 1, [_created("two"), _created("three")])
    async with identity.transaction(scope) as tx:
        loaded = await tx.load("tenant:1")
        assert [event.data.slug for event in loaded] == ["one", "two", "three"]  # type: ignore[attr-defined]
        assert [event.stream_version for event in loaded] == [1, 2, 3]
        assert {(e.actor, e.correlation, e.causation, e.org_unit) for e in loaded} == {("p_a", "c9", "e0", ONE)}
        assert [event.id for event in await tx.load("tenant:1", after=2)] == [third.id]
        rows = (await tx.execute(select(events.c.idempotency_key, events.c.client_correlation))).all()
        assert set(rows) == {("key-1", "mine")}
    duty = DutyDatabase(
        chassis_databases.dsn(ServiceName.IDENTITY, "duty"),
        "identity",
        ca_file=chassis_databases.servers.layout.ca_file,
    )
    async with duty.duty() as connection:
        waiting = (await connection.execute(select(outbox.c.event_id).order_by(outbox.c.position))).scalars()
        assert list(waiting) == [first.id, second.id, third.id]
    await duty.dispose()


async def test_of_two_who_append_after_the_same_version_one_wins(identity: Database) -> None:
    scope = _scope(ONE, OrgUnitId(ONE))

    async def append(slug: str) -> None:
        async with identity.transaction(scope) as tx:
            await tx.append("tenant:1", 0, [_created(slug)])

    outcomes = await asyncio.gather(*(append(f"s{n}") for n in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, ConcurrencyError) for outcome in outcomes) == 7
    async with identity.transaction(scope) as tx:
        assert len(await tx.load("tenant:1")) == 1


async def test_an_effect_without_its_outbox_row_does_not_commit(
    identity: Database, chassis_databases: Databases
) -> None:
    _as_superuser(chassis_databases, "revoke insert on identity.outbox from tally_identity_app")
    scope = _scope(ONE, OrgUnitId(ONE))
    with pytest.raises(DBAPIError, match="permission denied"):
        async with identity.transaction(scope) as tx:
            await tx.append("tenant:1", 0, [_created("one")])
    async with identity.transaction(scope) as tx:
        assert await tx.load("tenant:1") == []


@pytest.mark.control("EV-11d")
async def test_an_event_of_a_unit_out_of_reach_is_refused(identity: Database) -> None:
    unit = OrgUnitCreated(unit_id=str(NORTH), name="north", path="north")
    with pytest.raises(DBAPIError, match="row-level security"):
        async with identity.transaction(_scope(ONE, SOUTH)) as tx:
            await tx.append("unit:1", 0, [EventDraft(unit, org_unit=NORTH)])


@pytest_asyncio.fixture
async def assessment(chassis_databases: Databases) -> AsyncIterator[Database]:
    ca_file = chassis_databases.servers.layout.ca_file
    opened = Database(chassis_databases.dsn(ServiceName.ASSESSMENT, "app"), "assessment", ca_file=ca_file)
    yield opened
    await opened.dispose()


async def test_a_public_event_names_nobody(assessment: Database) -> None:
    data = CredentialPublished(
        reference="r" * 43, commitment="c" * 64, credential_type="T", issuer="I", issued_at="2026-11-22T00:00:00Z"
    )
    scope = Scope(
        tenant=ONE, org_units=ALL_UNITS, actor="p_grader", correlation="the-correlation", causation="the-causation"
    )
    async with assessment.transaction(scope) as tx:
        (stored,) = await tx.append("credential:r", 0, [EventDraft(data, subject=PersonRef("p_holder"))])
    for forbidden in ("p_grader", "p_holder", "the-correlation", "the-causation", "org_unit", str(ONE)):
        assert forbidden.encode() not in stored.body


@pytest.mark.control("AU-01")
@pytest.mark.parametrize("statement", ["update {t} set type = 'x'", "delete from {t}", "truncate {t}"])
async def test_nobody_changes_a_stored_event_not_even_the_superuser(
    identity: Database, chassis_databases: Databases, statement: str
) -> None:
    async with identity.transaction(_scope(ONE, OrgUnitId(ONE))) as tx:
        await tx.append("tenant:1", 0, [_created("one")])
    with pytest.raises(ServerFailedError, match="append-only"):
        _as_superuser(chassis_databases, statement.format(t="identity.events"))
    with pytest.raises(DBAPIError, match="permission denied"):
        async with identity.transaction(_scope(ONE, OrgUnitId(ONE))) as tx:
            await tx.execute(text(statement.format(t="identity.events")))


@pytest.mark.control("X-13")
async def test_the_duty_role_reaches_no_table_that_does_not_name_it(duty: DutyDatabase) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with duty.duty() as connection:
            await connection.execute(text("select * from privacy.directory_people"))


@pytest.mark.control("EV-11c")
@pytest.mark.parametrize(
    ("wound", "finding"),
    [
        ("alter table privacy.events no force row level security", "does not force row-level security"),
        ("alter table privacy.events disable row level security", "does not force row-level security"),
        ("drop policy silo on privacy.events", "has no policy for the runtime role"),
        ("alter policy silo on privacy.events using (true) with check (true)", "lets every row through"),
        ("alter table privacy.events owner to tally_privacy_app", "belongs to the runtime role"),
        ("create view privacy.leak as select * from privacy.events", "not security_invoker"),
        ("create table privacy.open (id int)", "has no tenant_id"),
        ("grant create on schema privacy to tally_privacy_app", "may create tables"),
        ("alter table privacy.events disable trigger append_only", "has a trigger that is switched off"),
        ("grant delete on privacy.events to tally_privacy_app", "append-only, yet a runtime role may rewrite it"),
        ("grant update on privacy.feed to tally_privacy_duty", "append-only, yet a runtime role may rewrite it"),
        ("drop trigger append_only on privacy.feed", "guard feed.append_only is missing"),
        ("alter table privacy.events drop constraint events_pkey", "guard events.events_pkey is missing"),
        ("grant tally_privacy_owner to tally_privacy_app", "may become the owner"),
    ],
)
async def test_a_service_refuses_to_start_on_a_wounded_database(
    database: Database, chassis_databases: Databases, wound: str, finding: str
) -> None:
    guards = frozenset({"feed.append_only", "events.append_only", "events.events_pkey"})
    await self_test(database, guards)
    try:
        _as_superuser(chassis_databases, wound)
        with pytest.raises(SelfTestError, match=finding):
            await self_test(database, guards)
    finally:
        # Roles belong to the whole cluster, not to this test's database.
        _as_superuser(chassis_databases, "revoke tally_privacy_owner from tally_privacy_app")


@pytest.mark.control("EV-11c")
async def test_a_superuser_or_bypassing_role_fails_the_self_test(chassis_databases: Databases) -> None:
    ca_file = chassis_databases.servers.layout.ca_file
    superuser = Database(chassis_databases.superuser_dsn(), SERVICE, ca_file=ca_file)
    found = await findings(superuser)
    assert any("is a superuser" in one for one in found)
    assert any("bypasses" in one for one in found)
    await superuser.dispose()


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca"])
def test_a_database_elsewhere_is_reached_with_a_checked_certificate_or_not_at_all(mode: str) -> None:
    elsewhere = "postgresql://u:p@db.example.org/tally"
    with pytest.raises(InsecureConnectionError, match="verify-full"):
        connection_arguments(f"{elsewhere}?sslmode={mode}", application_name="t")
    _url, arguments = connection_arguments(elsewhere, application_name="t")
    assert arguments["ssl"].check_hostname
    assert connection_arguments("postgresql://u:p@127.0.0.1/t?sslmode=disable", application_name="t")[1]["ssl"] is False


async def test_a_failing_statement_does_not_put_its_values_into_the_error(database: Database) -> None:
    personal = "Ada Lovelace <ada@example.org>"
    with pytest.raises(DBAPIError) as caught:
        async with database.transaction(_scope(ONE)) as tx:
            await tx.execute(insert(directory_tenants).values(tenant_id=OTHER, slug="x", name=personal))
    assert "Lovelace" not in str(caught.value)
    assert "Lovelace" not in repr(caught.value)
