"""Budgets on routes: 429 with Retry-After, counted by address, person and tenant, recorded once."""

from __future__ import annotations

from contextlib import nullcontext
from uuid import uuid4

import msgspec
import pytest
from litestar import get, post
from tallystick_chassis.budgets import BudgetLimits
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database
from tallystick_chassis.http.client_address import Networks
from tallystick_chassis.http.correlation import RequestContext
from tallystick_chassis.http.problems import TooManyRequests, Unavailable
from tallystick_chassis.http.route_limits import RouteLimits
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_chassis.rate_limits import RateLimiter
from tallystick_chassis.scope import Scope
from tallystick_chassis.sealing import Sealer
from tallystick_chassis.service import Principal
from tallystick_chassis.tables import events
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.envelope import decode_event
from tallystick_contracts.generated.authz import RateLimitExceeded
from tallystick_contracts.topology import ServiceName

TENANT, UNIT = uuid4(), uuid4()
SERVICE = ServiceName.ASSESSMENT


@post("/api/v1/assessment/remediations", opt={"capability": Capability.REMEDIATION_PROPOSE}, status_code=200)
async def propose() -> None:
    return None


@get("/api/v1/assessment/other", opt={"capability": Capability.REMEDIATION_PROPOSE})
async def other() -> None:
    return None


@pytest.fixture
def settings(settings):
    limits = BudgetLimits('{"remediation.person": 2, "remediation.tenant": 3}')
    return msgspec.structs.replace(settings, rate_limits=limits, trusted_proxies=Networks("127.0.0.1"))


@pytest.fixture
def app(make_app, chassis_databases):
    return make_app(propose, other, databases=chassis_databases, service=SERVICE)


@pytest.fixture
def client(app, client_of):
    return client_of(app)


async def _events(app, tenant=TENANT):
    async with app.state.runtime.database.transaction(Scope.for_duty(tenant, SERVICE)) as tx:
        found = [decode_event(bytes(row.body)) for row in await tx.execute(events.select())]
    return [one.data for one in found if isinstance(one.data, RateLimitExceeded)]


def _person(people):
    return people.sign_in(TENANT, UNIT, ((Capability.REMEDIATION_PROPOSE,), (UNIT,)))


@pytest.mark.control("EV-21c")
@pytest.mark.control("EV-61")
async def test_a_person_over_the_budget_is_told_when_to_come_back_and_others_are_not_hindered(app, client, people):
    person, other_person = _person(people), _person(people)

    async def ask(who):
        return await client.post("/api/v1/assessment/remediations", headers=who.unsafe)

    answers = [await ask(person) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 429, 429]
    refused = answers[2]
    assert refused.json()["code"] == "rate_limited"
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    # The tenant's budget counts both.
    assert (await ask(other_person)).status_code == 429
    assert (await client.get("/api/v1/assessment/other", headers=person.cookies)).status_code == 200
    recorded = await _events(app)
    assert sorted(one.budget for one in recorded) == ["remediation.person", "remediation.tenant"]
    assert {one.route for one in recorded} == {"POST /api/v1/assessment/remediations"}


@pytest.mark.control("EV-21c")
async def test_another_tenant_has_a_budget_of_its_own(client, people):
    for _ in range(3):
        await client.post("/api/v1/assessment/remediations", headers=_person(people).unsafe)
    stranger = people.sign_in(uuid4(), UNIT, ((Capability.REMEDIATION_PROPOSE,), (UNIT,)))
    assert (await client.post("/api/v1/assessment/remediations", headers=stranger.unsafe)).status_code == 200


async def test_a_refused_request_costs_nothing(client, people):
    person = _person(people)
    powerless = people.sign_in(TENANT, UNIT)
    for _ in range(4):
        answer = await client.post("/api/v1/assessment/remediations", headers=powerless.unsafe)
        assert answer.status_code == 403
    assert (await client.post("/api/v1/assessment/remediations", headers=person.unsafe)).status_code == 200


@pytest.mark.control("EV-21c")
async def test_without_its_counters_a_limited_route_fails_closed(client, people, chassis_databases):
    run_sql(chassis_databases.servers, chassis_databases.name, ["drop table assessment.rate_counters"])
    person = _person(people)
    answer = await client.post("/api/v1/assessment/remediations", headers=person.unsafe)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert (await client.get("/api/v1/assessment/other", headers=person.cookies)).status_code == 200


@pytest.fixture
def limits_of(chassis_databases):
    def make(service, dsn=None):
        database = Database(
            dsn or chassis_databases.dsn(service, "app"), service, ca_file=chassis_databases.servers.layout.ca_file
        )
        limiter = RateLimiter(key=b"k", limits={"client_tokens.address": 2})
        return database, RouteLimits(database, limiter, Sealer(utc_now))

    return make


@pytest.mark.control("EV-21c")
async def test_nobodys_requests_are_counted_by_address_and_recorded_in_the_platforms_log(limits_of):
    database, limits = limits_of(ServiceName.IDENTITY)

    async def ask(address):
        await limits.spend(RequestContext(correlation="c", client_address=address), "POST /oauth/token")

    for _ in range(2):
        await ask("198.51.100.1")
    for _ in range(2):
        with pytest.raises(TooManyRequests):
            await ask("198.51.100.1")
    await ask("198.51.100.2")
    async with database.transaction(Scope.for_duty(PLATFORM_TENANT, "identity")) as tx:
        (found,) = [decode_event(bytes(row.body)).data for row in await tx.execute(events.select())]
    assert (found.budget, found.route) == ("client_tokens.address", "POST /oauth/token")
    await database.dispose()


@pytest.mark.control("EV-21c")
async def test_when_the_counters_are_out_of_reach_sign_in_is_closed_and_public_checks_go_on(limits_of):
    nowhere = "postgresql://nobody@127.0.0.1:1/none?sslmode=disable"
    context = RequestContext(correlation="c", client_address="198.51.100.1")
    for service, route, closed in (
        (ServiceName.IDENTITY, "POST /api/v1/auth/verify", True),
        (ServiceName.VERIFICATION, "GET /certs/verify/{token}", False),
    ):
        database, limits = limits_of(service, nowhere)
        with pytest.raises(Unavailable) if closed else nullcontext():
            await limits.spend(context, route)
        await database.dispose()


async def test_our_own_services_are_not_counted(limits_of):
    database, limits = limits_of(ServiceName.IDENTITY)
    context = RequestContext(correlation="c", principal=Principal(name="ledger", is_service=True))
    for _ in range(4):
        await limits.spend(context, "POST /oauth/token")
    await database.dispose()
