"""The administrators' pages: people, what they may do, roles."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tallystick_contracts.capabilities import GRANTABLE_CAPABILITIES
from tallystick_contracts.generated.authz import AccessDenied
from tallystick_identity.pages.capability_words import GROUPS
from tallystick_identity.pages.local import ACCOUNT

from .steps import admins_browser, browser, fill_in, text_of

if TYPE_CHECKING:
    from conftest import Identity


async def test_an_administrator_adds_disables_and_grants_by_forms(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    added = await fill_in(client, "/admin/people", email=f"bo@{tenant.slug}.example", display_name="Bo <b>")
    person = added.headers["location"]
    assert "Bo &lt;b&gt;" in (await client.get(person)).text
    assert "disabled" in text_of(await client.get((await fill_in(client, person, do="disable")).headers["location"]))
    await fill_in(client, person, do="enable")
    roles = {one["name"]: one["id"] for one in (await client.get("/api/v1/identity/roles")).json()["roles"]}
    expires = (identity.clock() + timedelta(days=30)).date()
    given = await fill_in(
        client,
        "/admin/grants",
        at=person,
        do="give",
        person_id=person.rpartition("/")[2],
        role_id=roles["auditor"],
        org_unit_id=str(tenant.id),
        subtree="true",
        starts_on="",
        expires_on=expires.isoformat(),
    )
    assert given.status_code == 303, text_of(given)
    shown = text_of(await client.get(person))
    assert f"auditor Tenant {tenant.slug}, and below at once {expires.day} {expires:%B %Y}, 00:00 UTC" in shown
    assert "ledger.read auditor in Tenant" in shown  # what they may do, and why
    grant = re.search(r'name="grant_id" value="([^"]+)"', (await client.get(person)).text)[1]
    taken = {"do": "take", "grant_id": grant, "person_id": person.rpartition("/")[2]}
    assert (await fill_in(client, "/admin/grants", at=person, **taken)).headers["location"] == person
    assert "None in the units that you see." in text_of(await client.get(person))
    for do in ("unlock", "reset_factors"):
        assert (await fill_in(client, person, do=do, reason="lost the phone")).status_code == 303
    unreasoned = await fill_in(client, person, do="unlock")
    assert unreasoned.status_code == 400
    assert "Reason:" in text_of(unreasoned)


async def test_people_are_listed_page_by_page(identity: Identity) -> None:
    tenant = await identity.new_tenant(keys=60)
    admin = await identity.signed_in(tenant)
    rows = [{"org_unit": "", "email": f"p{n}@{tenant.slug}.example", "display_name": f"Person {n}"} for n in range(55)]
    assert (await identity.command(admin, "POST", "identity/imports", {"rows": rows})).status_code == 201
    client = browser(identity, admin)
    first = await client.get("/admin/people")
    onward = re.search(r'href="(/admin/people\?after=[^"]+)"', first.text)[1]
    second = await client.get(onward)
    seen = [set(re.findall(r'href="/admin/people/([0-9a-f-]{36})"', page.text)) for page in (first, second)]
    assert [len(one) for one in seen] == [50, 6]
    assert not seen[0] & seen[1]
    assert (await client.get("/admin/people", params={"after": "nonsense"})).status_code == 400


@pytest.mark.control("EV-22b")
async def test_somebody_is_found_by_whole_address_or_pseudonym(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    made = await identity.new_person(admin, f"bo@{tenant.slug}.example")
    client = browser(identity, admin)
    for who in (f"Bo@{tenant.slug}.example ", made["person"]):
        found = await fill_in(client, "/admin/people/find", at="/admin/people", who=who)
        assert (found.status_code, found.headers["location"]) == (303, f"/admin/people/{made['id']}")
    for who in (f"nobody@{tenant.slug}.example", "bo@", "p_" + 22 * "x"):
        nobody = await fill_in(client, "/admin/people/find", at="/admin/people", who=who)
        assert nobody.status_code == 404
        assert "Nobody in your units has exactly this address or pseudonym." in text_of(nobody)
        assert f'value="{who}"' in nobody.text  # to be mended, not typed again


def test_every_capability_that_a_role_can_hold_is_said_in_words() -> None:
    said = [one for group in GROUPS for one in group.words]
    assert len(said) == len(set(said))
    assert set(said) == GRANTABLE_CAPABILITIES


async def test_a_role_is_defined_and_changed_by_forms(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    made = await fill_in(
        client, "/admin/roles", do="define", name="examiner", capabilities=["score.read", "question.read"], staff="true"
    )
    assert made.status_code == 303, text_of(made)

    async def role() -> dict[str, Any]:
        roles = (await client.get("/api/v1/identity/roles")).json()["roles"]
        return next(one for one in roles if one["name"] == "examiner")

    assert ((await role())["capabilities"], (await role())["staff"]) == (["question.read", "score.read"], True)
    await fill_in(client, "/admin/roles", do="change", role_id=(await role())["id"], capabilities="score.read")
    assert ((await role())["capabilities"], (await role())["staff"]) == (["score.read"], False)
    taken = await fill_in(client, "/admin/roles", do="define", name="examiner")
    assert taken.status_code == 409
    assert "already in use" in text_of(taken)


@pytest.mark.control("EV-13b")
async def test_whoever_may_not_sees_no_page_no_link_and_leaves_one_record(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    email = f"cy@{tenant.slug}.example"
    await identity.new_person(admin, email)
    client = browser(identity, await identity.signed_in(tenant, email))
    account = await client.get(ACCOUNT)
    assert "/admin/" not in account.text
    refused = await client.get("/admin/people")
    assert refused.status_code == 403
    assert "You may not do this" in text_of(refused)
    denied = [event.data for event in await identity.events(tenant.id, "authz.access.denied")]
    assert [one.route for one in denied if isinstance(one, AccessDenied)] == ["GET /admin/people"]
