"""Cross-tenant detection: another tenant's id is recorded with the tenant that asked, once; any other is not."""

import hashlib
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import connection_arguments
from tallystick_chassis.ids import PLATFORM_TENANT, TenantId
from tallystick_chassis.misses import MissChecker
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import misses


@pytest.fixture
async def room(house, tenant):
    """A table of things with (tenant_id, id), one thing of another tenant and one of our own."""
    ours, theirs = uuid4(), uuid4()
    other = TenantId(uuid4())
    url, arguments = connection_arguments(house.databases.superuser_dsn(), application_name="t", ca_file=house.ca_file)
    engine = create_async_engine(url, connect_args=arguments)
    async with engine.begin() as connection:
        await connection.execute(text("create table identity.things (tenant_id uuid, id uuid, secret text)"))
        await connection.execute(text("grant select (tenant_id, id) on identity.things to tally_identity_duty"))
        await connection.execute(
            text("insert into identity.things values (:a, :b, 's'), (:c, :d, 's')"),
            {"a": tenant, "b": ours, "c": other, "d": theirs},
        )
    await engine.dispose()
    return ours, theirs


async def ask(database, tenant, wanted, correlation="c-7"):
    scope = Scope.for_duty(tenant, "identity", correlation=correlation)
    async with database.transaction(scope) as tx:
        await tx.execute(
            insert(misses).inline(),
            {
                "tenant_id": tenant,
                "id": wanted,
                "route": "GET /things/{thing}",
                "actor": "p_AAAAAAAAAAAAAAAAAAAAAA",
                "correlation": correlation,
                "at": utc_now(),
            },
        )


async def attempts(database, duty, tenant):
    async with duty.duty() as connection:
        left = (await connection.execute(select(misses.c.position))).all()
        told = text("select count(*) from identity.events where tenant_id = :tenant")
        assert (await connection.execute(told, {"tenant": tenant})).scalar_one() == 0, (
            "the asking tenant learns nothing"
        )
        platform = text("select stream from identity.events where tenant_id = :tenant")
        names = list((await connection.execute(platform, {"tenant": PLATFORM_TENANT})).scalars())
    async with database.transaction(Scope.for_duty(PLATFORM_TENANT, "identity")) as tx:
        events = [event for name in names for event in await tx.load(name)]
    return len(left), [event for event in events if event.data.asking_tenant == str(tenant)]


@pytest.mark.control("DI-01")
async def test_only_another_tenants_id_is_recorded(house, tenant, room):
    ours, theirs = room
    database, duty = house.app("identity"), house.duty("identity")
    for wanted in (ours, theirs, uuid4()):
        await ask(database, tenant, wanted)
    assert await MissChecker(database=database, duty=duty, miss_tables=("things",)).step() is False
    left, (event,) = await attempts(database, duty, tenant)
    assert left == 0
    assert event.type == "authz.cross_tenant.attempted"
    assert event.data.id_sha256 == hashlib.sha256(str(theirs).encode()).hexdigest()
    assert (event.data.route, event.correlation) == ("GET /things/{thing}", "c-7")
    assert event.actor == "p_AAAAAAAAAAAAAAAAAAAAAA"


async def test_a_crash_before_the_miss_is_deleted_records_it_once(house, tools, tenant, room):
    _, theirs = room
    database, duty = house.app("identity"), house.duty("identity")
    await ask(database, tenant, theirs)
    checker = MissChecker(database=database, duty=duty, miss_tables=("things",))
    points = tools.CrashPoints(duty)
    points.arm(3)  # the misses, one look-up, its commit; the deletion dies
    with pytest.raises(tools.Crash):
        await checker.step()
    left, found = await attempts(database, duty, tenant)
    assert (left, len(found)) == (1, 1)
    await checker.step()
    left, found = await attempts(database, duty, tenant)
    assert (left, len(found)) == (0, 1)
