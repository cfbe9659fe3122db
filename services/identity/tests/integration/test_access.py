"""Who may do what, from when to when, and why; and that somebody always can give it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tallystick_chassis.http.introspection import INTROSPECT_PATH
from tallystick_contracts.capabilities import DEFAULT_ROLES

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, Tenant

SESSION = "__Host-tally_session"
OWN = "identity/me/sessions"


async def roles_of(admin: httpx.AsyncClient) -> dict[str, Any]:
    return {role["name"]: role for role in (await admin.get("/api/v1/identity/roles")).json()["roles"]}


async def introspected(identity: Identity, client: httpx.AsyncClient) -> dict[str, Any]:
    async with identity.service() as service:
        body = {"token": client.cookies[SESSION]}
        return (await service.post(INTROSPECT_PATH, json=body)).json()


async def own_grant(admin: httpx.AsyncClient, person_id: str) -> str:
    grants = (await admin.get("/api/v1/identity/grants", params={"person_id": person_id})).json()["grants"]
    return str(grants[0]["id"])


async def my_id(client: httpx.AsyncClient) -> str:
    return str((await client.get("/api/v1/identity/me")).json()["id"])


async def second_administrator(identity: Identity, admin: httpx.AsyncClient, tenant: Tenant) -> httpx.AsyncClient:
    person = await identity.new_person(admin, f"second@{tenant.slug}.example")
    await identity.grant(admin, person["id"], "administrator", str(tenant.id), subtree=True)
    return await identity.signed_in(tenant, f"second@{tenant.slug}.example")


async def test_a_tenant_begins_with_a_sensible_set_of_roles_and_may_define_its_own(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    assert set(await roles_of(admin)) == set(DEFAULT_ROLES)
    assert {"administrator", "auditor", "candidate", "service"} < set(DEFAULT_ROLES)
    made = await identity.command(
        admin, "POST", "identity/roles", {"name": "librarian", "capabilities": ["evaluation.read"]}
    )
    assert made.status_code == 201
    assert "librarian" in await roles_of(admin)


@pytest.mark.control("EV-25a")
async def test_each_change_of_a_role_is_one_event_with_the_whole_set(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    before = len(await identity.events(tenant.id, "identity.role.changed"))
    body = {"name": "librarian", "capabilities": ["evaluation.read"]}
    role = (await identity.command(admin, "POST", "identity/roles", body)).json()["id"]
    more = {"capabilities": ["score.read", "evaluation.read"], "staff": False}
    key = "the-same-command-sent-twice"
    for _ in range(2):
        changed = await identity.command(admin, "PUT", f"identity/roles/{role}", more, key=key)
        assert changed.status_code == 200
    made, set_anew = [event.data for event in (await identity.events(tenant.id, "identity.role.changed"))[before:]]
    assert (made.role_id, made.name, made.capabilities, made.staff) == (role, "librarian", ("evaluation.read",), True)
    assert (set_anew.capabilities, set_anew.staff) == (("evaluation.read", "score.read"), False)


@pytest.mark.control("EV-13a")
async def test_an_engagement_begins_and_ends_by_the_clock(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    unit = await identity.new_unit(admin, "north")
    person = await identity.new_person(admin, f"aud@{tenant.slug}.example")
    begins, ends = identity.clock() + timedelta(minutes=1), identity.clock() + timedelta(minutes=3)
    body = {
        "person_id": person["id"],
        "role_id": (await roles_of(admin))["auditor"]["id"],
        "org_unit_id": unit,
        "starts_at": begins.isoformat(),
        "expires_at": ends.isoformat(),
    }
    granted = await identity.command(admin, "POST", "identity/grants", body)
    assert granted.status_code == 201, granted.text
    auditor = await identity.signed_in(tenant, f"aud@{tenant.slug}.example")
    before = await introspected(identity, auditor)
    assert before["grants"] == []
    assert before["valid_until"] == pytest.approx(begins.timestamp(), abs=0.001), "services ask again when it begins"
    identity.clock.ahead += timedelta(minutes=1, seconds=1)
    during = await introspected(identity, auditor)
    assert [grant["units"] for grant in during["grants"]] == [[unit]]
    assert during["valid_until"] == pytest.approx(ends.timestamp(), abs=0.001)
    identity.clock.ahead += timedelta(minutes=2)
    assert (await introspected(identity, auditor))["grants"] == []
    (event,) = [one for one in await identity.events(tenant.id, "identity.role.assigned") if one.data.starts_at]
    assert event.v == 2


async def test_a_grant_that_would_end_before_it_begins_is_refused(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    now = identity.clock()
    body = {
        "person_id": await my_id(admin),
        "role_id": (await roles_of(admin))["auditor"]["id"],
        "org_unit_id": str(tenant.id),
        "starts_at": (now + timedelta(days=2)).isoformat(),
        "expires_at": (now + timedelta(days=1)).isoformat(),
    }
    refused = await identity.command(admin, "POST", "identity/grants", body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/expires_at"


async def test_what_a_person_may_do_is_shown_with_its_reasons(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    unit = await identity.new_unit(admin, "north")
    person = await identity.new_person(admin, f"p@{tenant.slug}.example")
    one = await identity.grant(admin, person["id"], "grader", unit)
    two = await identity.grant(admin, person["id"], "auditor", str(tenant.id), subtree=True)
    shown = (await admin.get(f"/api/v1/identity/people/{person['id']}/capabilities")).json()["capabilities"]
    held = {each["capability"]: each for each in shown}
    assert set(held) == {each.value for each in DEFAULT_ROLES["grader"] | DEFAULT_ROLES["auditor"]}
    score = held["score.read"]
    assert set(score["org_unit_ids"]) == {unit, str(tenant.id)}
    assert {(each["grant_id"], each["role"]) for each in score["because"]} == {
        (one["id"], "grader"),
        (two["id"], "auditor"),
    }
    assert held["certificate.issue"]["org_unit_ids"] == [unit]


@pytest.mark.control("AC-05")
@pytest.mark.parametrize("way", ["revoke", "change the role", "delete", "disable"])
async def test_the_last_administrator_cannot_go(identity: Identity, way: str):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    me = await my_id(admin)
    role = (await roles_of(admin))["administrator"]
    method, path, body = {
        "revoke": ("DELETE", f"identity/grants/{await own_grant(admin, me)}", None),
        "change the role": ("PUT", f"identity/roles/{role['id']}", {"capabilities": ["people.read"]}),
        "delete": ("DELETE", f"identity/people/{me}", None),
        "disable": ("POST", f"identity/people/{me}/disable", None),
    }[way]
    refused = await identity.command(admin, method, path, body)
    assert (refused.status_code, refused.json()["code"]) == (409, "last_administrator")
    assert (await admin.get("/api/v1/identity/roles")).status_code == 200, "nothing has changed"


async def test_of_two_administrators_who_remove_each_other_at_once_one_remains(identity: Identity):
    tenant = await identity.new_tenant()
    first = await identity.signed_in(tenant)
    second = await second_administrator(identity, first, tenant)
    one, two = await my_id(first), await my_id(second)
    answers = await asyncio.gather(
        identity.command(first, "POST", f"identity/people/{two}/disable"),
        identity.command(second, "POST", f"identity/people/{one}/disable"),
    )
    # Whoever was later was refused as the last one, or was disabled before the request was looked at.
    assert sorted(answer.status_code for answer in answers) in ([200, 401], [200, 409])


async def test_an_administrator_of_one_unit_removes_whom_he_may_and_does_not_count_as_one(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    unit = await identity.new_unit(admin, "north")
    local = await identity.new_person(admin, f"local@{tenant.slug}.example", org_unit_id=unit)
    await identity.grant(admin, local["id"], "administrator", unit)
    other = await identity.new_person(admin, f"other@{tenant.slug}.example", org_unit_id=unit)
    client = await identity.signed_in(tenant, f"local@{tenant.slug}.example")
    assert (await identity.command(client, "DELETE", f"identity/people/{other['id']}")).status_code == 202
    refused = await identity.command(admin, "POST", f"identity/people/{await my_id(admin)}/disable")
    assert refused.status_code == 409


@pytest.mark.control("AC-05")
async def test_a_disabled_person_is_out_at_once_cannot_come_back_and_is_enabled_again(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    email = f"p@{tenant.slug}.example"
    person = await identity.new_person(admin, email)
    client = await identity.signed_in(tenant, email)
    done = await identity.command(admin, "POST", f"identity/people/{person['id']}/disable")
    assert done.json() == {"person": person["person"], "disabled": True}
    assert (await client.get("/api/v1/identity/me")).status_code == 401
    assert (await client.post("/session/refresh")).status_code == 401
    before = len(identity.links())
    asked = await identity.ask_for_link(identity.client(), tenant, email)
    assert asked.status_code == 202, "the same answer as for anybody"
    await identity.send_mail()
    assert len(identity.links()) == before
    await identity.command(admin, "POST", f"identity/people/{person['id']}/disable")
    await identity.command(admin, "POST", f"identity/people/{person['id']}/enable")
    again = await identity.signed_in(tenant, email)
    assert (await again.get("/api/v1/identity/me")).status_code == 200
    assert (await client.get("/api/v1/identity/me")).status_code == 401, "what ended stays ended"
    told = await identity.events(tenant.id, "identity.user.disabled", "identity.user.enabled")
    assert [event.type for event in told] == ["identity.user.disabled", "identity.user.enabled"], "once each"


@pytest.mark.control("X-04")
async def test_people_see_name_and_end_their_own_sessions(identity: Identity):
    tenant = await identity.new_tenant()
    here, there, third = [await identity.signed_in(tenant) for _ in range(3)]
    before = len(await identity.events(tenant.id, "identity.session.revoked"))  # by enrolling a factor
    sessions = (await here.get(f"/api/v1/{OWN}")).json()["sessions"]
    assert [session["current"] for session in sessions] == [True, False, False]
    other = sessions[1]["id"]
    named = await identity.command(here, "PUT", f"{OWN}/{other}", {"name": "the laptop at home"})
    assert named.status_code == 200
    assert (await here.get(f"/api/v1/{OWN}")).json()["sessions"][1]["name"] == "the laptop at home"
    assert (await identity.command(here, "DELETE", f"{OWN}/{other}")).json() == {"ended": 1}
    assert (await there.get("/api/v1/identity/me")).status_code == 401
    assert (await identity.command(here, "DELETE", f"{OWN}/{other}")).status_code == 404
    assert (await identity.command(here, "POST", f"{OWN}/end-others")).json() == {"ended": 1}
    assert (await third.get("/api/v1/identity/me")).status_code == 401
    assert (await here.get("/api/v1/identity/me")).status_code == 200
    assert len(await identity.events(tenant.id, "identity.session.revoked")) == before + 2


@pytest.mark.control("X-04")
async def test_ending_ones_other_sessions_wants_a_recent_sign_in_and_signing_out_does_not(identity: Identity):
    tenant = await identity.new_tenant()
    here, there = [await identity.signed_in(tenant) for _ in range(2)]
    sessions = (await here.get(f"/api/v1/{OWN}")).json()["sessions"]
    identity.clock.ahead += timedelta(minutes=16)
    for client in (here, there):
        await client.post("/session/refresh")
    for method, path in (("DELETE", f"{OWN}/{sessions[1]['id']}"), ("POST", f"{OWN}/end-others")):
        refused = await identity.command(here, method, path)
        assert (refused.status_code, refused.json()["code"]) == (401, "step_up_required"), path
    assert (await there.get("/api/v1/identity/me")).status_code == 200
    assert (await here.get(f"/api/v1/{OWN}")).status_code == 200
    assert (await identity.command(here, "POST", "auth/logout")).status_code == 200


@pytest.mark.control("X-04")
async def test_administrators_see_and_end_a_persons_sessions_and_nobody_else_does(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    email = f"p@{tenant.slug}.example"
    person = await identity.new_person(admin, email)
    first, second = [await identity.signed_in(tenant, email) for _ in range(2)]
    own = (await first.get(f"/api/v1/{OWN}")).json()["sessions"][0]["id"]
    await identity.command(first, "PUT", f"{OWN}/{own}", {"name": "private"})
    path = f"identity/people/{person['id']}/sessions"
    listed = await admin.get(f"/api/v1/{path}")
    assert own in listed.text
    assert "private" not in listed.text
    assert (await first.get(f"/api/v1/{path}")).status_code == 403
    assert (await identity.command(admin, "DELETE", f"{OWN}/{own}")).status_code == 404, "not one's own"
    assert (await identity.command(admin, "DELETE", f"{path}/{own}")).json() == {"ended": 1}
    assert (await first.get("/api/v1/identity/me")).status_code == 401
    assert (await second.get("/api/v1/identity/me")).status_code == 200


@pytest.mark.control("X-04")
async def test_a_session_ends_after_idling_and_after_its_longest_time(identity: Identity):
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    for _ in range(3):
        identity.clock.ahead += timedelta(minutes=29)
        assert (await client.post("/session/refresh")).status_code == 204
    identity.clock.ahead += timedelta(minutes=31)
    assert (await client.post("/session/refresh")).status_code == 401
    busy = await identity.signed_in(tenant)
    for _ in range(12 * 60 // 29):
        identity.clock.ahead += timedelta(minutes=29)
        await busy.post("/session/refresh")
    identity.clock.ahead += timedelta(minutes=29)
    assert (await busy.post("/session/refresh")).status_code == 401
