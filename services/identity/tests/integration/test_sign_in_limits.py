"""How often a sign-in link may be asked for: three times an hour for an address, whoever has it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import RFC_4122, UUID

import pytest
from tallystick_cli.stack.database_setup import run_sql
from tallystick_contracts.generated.authz import RateLimitExceeded
from tallystick_identity.sign_in.domain import parse_binding

if TYPE_CHECKING:
    import httpx
    from tallystick_cli.stack.temporary import Databases

    from conftest import Identity, Tenant


async def _ask(identity: Identity, tenant: Tenant, email: str) -> httpx.Response:
    async with identity.client() as client:
        return await identity.ask_for_link(client, tenant, email)


def _shape(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


@pytest.mark.control("EV-21c")
@pytest.mark.control("EV-61")
async def test_the_fourth_request_of_an_hour_is_refused_and_voids_nothing(strict_identity: Identity) -> None:
    identity = strict_identity
    tenant = await identity.new_tenant()
    owner = identity.client()
    for _ in range(2):
        assert (await _ask(identity, tenant, tenant.admin_email)).status_code == 202
    assert (await identity.ask_for_link(owner, tenant, tenant.admin_email)).status_code == 202
    await identity.send_mail()
    for _ in range(2):
        refused = await _ask(identity, tenant, tenant.admin_email.upper())
        assert _shape(refused) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    link = [one for one in identity.links() if one.slug == tenant.slug][-1]
    assert (await owner.post("/api/v1/auth/verify", json=link.body)).status_code == 200
    (exceeded,) = await identity.events(tenant.id, "authz.rate_limit.exceeded")
    assert isinstance(exceeded.data, RateLimitExceeded)
    assert exceeded.data.budget == "link.recipient"
    assert exceeded.data.ip is not None
    identity.clock.ahead += timedelta(hours=1)
    assert (await _ask(identity, tenant, tenant.admin_email)).status_code == 202


@pytest.mark.control("EV-21d")
async def test_an_address_that_nobody_has_is_counted_alike_and_others_are_not_hindered(
    strict_identity: Identity,
) -> None:
    identity = strict_identity
    tenant = await identity.new_tenant()
    known = [_shape(await _ask(identity, tenant, tenant.admin_email)) for _ in range(5)]
    unknown = [_shape(await _ask(identity, tenant, "nobody@nowhere.example")) for _ in range(5)]
    assert known == unknown
    assert (await _ask(identity, tenant, "somebody@nowhere.example")).status_code == 202


@pytest.mark.control("EV-21d")
async def test_neither_the_cookie_nor_a_budget_tells_which_names_are_tenants(strict_identity: Identity) -> None:
    identity = strict_identity
    tenant = await identity.new_tenant()

    async def ask(slug: str) -> tuple[int, UUID]:
        asked = await identity.client().post("/api/v1/auth/login", json={"tenant": slug, "email": "kim@people.example"})
        binding = parse_binding(asked.cookies["__Host-tally_login"])
        assert binding is not None
        return asked.status_code, binding.link.tenant

    made_up = [await ask(f"no-such-tenant-{number}") for number in range(4)]
    assert {status for status, _ in made_up} == {202}, "no budget is shared by names that are no tenants"
    shown = [(await ask(tenant.slug))[1], *(one for _, one in made_up)]
    assert len(set(shown)) == 5
    assert {(one.version, one.variant) for one in shown} == {(4, RFC_4122)}
    assert (await ask("no-such-tenant-0"))[1] == made_up[0][1], "one name has one id, as a tenant has"


@pytest.mark.control("AC-02")
async def test_of_ten_requests_at_once_three_are_taken(strict_identity: Identity) -> None:
    identity = strict_identity
    tenant = await identity.new_tenant()
    answers = await asyncio.gather(*(_ask(identity, tenant, tenant.admin_email) for _ in range(10)))
    assert sorted(one.status_code for one in answers) == [202] * 3 + [429] * 7


@pytest.mark.control("EV-21c")
async def test_when_the_counters_are_gone_nobody_signs_in(databases: Databases, empty_identity: Identity) -> None:
    identity = empty_identity
    tenant = await identity.new_tenant()
    run_sql(databases.servers, databases.name, ["alter table identity.rate_counters rename to elsewhere"])
    refused = await _ask(identity, tenant, tenant.admin_email)
    assert _shape(refused) == (503, "unavailable")
    async with identity.client() as client:
        answer = await client.post("/api/v1/auth/verify", json={"request_id": "x", "token": "y" * 43})
    assert _shape(answer) == (503, "unavailable")
