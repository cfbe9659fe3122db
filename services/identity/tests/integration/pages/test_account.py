"""The account's page: sessions, factors, password, and signing out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_identity.pages.local import ACCOUNT

from .steps import CSRF, admins_browser, browser, fill_in, text_of

if TYPE_CHECKING:
    from conftest import Identity


async def test_people_name_and_end_their_own_sessions(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    other = await identity.signed_in(tenant)
    client = await admins_browser(identity, tenant)
    listed = (await client.get("/api/v1/identity/me/sessions")).json()["sessions"]
    ref = next(one["id"] for one in listed if not one["current"])
    named = await fill_in(client, "/account/sessions", at=ACCOUNT, do="name", session_ref=ref, name="the old laptop")
    assert named.status_code == 303, text_of(named)
    assert "the old laptop" in (await client.get(ACCOUNT)).text
    await fill_in(client, "/account/sessions", at=ACCOUNT, do="end", session_ref=ref)
    assert (await other.get("/api/v1/identity/me")).status_code == 401
    third = await identity.signed_in(tenant)
    await fill_in(client, "/account/sessions", at=ACCOUNT, do="end_others")
    assert (await third.get("/api/v1/identity/me")).status_code == 401
    assert (await client.get(ACCOUNT)).status_code == 200


async def test_factors_are_removed_and_the_last_of_a_staff_role_is_not(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    (factor,) = (await client.get("/api/v1/auth/second-factor")).json()["factors"]
    refused = await fill_in(client, f"/account/factors/{factor['id']}/remove", at=ACCOUNT)
    assert refused.status_code == 409
    assert "enrol another before you remove this one" in text_of(refused)


async def test_a_password_is_set_changed_and_signs_in(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    client = browser(identity, admin)
    assert 'name="new_password"' not in (await client.get(ACCOUNT)).text
    assert (await identity.command(admin, "PUT", "identity/sign-in-policy", {"passwords": True})).status_code == 200
    common = await fill_in(client, "/account/password", at=ACCOUNT, new_password="password123")
    assert common.status_code == 422
    assert "tried first" in text_of(common)
    assert "password123" not in common.text
    chosen = "a parrot on a unicycle"
    assert (await fill_in(client, "/account/password", at=ACCOUNT, new_password=chosen)).status_code == 303
    wrong = await fill_in(client, "/account/password", at=ACCOUNT, new_password=chosen + "s", current_password="no")
    assert wrong.status_code == 401

    new = browser(identity)
    page = f"/sign-in/{tenant.slug}"
    refused = await new.post(page, data={"email": tenant.admin_email, "password": "not this one", "do": "in"})
    assert refused.status_code == 401
    assert "are not accepted together" in text_of(refused)
    assert "not this one" not in refused.text
    let_in = await new.post(page, data={"email": tenant.admin_email, "password": chosen, "do": "in"})
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/account/second-factor")


async def test_signing_out_ends_the_session_and_clears_what_the_browser_keeps(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    await client.get("/account/second-factor")
    thief = browser(identity, client)
    thief.cookies = dict(client.cookies)
    out = await fill_in(client, "/account/sign-out", at=ACCOUNT)
    assert out.status_code == 200
    assert out.headers["clear-site-data"] == '"cache", "storage"'
    assert f'href="/sign-in/{tenant.slug}"' in out.text
    assert CSRF not in client.cookies
    assert (await client.get(ACCOUNT)).status_code == 401
    assert (await thief.get("/api/v1/identity/me")).status_code == 401


async def test_every_page_for_signed_in_people_offers_to_sign_out_and_is_never_stored(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    me = (await client.get("/api/v1/identity/me")).json()["id"]
    for path in (ACCOUNT, "/admin/people", f"/admin/people/{me}", "/admin/roles"):
        page = await client.get(path)
        assert 'action="/account/sign-out"' in page.text, path
        assert page.headers["cache-control"] == "no-store"
        assert "unsafe" not in page.headers["content-security-policy"]


async def test_a_machine_that_asks_for_a_page_gets_a_problem_document(identity: Identity) -> None:
    client = identity.client()
    answer = await client.get(ACCOUNT)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
