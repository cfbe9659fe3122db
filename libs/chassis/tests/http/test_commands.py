"""One key, one effect, one answer: replayed, concurrent, reused, crashed, and when streams collide."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from litestar import Request, Response, post
from sqlalchemy import select
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.problems import Conflict
from tallystick_chassis.ids import new_id
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import events, idempotency
from tallystick_chassis.transaction import EventDraft
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.generated.privacy import TenantKeyMinted

TENANT = uuid4()
PATH = "/api/v1/privacy/renames"


class Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stream: str
    fail: bool = False
    slow_s: float = 0.0


class Renamed(msgspec.Struct, frozen=True):
    id: str


@post("/api/v1/privacy/renames", opt={"capability": Capability.SESSION_OWN})
async def rename(request: Request[Any, Any, Any], data: Rename, tenant_scope: Scope) -> Response[bytes]:
    async def run(tx):
        version = len(await tx.load(data.stream))
        if data.slow_s:
            await asyncio.sleep(data.slow_s)
        draft = EventDraft(TenantKeyMinted(day="2026-11-21", key_id="k"), org_unit=next(iter(tenant_scope.org_units)))
        await tx.append(data.stream, version, [draft])
        if data.fail:
            raise Conflict
        return Renamed(str(new_id()))

    return await perform(request, tenant_scope, run, status=201)


@pytest.fixture
def app(make_app, chassis_databases):
    return make_app(rename, databases=chassis_databases)


@pytest.fixture
def client(app, client_of):
    return client_of(app)


@pytest.fixture
def person(people):
    return people.sign_in(TENANT, uuid4())


async def _stored(app, table=events):
    runtime = app.state.runtime
    async with runtime.database.transaction(Scope.for_duty(TENANT, "privacy")) as tx:
        return (await tx.execute(select(table))).all()


@pytest.mark.control("EV-25b")
async def test_a_command_runs_once_and_its_events_carry_key_and_correlation(app, client, person):
    headers = person.unsafe | {"X-Correlation-ID": "mine"}
    answer = await client.post(PATH, json={"stream": "a"}, headers=headers)
    (row,) = await _stored(app)
    assert answer.status_code == 201
    assert row.idempotency_key == headers["Idempotency-Key"]
    assert (row.correlation, row.client_correlation) == (answer.headers["x-correlation-id"], "mine")
    assert answer.headers["content-type"].startswith("application/json")


async def test_the_same_key_gives_the_same_answer_and_no_second_effect(app, client, person):
    headers = person.unsafe
    first = await client.post(PATH, json={"stream": "a"}, headers=headers)
    again = await client.post(PATH, json={"stream": "a"}, headers=headers)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(await _stored(app)) == 1


async def test_duplicates_at_the_same_moment_wait_and_get_the_same_answer(app, client, person):
    headers = person.unsafe
    body = {"stream": "a", "slow_s": 0.3}
    answers = await asyncio.gather(*(client.post(PATH, json=body, headers=headers) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sorted("idempotency-replayed" in answer.headers for answer in answers) == [False, True, True, True]
    assert len(await _stored(app)) == 1


async def test_the_same_key_with_another_body_is_refused(app, client, person):
    headers = person.unsafe
    await client.post(PATH, json={"stream": "a"}, headers=headers)
    other = await client.post(PATH, json={"stream": "b"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = await client.post(f"{PATH}?x=1", json={"stream": "a"}, headers=headers)
    assert elsewhere.status_code == 422
    assert len(await _stored(app)) == 1


async def test_the_same_key_of_another_person_is_another_key(client, people, person):
    other = people.sign_in(TENANT, uuid4())
    key = {"Idempotency-Key": "shared"}
    one = await client.post(PATH, json={"stream": "a"}, headers=person.unsafe | key)
    two = await client.post(PATH, json={"stream": "b"}, headers=other.unsafe | key)
    assert one.status_code == two.status_code == 201
    assert one.content != two.content


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 129, "é"])
async def test_a_command_without_a_proper_key_is_refused(app, client, person, key):
    headers = person.unsafe
    del headers["Idempotency-Key"]
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    if key is not None:
        raw.append((b"Idempotency-Key", key.encode()))
    answer = await client.post(PATH, json={"stream": "a"}, headers=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")
    assert await _stored(app) == []


async def test_a_command_that_fails_leaves_nothing_and_may_be_sent_again(app, client, person):
    headers = person.unsafe
    assert (await client.post(PATH, json={"stream": "a", "fail": True}, headers=headers)).status_code == 409
    assert await _stored(app) == []
    assert await _stored(app, idempotency) == []
    assert (await client.post(PATH, json={"stream": "a"}, headers=headers)).status_code == 201


async def test_a_crash_before_the_commit_leaves_nothing(app, client, person):
    headers = person.unsafe
    sending = asyncio.create_task(client.post(PATH, json={"stream": "a", "slow_s": 5}, headers=headers))
    await asyncio.sleep(0.3)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert await _stored(app) == []
    assert await _stored(app, idempotency) == []
    assert (await client.post(PATH, json={"stream": "a"}, headers=headers)).status_code == 201


async def test_commands_that_collide_on_a_stream_are_tried_again(app, client, people):
    persons = [people.sign_in(TENANT, uuid4()) for _ in range(2)]
    home = persons[0].home
    for key, known in list(people.known.items()):
        people.known[key] = msgspec.structs.replace(known, home_unit=home)
    answers = await asyncio.gather(
        *(client.post(PATH, json={"stream": "a", "slow_s": 0.1}, headers=one.unsafe) for one in persons)
    )
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len(await _stored(app)) == 2


async def test_a_commit_that_fails_is_a_500_and_never_a_201(app, client, person, chassis_databases):
    run_sql(
        chassis_databases.servers,
        chassis_databases.name,
        [
            """create function privacy.late() returns trigger language plpgsql
               as $$ begin raise exception 'late'; end $$""",
            """create constraint trigger late after insert on privacy.events deferrable initially deferred
               for each row execute function privacy.late()""",
        ],
    )
    answer = await client.post(PATH, json={"stream": "a"}, headers=person.unsafe)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert await _stored(app) == []
