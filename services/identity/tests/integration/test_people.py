"""People, org units, roles and grants, through the real API."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from nacl.public import SealedBox
from sqlalchemy import text

if TYPE_CHECKING:
    import httpx

    from conftest import Identity


@pytest.mark.control("EV-25c")
async def test_a_person_is_created_with_a_pooled_key_and_sealed_name_and_address(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    created = await identity.new_person(admin, "kim@people.example", display_name="Kim Possible")
    event = (await identity.events(tenant.id, "identity.user.created"))[-1]
    assert (event.subject, event.data.person) == (created["person"], created["person"])  # type: ignore[attr-defined]
    key = identity.private_keys[event.data.key_id]  # type: ignore[attr-defined]
    opened = {
        field: json.loads(SealedBox(key).decrypt(base64.b64decode(getattr(event.data, field).box)))
        for field in ("name", "email")
    }
    assert opened["name"]["value"] == "Kim Possible"
    assert opened["email"] == {
        "event": str(event.id),
        "field": "email",
        "subject": created["person"],
        "value": "kim@people.example",
    }
    async with identity.transaction(tenant.id) as tx:
        rows = "".join(str(tuple(row)) for row in await tx.execute(text("select * from identity.people")))
        left = (
            await tx.execute(
                text("select count(*) from identity.public_key_pool where key_id = :key"), {"key": event.data.key_id}
            )
        ).scalar_one()  # type: ignore[attr-defined]
    assert "kim@" not in rows
    assert "Kim" not in rows
    assert left == 0


@pytest.mark.control("EV-22b")
async def test_somebody_is_found_by_whole_address_or_pseudonym_in_the_units_in_reach_alone(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    north, south = await identity.new_unit(admin, "north"), await identity.new_unit(admin, "south")
    local = await identity.new_person(admin, "local@people.example", org_unit_id=north)
    await identity.grant(admin, local["id"], "administrator", north)
    kim = await identity.new_person(admin, "Kim@people.example", org_unit_id=south)
    client = await identity.signed_in(tenant, "local@people.example")
    find = "identity/people/find"
    for wanted in ({"email": " kim@PEOPLE.example"}, {"person": kim["person"]}):
        found = await identity.command(admin, "POST", find, wanted)
        assert (found.status_code, found.json()) == (200, kim)
        hidden = await identity.command(client, "POST", find, wanted)
        nobody = await identity.command(client, "POST", find, dict.fromkeys(wanted, "nobody@people.example"))
        assert hidden.status_code == nobody.status_code == 404
        told = [one.json() | {"correlation_id": ""} for one in (hidden, nobody)]
        assert told[0] == told[1]
    assert (await identity.command(admin, "POST", f"identity/people/{kim['id']}/disable")).status_code == 200
    assert (await identity.command(admin, "POST", find, {"email": "kim@people.example"})).json() == kim
    for wrong in ({}, {"email": "kim@people.example", "person": kim["person"]}, {"display_name": "Kim"}):
        assert (await identity.command(admin, "POST", find, wrong)).status_code == 400
    assert (await identity.command(admin, "DELETE", f"identity/people/{kim['id']}")).status_code == 202
    for wanted in ({"email": "kim@people.example"}, {"person": kim["person"]}):
        assert (await identity.command(admin, "POST", find, wanted)).status_code == 404


async def test_looking_for_an_address_leaves_nothing_that_it_could_be_guessed_from(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    key = uuid4().hex
    await identity.command(admin, "POST", "identity/people/find", {"email": "kim@people.example"}, key=key)
    async with identity.transaction(tenant.id) as tx:
        kept = await tx.execute(text("select count(*) from identity.idempotency where key = :key"), {"key": key})
        assert kept.scalar_one() == 0


async def test_an_empty_pool_says_when_to_try_again_and_stores_nothing(identity: Identity) -> None:
    tenant = await identity.new_tenant(keys=0)
    admin = await identity.signed_in(tenant)
    body = {"email": "kim@people.example", "display_name": "Kim"}
    key = uuid4().hex
    empty = await identity.command(admin, "POST", "identity/people", body, key=key)
    assert (empty.status_code, empty.json()["code"]) == (503, "key_pool_empty")
    assert empty.headers["retry-after"] == "2"
    await identity.mint_keys(tenant.id, 1)
    assert (await identity.command(admin, "POST", "identity/people", body, key=key)).status_code == 201


async def test_one_idempotency_key_creates_one_person(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    body = {"email": "kim@people.example", "display_name": "Kim"}
    key = uuid4().hex
    first = await identity.command(admin, "POST", "identity/people", body, key=key)
    second = await identity.command(admin, "POST", "identity/people", body, key=key)
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert second.headers["idempotency-replayed"] == "true"
    taken = await identity.command(admin, "POST", "identity/people", {**body, "email": " KIM@People.example "})
    assert taken.status_code == 422
    assert taken.json()["code"] == "email_taken"
    assert taken.json()["errors"][0]["pointer"] == "/email"
    assert len(await identity.events(tenant.id, "identity.user.created")) == 2  # the administrator and Kim


async def test_an_import_makes_units_people_and_grants_in_one_go(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    rows = [
        {"org_unit": "north/blue", "email": "a@people.example", "display_name": "A", "role": "candidate"},
        {"org_unit": "north/red", "email": "b@people.example", "display_name": "B", "role": "author"},
        {"org_unit": "", "email": "c@people.example", "display_name": "C"},
    ]
    done = await identity.command(admin, "POST", "identity/imports", {"rows": rows})
    assert done.status_code == 201, done.text
    assert [one["row"] for one in done.json()["people"]] == [0, 1, 2]
    assert "grant_id" not in done.json()["people"][2]
    units = {one["path"]: one["id"] for one in (await admin.get("/api/v1/identity/org-units")).json()["org_units"]}
    assert set(units) == {"", "north", "north/blue", "north/red"}
    assert done.json()["people"][0]["org_unit_id"] == units["north/blue"]
    listed = (await admin.get("/api/v1/identity/people")).json()["people"]
    assert sorted(one["email"] for one in listed if one["email"] != tenant.admin_email) == [
        "a@people.example", "b@people.example", "c@people.example",
    ]  # fmt: skip
    assert (await identity.signed_in(tenant, "a@people.example")).cookies


async def test_one_bad_row_and_nothing_of_an_import_is_stored(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    good = {"org_unit": "north", "email": "a@people.example", "display_name": "A", "role": "candidate"}
    cases = [
        ({**good, "email": tenant.admin_email}, "email_taken", "/rows/1/email"),
        ({**good, "email": "A@people.example"}, "email_taken", "/rows/1/email"),
        ({**good, "email": "no address"}, "invalid_input", "/rows/1/email"),
        ({**good, "email": "b@people.example", "role": "emperor"}, "unknown_reference", "/rows/1/role"),
        ({**good, "email": "b@people.example", "org_unit": "North!"}, "invalid_input", "/rows/1/org_unit"),
    ]
    for bad, code, pointer in cases:
        refused = await identity.command(admin, "POST", "identity/imports", {"rows": [good, bad]})
        assert (refused.status_code, refused.json()["code"]) == (422, code)
        assert [one["pointer"] for one in refused.json()["errors"]] == [pointer]
    assert len((await admin.get("/api/v1/identity/people")).json()["people"]) == 1
    assert len((await admin.get("/api/v1/identity/org-units")).json()["org_units"]) == 1


async def test_people_are_listed_page_by_page(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    for number in range(4):
        await identity.new_person(admin, f"p{number}@people.example")
    seen, after = [], None
    while True:
        page = (
            await admin.get("/api/v1/identity/people", params={"limit": 2} | ({"after": after} if after else {}))
        ).json()
        seen += [one["id"] for one in page["people"]]
        after = page["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 5
    for bad in ({"after": "x"}, {"limit": 0}, {"limit": 1_000}):
        assert (await admin.get("/api/v1/identity/people", params=bad)).status_code == 400


@pytest.mark.control("EV-22b")
@pytest.mark.control("EV-22c")
async def test_other_units_and_other_tenants_look_like_nothing(identity: Identity) -> None:
    tenant, foreign = await identity.new_tenant(), await identity.new_tenant()
    admin, stranger = await identity.signed_in(tenant), await identity.signed_in(foreign)
    north, south = await identity.new_unit(admin, "north"), await identity.new_unit(admin, "south")
    theirs = await identity.new_person(stranger, "far@people.example")
    southerner = await identity.new_person(admin, "south@people.example", org_unit_id=south)
    clerk = await identity.new_person(admin, "clerk@people.example", org_unit_id=north)
    await identity.grant(admin, clerk["id"], "administrator", north)
    kim = await identity.signed_in(tenant, "clerk@people.example")
    assert [one["id"] for one in (await kim.get("/api/v1/identity/people")).json()["people"]] == [clerk["id"]]

    def shape(answer: object) -> tuple[int, dict[str, object]]:
        body = answer.json()  # type: ignore[attr-defined]
        return answer.status_code, {k: v for k, v in body.items() if k != "correlation_id"}  # type: ignore[attr-defined]

    for method, path in (("GET", "{}"), ("DELETE", "{}"), ("POST", "{}/sessions/end")):
        answers = [
            shape(await identity.command(kim, method, f"identity/people/{path.format(one)}"))
            for one in (uuid4(), theirs["id"], southerner["id"])
        ]
        assert answers[0][0] == 404
        assert answers[0] == answers[1] == answers[2]
    for unit in (south, str(uuid4()), str(foreign.id), str(tenant.id)):
        body = {"email": "new@people.example", "display_name": "New", "org_unit_id": unit}
        refused = await identity.command(kim, "POST", "identity/people", body)
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_reference")


async def test_nobody_gives_more_than_he_has(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    north = await identity.new_unit(admin, "north")
    await identity.new_unit(admin, "blue", north)
    clerk = await identity.new_person(admin, "clerk@people.example", org_unit_id=north)
    await identity.grant(admin, clerk["id"], "administrator", north)
    kim = await identity.signed_in(tenant, "clerk@people.example")
    roles = {one["name"]: one["id"] for one in (await kim.get("/api/v1/identity/roles")).json()["roles"]}
    body = {"person_id": clerk["id"], "role_id": roles["administrator"], "org_unit_id": north}
    assert (await identity.command(kim, "POST", "identity/grants", {**body, "subtree": True})).status_code == 422
    root = {**body, "org_unit_id": str(tenant.id)}
    assert (await identity.command(kim, "POST", "identity/grants", root)).status_code == 422
    # Roles are the whole tenant's, so a unit's clerk cannot change them.
    change = {"capabilities": ["people.read"]}
    refused = await identity.command(kim, "PUT", f"identity/roles/{roles['candidate']}", change)
    assert (refused.status_code, refused.json()["code"]) == (403, "capability_missing")
    rows = [{"org_unit": "north", "email": "x@people.example", "display_name": "X", "role": "author", "subtree": True}]
    refused = await identity.command(kim, "POST", "identity/imports", {"rows": rows})
    assert [one["pointer"] for one in refused.json()["errors"]] == ["/rows/0/role"]
    # An import into a new unit below reaches no further than his grant, which has no subtree.
    rows = [{"org_unit": "north/green", "email": "x@people.example", "display_name": "X"}]
    assert (await identity.command(kim, "POST", "identity/imports", {"rows": rows})).status_code == 422


@pytest.mark.control("EV-25a")
async def test_grants_are_given_and_taken_back_and_both_are_recorded(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    grant = await identity.grant(admin, person["id"], "author", str(tenant.id), subtree=True)
    listed = await admin.get("/api/v1/identity/grants", params={"person_id": person["id"]})
    assert [one["id"] for one in listed.json()["grants"]] == [grant["id"]]
    assert (await identity.command(admin, "DELETE", f"identity/grants/{grant['id']}")).status_code == 200
    assert (await identity.command(admin, "DELETE", f"identity/grants/{grant['id']}")).status_code == 404
    listed = await admin.get("/api/v1/identity/grants", params={"person_id": person["id"]})
    assert listed.json()["grants"] == []
    types = [event.type for event in await identity.events(tenant.id)]
    assert types.count("identity.role.revoked") == 1
    assert types.count("identity.role.assigned") == 2


async def test_a_role_takes_no_capability_that_only_services_have(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    made = await identity.command(
        admin, "POST", "identity/roles", {"name": "reader", "capabilities": ["people.read", "score.read"]}
    )
    assert made.status_code == 201
    again = await identity.command(admin, "POST", "identity/roles", {"name": "reader", "capabilities": []})
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    for wrong, status in (("feed.read", 422), ("session.own", 422), ("everything", 400)):
        refused = await identity.command(admin, "POST", "identity/roles", {"name": "bad", "capabilities": [wrong]})
        assert refused.status_code == status


@pytest.mark.control("EV-25g")
async def test_a_deleted_person_is_signed_out_unfindable_and_recorded_once(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, person["id"], "author", str(tenant.id))
    kim = await identity.signed_in(tenant, "kim@people.example")
    key = uuid4().hex
    path = f"identity/people/{person['id']}"
    body = {"reason": "asked for it in writing"}
    gone = await identity.command(admin, "DELETE", path, body, key=key)
    assert (gone.status_code, gone.json()) == (202, {"person": person["person"], "status": "erasure_ordered"})
    assert (await identity.command(admin, "DELETE", path, body, key=key)).status_code == 202
    assert (await identity.command(admin, "DELETE", path, body)).status_code == 404
    assert (await kim.get("/api/v1/identity/me")).status_code == 401
    assert (await admin.get(f"/api/v1/{path}")).status_code == 404
    (event,) = await identity.events(tenant.id, "identity.user.deleted")
    assert event.data.reason is not None  # type: ignore[attr-defined]
    types = [one.type for one in await identity.events(tenant.id)]
    of_enrolling = 2  # the administrator's first session, and Kim's
    assert types.count("identity.session.revoked") == of_enrolling + 1
    assert types.count("identity.token_version.bumped") == of_enrolling + 1
    assert types.count("identity.role.revoked") == 1
    # The address is free again.
    assert await identity.new_person(admin, "kim@people.example")


async def _move_mail(identity: Identity, admin: httpx.AsyncClient, person: str, email: str) -> httpx.Response:
    body = {"email": email, "reason": "they married"}
    return await identity.command(admin, "PUT", f"identity/people/{person}/email", body)


@pytest.mark.control("X-04")
@pytest.mark.control("AC-05")
async def test_another_address_ends_every_session_voids_what_was_mailed_and_is_recorded_sealed(
    identity: Identity,
) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    kim, waiting = await identity.signed_in(tenant, "kim@people.example"), identity.client()
    link = await identity.link_for(waiting, tenant, "kim@people.example")
    moved = await _move_mail(identity, admin, person["id"], " Kim.New@people.example ")
    assert moved.json() == {"person": person["person"]}
    assert (await kim.get("/api/v1/identity/me")).status_code == 401
    assert (await kim.post("/session/refresh")).status_code == 401
    assert (await identity.verify(waiting, **link.body)).status_code == 401
    assert (await (await identity.signed_in(tenant, "kim.new@people.example")).get("/api/v1/identity/me")).json()[
        "person"
    ] == person["person"]
    assert (await identity.ask_for_link(identity.client(), tenant, "kim@people.example")).status_code == 202
    before = len(identity.inbox.messages)
    await identity.send_mail()
    assert len(identity.inbox.messages) == before, "nothing goes to the old address"
    (changed,) = await identity.events(tenant.id, "identity.user.address_changed")
    assert (changed.data.person, changed.subject) == (person["person"], person["person"])  # type: ignore[attr-defined]
    assert "people.example" not in str(changed.data)
    assert "married" not in str(changed.data)
    assert len(await identity.events(tenant.id, "identity.token_version.bumped")) == 2  # the administrator's factor
    again = await _move_mail(identity, admin, person["id"], "kim.new@people.example")
    assert again.status_code == 200
    assert len(await identity.events(tenant.id, "identity.user.address_changed")) == 1, "it is theirs already"


async def test_an_address_that_is_taken_or_none_is_refused_and_nothing_changes(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    unit = await identity.new_unit(admin, "north")
    await identity.new_person(admin, "lee@people.example", org_unit_id=unit)
    person = await identity.new_person(admin, "kim@people.example")
    for email, code in (("LEE@people.example", "email_taken"), ("no address", "invalid_input")):
        refused = await _move_mail(identity, admin, person["id"], email)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
        assert refused.json()["errors"][0]["pointer"] == "/email"
    shown = (await admin.get(f"/api/v1/identity/people/{person['id']}")).json()
    assert shown["email"] == "kim@people.example"
    assert await identity.events(tenant.id, "identity.user.address_changed") == []


@pytest.mark.control("X-04")
async def test_nobody_takes_over_the_mail_of_somebody_with_roles_beyond_their_reach_or_after_a_long_session(
    identity: Identity,
) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    north = await identity.new_unit(admin, "north")
    south = await identity.new_unit(admin, "south")
    local = await identity.new_person(admin, "local@people.example", org_unit_id=north)
    await identity.grant(admin, local["id"], "administrator", north, subtree=True)
    kim = await identity.new_person(admin, "kim@people.example", org_unit_id=north)
    lee = await identity.new_person(admin, "lee@people.example", org_unit_id=south)
    await identity.grant(admin, kim["id"], "auditor", south)
    client = await identity.signed_in(tenant, "local@people.example")
    refused = await _move_mail(identity, client, kim["id"], "local+kim@people.example")
    assert (refused.status_code, refused.json()["code"]) == (403, "beyond_reach")
    assert (await _move_mail(identity, client, lee["id"], "x@people.example")).status_code == 404
    assert (await _move_mail(identity, client, local["id"], "mine@people.example")).status_code == 200
    identity.clock.ahead += timedelta(minutes=16)
    await admin.post("/session/refresh")
    late = await _move_mail(identity, admin, kim["id"], "new@people.example")
    assert (late.status_code, late.json()["code"]) == (401, "step_up_required")
