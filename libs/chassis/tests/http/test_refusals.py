"""What is refused is recorded: a denied capability as an event, an id that was not there as a miss."""

from __future__ import annotations

from datetime import date
from uuid import UUID, uuid4

import pytest
from litestar import get
from nacl.public import PrivateKey
from sqlalchemy import insert, select
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import events, misses, tenant_keys
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.envelope import decode_event
from tallystick_contracts.generated.authz import AccessDenied

TENANT, UNIT = uuid4(), uuid4()


@get("/api/v1/privacy/things/{thing:uuid}", opt={"capability": Capability.PEOPLE_READ})
async def read_thing(thing: UUID) -> None:  # noqa: ARG001
    raise NotFound


@get("/api/v1/privacy/other", opt={"capability": Capability.PEOPLE_READ})
async def read_other() -> None:
    return None


@get("/api/v1/privacy/feed-like/{tenant:uuid}", opt={"capability": Capability.PEOPLE_READ})
async def read_tenant(tenant: UUID) -> None:  # noqa: ARG001
    raise NotFound


@pytest.fixture
def app(make_app, chassis_databases):
    return make_app(read_thing, read_other, read_tenant, databases=chassis_databases)


@pytest.fixture
def client(app, client_of):
    return client_of(app)


async def _events(app, tenant=TENANT):
    async with app.state.runtime.database.transaction(Scope.for_duty(tenant, "privacy")) as tx:
        return [decode_event(bytes(body)) for body in (await tx.execute(select(events.c.body))).scalars()]


async def _misses(app):
    async with app.state.runtime.duty.duty() as connection:
        return (await connection.execute(select(misses).order_by(misses.c.position))).all()


@pytest.mark.control("EV-25a")
async def test_a_denied_capability_is_an_event_of_that_person_in_their_home_unit(app, client, people):
    person = people.sign_in(TENANT, UNIT)
    answer = await client.get("/api/v1/privacy/other", headers=person.cookies)
    (event,) = await _events(app)
    assert isinstance(event.data, AccessDenied)
    assert (event.data.route, event.data.capability) == ("GET /api/v1/privacy/other", "people.read")
    assert (event.actor, event.org_unit) == (person.ref, UNIT)
    assert event.correlation == answer.headers["x-correlation-id"]
    assert event.data.ip is None  # no tenant key yet


async def test_the_same_denial_is_recorded_once_a_minute(app, client, people):
    person = people.sign_in(TENANT, UNIT)
    for _ in range(3):
        assert (await client.get("/api/v1/privacy/other", headers=person.cookies)).status_code == 403
        await client.get(f"/api/v1/privacy/things/{uuid4()}", headers=person.cookies)
    assert sorted(event.data.route for event in await _events(app)) == [
        "GET /api/v1/privacy/other",
        "GET /api/v1/privacy/things/{thing}",
    ]


@pytest.mark.control("EV-25a")
async def test_the_address_of_a_denied_caller_is_sealed_to_the_tenants_key(app, client, people):

    async with app.state.runtime.database.transaction(Scope.for_duty(TENANT, "privacy")) as tx:
        key = PrivateKey.generate()
        row = {"tenant_id": TENANT, "day": date(2026, 1, 1), "key_id": "k1", "public_key": bytes(key.public_key)}
        await tx.execute(insert(tenant_keys), row)
    person = people.sign_in(TENANT, UNIT)
    await client.get("/api/v1/privacy/other", headers=person.cookies)
    (event,) = await _events(app)
    assert event.data.ip.key_id == "k1"
    assert "127.0.0.1" not in event.data.ip.box


async def test_an_id_that_is_not_there_leaves_a_miss_for_the_worker_to_look_up(app, client, people):
    person = people.sign_in(TENANT, UNIT, (("people.read",), (UNIT,)))
    wanted = uuid4()
    answer = await client.get(f"/api/v1/privacy/things/{wanted}", headers=person.cookies)
    (row,) = await _misses(app)
    assert (answer.status_code, row.tenant_id, row.id, row.actor) == (404, TENANT, wanted, person.ref)
    assert row.route == "GET /api/v1/privacy/things/{thing}"
    assert row.correlation == answer.headers["x-correlation-id"]
    assert str(wanted) not in answer.text


async def test_the_tenant_in_a_path_and_unknown_paths_leave_no_miss(app, client, people):
    person = people.sign_in(TENANT, UNIT, (("people.read",), (UNIT,)))
    await client.get(f"/api/v1/privacy/feed-like/{uuid4()}", headers=person.cookies)
    await client.get(f"/api/v1/privacy/none/{uuid4()}", headers=person.cookies)
    assert await _misses(app) == []


async def test_what_cannot_be_recorded_does_not_change_the_answer(client, people, chassis_databases):
    run_sql(chassis_databases.servers, chassis_databases.name, ["drop table privacy.misses, privacy.events"])
    person = people.sign_in(TENANT, UNIT, (("people.read",), (UNIT,)))
    stranger = people.sign_in(TENANT, UNIT)
    assert (await client.get(f"/api/v1/privacy/things/{uuid4()}", headers=person.cookies)).status_code == 404
    assert (await client.get("/api/v1/privacy/other", headers=stranger.cookies)).status_code == 403


@pytest.mark.control("X-13")
async def test_the_feed_gives_a_service_the_numbered_events_of_one_tenant(client, people, signer):
    person = people.sign_in(TENANT, UNIT)
    headers = {"Authorization": f"Bearer {signer.issue_service('ledger')}"}
    path = f"/api/v1/privacy/feed/{TENANT}/access"
    assert (await client.get(path, headers=headers)).json() == {"events": [], "head": 0}
    assert (await client.get(path, headers=person.cookies)).status_code == 403
    assert (await client.get(f"{path}?after=-1", headers=headers)).status_code == 400
    assert (await client.get(f"{path}?limit=501", headers=headers)).status_code == 400
