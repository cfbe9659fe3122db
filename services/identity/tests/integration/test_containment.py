"""What an operator ends in an incident has ended, and the ledger's source says so once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tallystick_chassis.ids import PLATFORM_TENANT
from tallystick_contracts.generated.identity import TokenVersionScope
from tallystick_identity.containment.command import contain, record_key_rotation

if TYPE_CHECKING:
    import httpx

    from conftest import Identity

BUMPED = "identity.token_version.bumped"


async def lives(client: httpx.AsyncClient) -> bool:
    seen = (await client.get("/api/v1/identity/me")).status_code
    refreshed = (await client.post("/session/refresh")).status_code
    assert (seen, refreshed) in {(200, 204), (401, 401)}
    return seen == 200


@pytest.mark.control("IR-02")
@pytest.mark.control("AC-05")
@pytest.mark.parametrize("by", ["address", "pseudonym"])
async def test_a_contained_person_is_out_and_others_are_not(identity: Identity, by: str):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    email = f"p@{tenant.slug}.example"
    person = await identity.new_person(admin, email)
    client = await identity.signed_in(tenant, email)
    before = len(await identity.events(tenant.id, BUMPED))  # the administrator's, by enrolling a factor
    who = email if by == "address" else person["person"]
    assert await contain(identity.runtime, ["user", f"--tenant={tenant.slug}", f"--person={who}"]) == 0
    assert not await lives(client)
    assert await lives(admin)
    (event,) = (await identity.events(tenant.id, BUMPED))[before:]
    assert (event.data.scope, event.data.person) == (TokenVersionScope.USER, person["person"])
    assert await lives(await identity.signed_in(tenant, email)), "to come back takes a new sign-in"


@pytest.mark.control("IR-02")
async def test_a_contained_tenant_is_out_again_and_again_and_others_are_not(identity: Identity):
    tenant, other = await identity.new_tenant(), await identity.new_tenant()
    stranger = await identity.signed_in(other)
    before = len(await identity.events(other.id, BUMPED))
    for version in (1, 2):
        clients = [await identity.signed_in(tenant) for _ in range(2)]
        assert await contain(identity.runtime, ["tenant", f"--tenant={tenant.slug}"]) == 0
        assert [await lives(client) for client in clients] == [False, False]
        told = [event.data for event in await identity.events(tenant.id, BUMPED)]
        assert [data.version for data in told if data.scope is TokenVersionScope.TENANT][-1] == version
    assert await lives(stranger)
    assert len(await identity.events(other.id, BUMPED)) == before
    assert await lives(await identity.signed_in(tenant))


@pytest.mark.control("IR-02")
async def test_containing_all_ends_every_session_and_stands_in_the_platforms_log(identity: Identity):
    tenants = [await identity.new_tenant() for _ in range(2)]
    clients = [await identity.signed_in(tenant) for tenant in tenants]
    before = len(await identity.events(PLATFORM_TENANT, BUMPED))
    assert await contain(identity.runtime, ["all"]) == 0
    assert [await lives(client) for client in clients] == [False, False]
    told = await identity.events(PLATFORM_TENANT, BUMPED)
    assert len(told) == before + 1
    assert told[-1].data.scope is TokenVersionScope.ALL


async def test_whoever_is_not_there_is_not_contained(identity: Identity, capsys: pytest.CaptureFixture[str]):
    tenant = await identity.new_tenant()
    nobody = ["user", f"--tenant={tenant.slug}", "--person=nobody@nowhere.example"]
    assert await contain(identity.runtime, nobody) == 1
    assert await contain(identity.runtime, ["tenant", "--tenant=no-such-tenant"]) == 1
    assert "there is no such person" in capsys.readouterr().err


@pytest.mark.control("EV-24e")
async def test_a_new_key_is_written_down(identity: Identity):
    assert await record_key_rotation(identity.runtime, ["--key=new-kid", "--previous=old-kid", "--distrusted"]) == 0
    event = (await identity.events(PLATFORM_TENANT, "identity.signing_key.rotated"))[-1]
    assert (event.data.key_id, event.data.previous_key_id, event.data.distrusted) == ("new-kid", "old-kid", True)
