"""A second factor: who needs one, how it is enrolled, shown once, recovered and removed."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from sqlalchemy import text
from tallystick_contracts.generated.identity import LoginFailed, LoginFailure, LoginSucceeded
from tallystick_identity.factors.domain import RECOVERY_BYTES, recovery_codes
from tallystick_identity.people.store import find_by_ref

if TYPE_CHECKING:
    import httpx

    from conftest import Authenticator, Identity, Tenant

CLOSED = ("GET", "identity/people"), ("GET", "identity/me"), ("GET", "identity/roles"), ("POST", "identity/people")


async def _half_in(identity: Identity, tenant: Tenant) -> httpx.AsyncClient:
    return await identity.signed_in(tenant, second_factor=False)


async def _enrolled(identity: Identity, tenant: Tenant) -> tuple[httpx.AsyncClient, Authenticator]:
    client = await identity.signed_in(tenant)
    return client, identity.authenticators[(await client.get("/api/v1/identity/me")).json()["person"]]


@pytest.mark.control("X-01")
async def test_with_one_factor_a_member_of_staff_reaches_enrolment_and_nothing_else(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await _half_in(identity, tenant)
    for method, path in CLOSED:
        refused = await identity.command(client, method, path, {} if method == "POST" else None)
        assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required"), path
    state = (await client.get("/api/v1/auth/second-factor")).json()
    assert (state["needed"], state["factors"]) == ("enrol", [])
    assert await identity.events(tenant.id, "identity.login.succeeded") == []
    assert (await identity.command(client, "POST", "auth/logout")).status_code == 200


@pytest.mark.control("X-01")
async def test_a_session_with_one_factor_carries_no_role_and_has_no_grants_anywhere(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await _half_in(identity, tenant)
    token = client.cookies["__Host-tally_session"]
    claims = identity.parts.introspector._verifier.verify_session(token)
    assert (claims.rids, "mfa" in claims.amr) == ((), False)
    known = (await identity.service().post("/api/v1/identity/introspect", json={"token": token})).json()
    assert (known["active"], known["limited"], known["grants"]) == (True, True, [])


@pytest.mark.control("X-01")
@pytest.mark.control("AU-01")
async def test_enrolling_makes_the_session_whole_and_ends_every_other(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    other, client = await _half_in(identity, tenant), await _half_in(identity, tenant)
    before = client.cookies["__Host-tally_session"]
    authenticator = identity.authenticators["admin"]
    assert (await authenticator.enrol(client)).status_code == 200
    assert client.cookies["__Host-tally_session"] != before
    me = await client.get("/api/v1/identity/me")
    assert "people.write" in me.json()["capabilities"]
    assert (await other.get("/api/v1/auth/second-factor")).status_code == 401
    assert (await client.get("/api/v1/auth/second-factor")).json()["needed"] is None
    (enrolled,) = await identity.events(tenant.id, "identity.mfa.enrolled")
    assert enrolled.data.label is not None  # type: ignore[attr-defined]
    assert b"phone" not in str(enrolled.data).encode()
    (login,) = await identity.events(tenant.id, "identity.login.succeeded")
    assert isinstance(login.data, LoginSucceeded)
    assert login.data.multi_factor is True
    assert len(await identity.events(tenant.id, "identity.token_version.bumped")) == 1


async def test_a_candidate_signs_in_by_the_link_alone_until_a_role_of_staff_is_granted(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, person["id"], "candidate", str(tenant.id))
    client = await identity.signed_in(tenant, "kim@people.example", second_factor=False)
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    await identity.grant(admin, person["id"], "grader", str(tenant.id))
    refused = await client.get("/api/v1/identity/me")
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")


async def test_whether_a_role_is_staffs_is_the_tenants_to_say(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    roles = {one["name"]: one["staff"] for one in (await admin.get("/api/v1/identity/roles")).json()["roles"]}
    assert roles.pop("candidate") is False
    assert set(roles.values()) == {True}
    made = await identity.command(admin, "POST", "identity/roles", {"name": "helper", "capabilities": []})
    assert made.json()["staff"] is True
    path = f"identity/roles/{made.json()['id']}"
    assert (await identity.command(admin, "PUT", path, {"capabilities": [], "staff": False})).json()["staff"] is False
    assert (await identity.command(admin, "PUT", path, {"capabilities": []})).json()["staff"] is False


@pytest.mark.control("X-01")
async def test_a_code_is_good_once_also_for_two_replicas_at_once(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, authenticator = await _enrolled(identity, tenant)
    clients = [await _half_in(identity, tenant) for _ in range(3)]
    identity.clock.ahead += timedelta(seconds=60)
    code = authenticator.code()
    answers = await asyncio.gather(*(authenticator.show(client, code) for client in clients))
    assert sorted(one.status_code for one in answers) == [200, 401, 401]
    assert {one.json()["code"] for one in answers if one.status_code == 401} == {"code_not_accepted"}
    assert (await authenticator.show(clients[0], code)).status_code in {401, 409}


async def test_one_session_becomes_one_whole_session_however_many_codes_come_at_once(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, authenticator = await _enrolled(identity, tenant)
    client = await _half_in(identity, tenant)
    cookies = {"Cookie": "; ".join(f"{one.name}={one.value}" for one in client.cookies.jar)}
    codes = authenticator.recovery_codes[:3]
    headers = {**cookies, "X-CSRF-Token": client.headers["X-CSRF-Token"], "Idempotency-Key": "k"}
    answers = await asyncio.gather(
        *(
            identity.client().post(
                "/api/v1/auth/second-factor", json={"method": "recovery", "code": code}, headers=headers
            )
            for code in codes
        )
    )
    assert sorted(one.status_code for one in answers) == [200, 401, 401]


async def test_a_code_is_good_in_its_own_thirty_seconds_and_in_none_before_or_after(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, authenticator = await _enrolled(identity, tenant)
    identity.clock.ahead += timedelta(minutes=5)
    client = await _half_in(identity, tenant)
    for ahead, status in ((-1, 401), (1, 401), (0, 200)):
        answer = await authenticator.show(client, authenticator.code(steps_ahead=ahead))
        assert answer.status_code == status, ahead


def test_a_recovery_code_has_more_bits_than_a_fast_hash_must_have_to_keep_it() -> None:
    codes = recovery_codes(bytes(range(RECOVERY_BYTES)))
    assert (len(set(codes)), RECOVERY_BYTES) == (10, 150)
    assert {len(base64.b32decode(code.replace("-", "").upper())) * 8 for code in codes} == {120}
    assert all(len(code) <= 40 for code in codes), "the route takes no longer ones"


@pytest.mark.control("X-01")
async def test_a_recovery_code_is_good_once_however_it_is_written(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, authenticator = await _enrolled(identity, tenant)
    code = authenticator.recovery_codes[0].upper().replace("-", " ")
    first, second = await _half_in(identity, tenant), await _half_in(identity, tenant)
    assert (await authenticator.show(first, code, method="recovery")).status_code == 200
    assert (await first.get("/api/v1/auth/second-factor")).json()["recovery_codes_left"] == 9
    assert (await authenticator.show(second, code, method="recovery")).status_code == 401


@pytest.mark.control("AC-02")
async def test_after_five_wrong_codes_the_right_one_answers_alike_and_is_good_again_later_or_elsewhere(
    identity: Identity,
) -> None:
    tenant = await identity.new_tenant()
    _, authenticator = await _enrolled(identity, tenant)
    client = await _half_in(identity, tenant)
    identity.clock.ahead += timedelta(seconds=60)
    wrong = [await authenticator.show(client, "000000") for _ in range(5)]
    locked = await authenticator.show(client, authenticator.code())
    shape = {(one.status_code, one.json()["code"], one.json()["title"]) for one in (*wrong, locked)}
    assert len(shape) == 1
    failures = [event.data for event in await identity.events(tenant.id, "identity.login.failed")]
    reasons = [one.reason for one in failures if isinstance(one, LoginFailed)]
    assert reasons == [LoginFailure.BAD_CREDENTIAL] * 5 + [LoginFailure.RATE_LIMITED]
    assert len(await identity.events(tenant.id, "identity.account.locked")) == 1
    identity.clock.ahead += timedelta(minutes=15)
    assert (await client.post("/session/refresh")).status_code == 204
    assert (await authenticator.show(client, authenticator.code())).status_code == 200


async def test_the_seed_and_the_codes_are_shown_until_confirmed_and_lie_nowhere_in_clear(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client, authenticator = await _enrolled(identity, tenant)
    started = await identity.command(client, "POST", "auth/factors", {"kind": "totp", "label": "second phone"})
    pending = await client.get(f"/api/v1/auth/factors/{started.json()['id']}")
    uri = urlsplit(pending.json()["uri"])
    assert parse_qs(uri.query)["secret"] == [pending.json()["seed"]]
    # What the app calls the entry: whose it is, and where.
    assert unquote(uri.path) == f"/Tenant {tenant.slug}:{tenant.admin_email}"
    assert parse_qs(uri.query)["issuer"] == [f"Tenant {tenant.slug}"]
    state = (await client.get("/api/v1/auth/second-factor")).json()
    (factor,) = state["factors"]
    assert (await client.get(f"/api/v1/auth/factors/{factor['id']}")).status_code == 404
    async with identity.transaction(tenant.id) as tx:
        dump = ""
        for table in ("second_factors", "recovery_codes", "idempotency", "events"):
            dump += "".join(str(tuple(row)) for row in await tx.execute(text(f"select * from identity.{table}")))  # noqa: S608
    kept = [authenticator.seed, pending.json()["seed"], *authenticator.recovery_codes, "second phone"]
    assert not [secret for secret in kept if secret in dump]


@pytest.mark.control("X-01")
async def test_with_one_factor_nobody_enrols_a_second_beside_the_one_there_is(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    await _enrolled(identity, tenant)
    client = await _half_in(identity, tenant)
    refused = await identity.command(client, "POST", "auth/factors", {"kind": "totp"})
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_first")


@pytest.mark.control("X-04")
async def test_changing_factors_wants_a_recent_sign_in_and_the_last_of_staff_stays(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client, _ = await _enrolled(identity, tenant)
    (factor,) = (await client.get("/api/v1/auth/second-factor")).json()["factors"]
    refused = await identity.command(client, "DELETE", f"auth/factors/{factor['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_factor")
    identity.clock.ahead += timedelta(minutes=16)
    await client.post("/session/refresh")
    for method, path, body in (
        ("POST", "auth/factors", {"kind": "totp"}),
        ("DELETE", f"auth/factors/{factor['id']}", None),
    ):
        stale = await identity.command(client, method, path, body)
        assert (stale.status_code, stale.json()["code"]) == (401, "step_up_required"), path


@pytest.mark.control("X-04")
async def test_changing_factors_makes_no_sign_in_more_recent_and_no_session_longer(identity: Identity) -> None:
    """Else whoever finds a browser open changes something every quarter of an hour, and is let do anything for good."""
    tenant = await identity.new_tenant()
    client, authenticator = await _enrolled(identity, tenant)
    begun = (await client.get("/api/v1/identity/me/sessions")).json()["sessions"][0]["expires_at"]
    identity.clock.ahead += timedelta(minutes=10)
    await client.post("/session/refresh")
    (first,) = (await client.get("/api/v1/auth/second-factor")).json()["factors"]
    assert (await authenticator.enrol(client)).status_code == 200
    removed = await identity.command(client, "DELETE", f"auth/factors/{first['id']}")
    assert removed.status_code == 200
    client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    sessions = (await client.get("/api/v1/identity/me/sessions")).json()["sessions"]
    assert [one["expires_at"] for one in sessions] == [begun]
    identity.clock.ahead += timedelta(minutes=6)
    await client.post("/session/refresh")
    stale = await identity.command(client, "POST", "auth/factors", {"kind": "totp"})
    assert (stale.status_code, stale.json()["code"]) == (401, "step_up_required")


async def test_showing_a_factor_is_a_sign_in_of_now(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    _, authenticator = await _enrolled(identity, tenant)
    half = await _half_in(identity, tenant)
    identity.clock.ahead += timedelta(minutes=10)
    await half.post("/session/refresh")
    assert (await authenticator.show(half, authenticator.code())).status_code == 200
    identity.clock.ahead += timedelta(minutes=10)
    await half.post("/session/refresh")
    assert (await identity.command(half, "POST", "auth/factors", {"kind": "totp"})).status_code == 201


async def test_of_two_factors_one_may_go_and_other_sessions_end(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    other, first = await _enrolled(identity, tenant)
    client = await identity.signed_in(tenant)
    old_seed = first.seed
    assert (await first.enrol(client)).status_code == 200
    factors = (await client.get("/api/v1/auth/second-factor")).json()["factors"]
    assert len(factors) == 2
    removed = await identity.command(client, "DELETE", f"auth/factors/{factors[0]['id']}")
    assert removed.status_code == 200
    client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    assert (await other.get("/api/v1/identity/me")).status_code == 401
    assert len(await identity.events(tenant.id, "identity.mfa.removed")) == 1
    assert old_seed != first.seed


async def test_an_administrator_resets_the_factors_of_somebody_who_lost_them(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, person["id"], "grader", str(tenant.id))
    kim = await identity.signed_in(tenant, "kim@people.example")
    path = f"identity/people/{person['id']}/factors/reset"
    reset = await identity.command(admin, "POST", path, {"reason": "the phone fell into the sea"})
    assert reset.json() == {"person": person["person"], "removed": 1}
    assert (await kim.get("/api/v1/identity/me")).status_code == 401
    (removed,) = await identity.events(tenant.id, "identity.mfa.removed")
    assert removed.data.reason is not None  # type: ignore[attr-defined]
    again = await identity.signed_in(tenant, "kim@people.example", second_factor=False)
    assert (await again.get("/api/v1/auth/second-factor")).json()["needed"] == "enrol"


@pytest.mark.control("X-04")
async def test_nobody_takes_the_factors_off_somebody_with_roles_beyond_their_reach(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    north, south = await identity.new_unit(admin, "north"), await identity.new_unit(admin, "south")
    local = await identity.new_person(admin, "local@people.example", org_unit_id=north)
    await identity.grant(admin, local["id"], "administrator", north, subtree=True)
    kim = await identity.new_person(admin, "kim@people.example", org_unit_id=north)
    await identity.grant(admin, kim["id"], "auditor", south)
    await identity.signed_in(tenant, "kim@people.example")
    client = await identity.signed_in(tenant, "local@people.example")
    path = f"identity/people/{kim['id']}/factors/reset"
    refused = await identity.command(client, "POST", path, {"reason": "they say the phone is lost"})
    assert (refused.status_code, refused.json()["code"]) == (403, "beyond_reach")
    assert await identity.events(tenant.id, "identity.mfa.removed") == []
    assert (await identity.command(admin, "POST", path, {"reason": "it is lost"})).json()["removed"] == 1


@pytest.mark.control("AC-02")
async def test_an_administrator_unlocks_an_account_and_says_why(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    path = f"identity/people/{person['id']}/unlock"
    assert (await identity.command(admin, "POST", path, {"reason": "it was me"})).status_code == 200
    (unlocked,) = await identity.events(tenant.id, "identity.account.unlocked")
    assert unlocked.data.reason is not None  # type: ignore[attr-defined]
    async with identity.transaction(tenant.id) as tx:
        assert await find_by_ref(tx, person["person"]) is not None
