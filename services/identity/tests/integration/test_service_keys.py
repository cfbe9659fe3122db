"""A customer's machine uses the routes that people use, with a key that is shown once and ends when it is told to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from tallystick_identity.epochs.announcer import EpochAnnouncer
from tallystick_identity.service_keys.domain import KeyToken, parse_key

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, Tenant

KEYS = "identity/service-keys"


async def new_key(identity: Identity, admin: httpx.AsyncClient, tenant: Tenant, **changes: object) -> httpx.Response:
    body = {
        "name": "the payroll",
        "capabilities": ["people.read", "people.write"],
        "org_unit_id": str(tenant.id),
        "subtree": True,
        "expires_at": (identity.clock() + timedelta(days=30)).isoformat(),
    }
    return await identity.command(admin, "POST", KEYS, body | changes)


def machine(identity: Identity, key: str) -> httpx.AsyncClient:
    return identity.client(Authorization=f"Bearer {key}")


async def with_key(identity: Identity) -> tuple[Tenant, httpx.AsyncClient, dict[str, Any]]:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    made = await new_key(identity, admin, tenant)
    assert made.status_code == 201, made.text
    return tenant, admin, made.json()


async def test_a_key_opens_what_it_may_on_the_same_routes_without_cookies_and_nothing_else(identity: Identity):
    tenant, _, key = await with_key(identity)
    async with machine(identity, key["key"]) as client:
        assert (await client.get("/api/v1/identity/people")).status_code == 200
        made = await identity.command(
            client, "POST", "identity/people", {"email": f"x@{tenant.slug}.example", "display_name": "X"}
        )
        assert made.status_code == 201, "no CSRF token is asked for where no cookie authenticates"
        assert (await client.get("/api/v1/identity/roles")).status_code == 403
        assert (await client.get("/api/v1/identity/me")).status_code == 403, "it is nobody's session"
    event = (await identity.events(tenant.id, "identity.user.created"))[-1]
    assert event.actor == f"key_{key['id'].replace('-', '')}"


async def test_a_key_is_shown_once_and_stored_hashed(identity: Identity):
    tenant, admin, key = await with_key(identity)
    listed = (await admin.get(f"/api/v1/{KEYS}")).json()["keys"]
    assert [one["prefix"] for one in listed] == [key["key"][:12]]
    assert "key" not in listed[0]
    secret = key["key"].split(".")[1]
    repeated = uuid4().hex
    body = {
        "name": "again",
        "capabilities": ["people.read"],
        "org_unit_id": str(tenant.id),
        "expires_at": (identity.clock() + timedelta(days=1)).isoformat(),
    }
    first = await identity.command(admin, "POST", KEYS, body, key=repeated)
    second = await identity.command(admin, "POST", KEYS, body, key=repeated)
    assert "key" in first.json()
    assert "key" not in second.json()
    assert second.json()["id"] == first.json()["id"]
    async with identity.transaction(tenant.id) as tx:
        for query in (
            "select k::text from identity.service_keys k",
            "select convert_from(body, 'UTF8') from identity.idempotency",
        ):
            rows = "".join(str(row) for row in (await tx.execute(text(query))).scalars())
            assert secret not in rows
            assert first.json()["key"].split(".")[1] not in rows


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_a_key_ends(identity: Identity, end: str):
    tenant, admin, key = await with_key(identity)
    async with machine(identity, key["key"]) as client:
        assert (await client.get("/api/v1/identity/people")).status_code == 200
        if end == "revoked":
            assert (await identity.command(admin, "DELETE", f"{KEYS}/{key['id']}")).status_code == 200
            assert (await identity.command(admin, "DELETE", f"{KEYS}/{key['id']}")).status_code == 404
        else:
            identity.clock.ahead += timedelta(days=30, seconds=1)
        assert (await client.get("/api/v1/identity/people")).status_code == 401
    kinds = [
        event.type
        for event in await identity.events(tenant.id, "identity.service_key.created", "identity.service_key.revoked")
    ]
    assert kinds == ["identity.service_key.created", "identity.service_key.revoked"][: 2 if end == "revoked" else 1]


async def test_its_end_is_announced_and_its_use_is_not(identity: Identity):
    _, admin, key = await with_key(identity)
    said: list[str] = []

    class Listener:
        async def publish(self, message: Any) -> None:
            said.append(message.payload.decode())

    announcer = EpochAnnouncer(duty=identity.runtime.duty, bus=Listener(), clock=identity.clock)
    async with machine(identity, key["key"]) as client:
        await client.get("/api/v1/identity/people")
    await announcer.step()
    assert key["id"] not in "".join(said)
    await identity.command(admin, "DELETE", f"{KEYS}/{key['id']}")
    await announcer.step()
    assert key["id"] in "".join(said)


async def test_the_last_use_is_known_to_the_minute(identity: Identity):
    _, admin, key = await with_key(identity)
    async with machine(identity, key["key"]) as client:
        await client.get("/api/v1/identity/people")
        (first,) = (await admin.get(f"/api/v1/{KEYS}")).json()["keys"]
        await client.get("/api/v1/identity/people")
        (second,) = (await admin.get(f"/api/v1/{KEYS}")).json()["keys"]
    assert first["last_used_at"]
    assert second["last_used_at"] == first["last_used_at"]


@pytest.mark.parametrize(
    "capability", ["grants.write", "roles.write", "service_keys.write", "session.own", "feed.read"]
)
async def test_a_key_cannot_make_others_nor_hold_what_is_not_for_machines(identity: Identity, capability: str):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    refused = await new_key(identity, admin, tenant, capabilities=[capability])
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/capabilities/0")


@pytest.mark.control("AC-01")
async def test_a_key_can_do_no_more_than_its_maker_holds_there(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    south = await identity.new_unit(admin, "south")
    held = ["service_keys.write", "people.read"]
    await identity.command(admin, "POST", "identity/roles", {"name": "keys", "capabilities": held})
    maker = await identity.new_person(admin, "maker@keys.example")
    await identity.grant(admin, maker["id"], "keys", south, subtree=True)
    client = await identity.signed_in(tenant, "maker@keys.example")
    wanted = {"org_unit_id": south, "capabilities": ["people.read", "privacy.manage"]}
    refused = await new_key(identity, client, tenant, **wanted)
    assert (refused.status_code, refused.json()["errors"]) == (
        422,
        [{"detail": "is not yours to give in these units", "pointer": "/capabilities/1"}],
    )
    assert (await new_key(identity, client, tenant, **wanted | {"capabilities": ["people.read"]})).status_code == 201


async def test_a_key_lasts_a_year_at_most_and_reaches_units_of_its_maker(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    late = (identity.clock() + timedelta(days=400)).isoformat()
    assert (await new_key(identity, admin, tenant, expires_at=late)).status_code == 422
    assert (await new_key(identity, admin, tenant, org_unit_id=str(uuid4()))).status_code == 422


@pytest.mark.control("X-05")
async def test_forged_keys_are_refused_alike(identity: Identity):
    tenant, _, key = await with_key(identity)
    real = parse_key(key["key"])
    assert real is not None
    assert str(real) == key["key"]
    other = await identity.new_tenant()
    forged = [
        "tsk_",
        "tsk_" + "A" * 300,
        "tsk_é",
        key["key"][:-1],
        key["key"] + "A",
        key["key"].split(".")[0],
        str(KeyToken(tenant.id, uuid4(), real.secret)),
        str(KeyToken(other.id, real.id, real.secret)),
        key["key"].replace("tsk_", "tsk-"),
    ]
    for one in forged:
        async with identity.client() as client:
            headers = {"Authorization": b"Bearer " + one.encode()}
            answer = await client.get("/api/v1/identity/people", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated"), one
