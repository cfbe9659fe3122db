"""Forms without a browser's script: what they must bring, what they refuse, and that nothing typed is lost."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tallystick_identity.pages.local import ACCOUNT

from .steps import CSRF, HIDDEN, admins_browser, browser, fill_in, text_of

if TYPE_CHECKING:
    from conftest import Identity, StartIdentity


@pytest.mark.control("AC-04")
@pytest.mark.parametrize("fault", ["none", "empty", "foreign"])
async def test_a_form_without_its_sessions_token_does_nothing(identity: Identity, fault: str) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    other = await identity.signed_in(tenant)
    token = {"none": {}, "empty": {"csrf_token": ""}, "foreign": {"csrf_token": other.cookies[CSRF]}}[fault]
    forged = {"idempotency_key": uuid4().hex, "email": "new@else.example", "display_name": "New"} | token
    answer = await client.post("/admin/people", data=forged)
    assert answer.status_code == 403
    assert "did not come from this site" in text_of(answer)
    assert "new@else.example" not in (await client.get("/admin/people")).text


@pytest.mark.control("AC-04")
@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_a_form_of_another_site_signs_nobody_in(identity: Identity, origin: str) -> None:
    """Else somebody could be signed in to another's account without knowing."""
    tenant = await identity.new_tenant()
    client = browser(identity)
    for path, data in (
        (f"/sign-in/{tenant.slug}", {"email": tenant.admin_email, "do": "mail"}),
        (f"/sign-in/{tenant.slug}/verify", {"code": "123456"}),
    ):
        answer = await client.post(path, data=data, headers={"Origin": origin})
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert (await client.get(f"/sign-in/{tenant.slug}")).headers["referrer-policy"] == "same-origin"


@pytest.mark.control("EV-25a")
async def test_a_form_that_is_sent_twice_has_one_effect(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    page = await client.get("/admin/people")
    form = dict(HIDDEN.findall(page.text)) | {"email": f"twin@{tenant.slug}.example", "display_name": "Twin"}
    first, second = [await client.post("/admin/people", data=form) for _ in range(2)]
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    changed = await client.post("/admin/people", data=form | {"display_name": "Another"})
    assert changed.status_code == 422
    assert "This form was sent before" in text_of(changed)


async def test_two_forms_of_a_page_have_keys_of_their_own(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    keys = [value for name, value in HIDDEN.findall((await client.get(ACCOUNT)).text) if name == "idempotency_key"]
    assert len(keys) == len(set(keys)) > 2


async def test_a_form_that_was_sent_twice_says_what_happened_and_where_to_look(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = browser(identity, await identity.signed_in(tenant, second_factor=False))
    started = await fill_in(client, "/account/factors", at="/account/second-factor", kind="totp", label="phone")
    app = started.headers["location"]
    shown = await client.get(app)
    authenticator = identity.authenticators["pages"]
    authenticator.seed = re.search(r'<strong class="mono">([A-Z2-7]{32})</strong>', shown.text)[1]
    form = dict(HIDDEN.findall(shown.text)) | {"code": authenticator.code()}
    assert (await client.post(app, data=form)).status_code == 303
    again = await client.post(app, data=form, headers={"Referer": f"https://identity.example{app}"})
    assert again.status_code == 403
    assert "It belongs to an earlier session of yours" in text_of(again)
    assert "a form of that kind that is sent twice is taken once" in text_of(again)
    assert f'<a class="button" href="{ACCOUNT}">Open the page anew</a>' in again.text
    assert "phone" in text_of(await client.get(ACCOUNT))


async def test_a_form_that_comes_too_late_for_its_token_is_renewed_on_its_way_and_loses_nothing(
    identity: Identity,
) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    page = await client.get("/admin/people")
    form = dict(HIDDEN.findall(page.text)) | {"email": f"late@{tenant.slug}.example", "display_name": "Late"}
    identity.clock.ahead += timedelta(minutes=6)
    late = await client.post("/admin/people", data=form)
    assert (late.status_code, late.headers["location"]) == (307, "/session/refresh?to=/admin/people")
    renewed = await client.post(late.headers["location"], data=form)
    assert (renewed.status_code, renewed.headers["location"]) == (307, "/admin/people?renewed")
    # Else a browser sends the form on without its origin.
    assert {one.headers["referrer-policy"] for one in (late, renewed)} == {"same-origin"}
    done = await client.post(renewed.headers["location"], data=form)
    assert done.status_code == 303
    assert "Late" in (await client.get(done.headers["location"])).text


async def test_a_late_form_is_sent_on_once_and_to_pages_of_ours_alone(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    for to in ("https://evil.example", "//evil.example/account", "/sign-in/x", "/account\\evil", ""):
        answer = await client.post("/session/refresh", params={"to": to}, data={"next": "/admin/roles"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/roles"), to
    identity.clock.ahead += timedelta(minutes=6)
    again = await client.post("/admin/people?renewed", data={"email": "x@y.example"})
    assert (again.status_code, "Sign in to go on" in again.text) == (401, True)
    over = browser(identity)
    over.cookies.set(CSRF, "left over")
    late = await over.post("/admin/people", data={"email": "x@y.example"})
    ended = await over.post(late.headers["location"], data={"email": "x@y.example"})
    assert (late.status_code, ended.status_code) == (307, 401)
    assert 'href="/sign-in"' in ended.text
    machine = await identity.client().post("/admin/people", data={"email": "x@y.example"})
    assert machine.headers["content-type"] == "application/problem+json"


async def test_what_was_typed_stays_in_a_form_that_is_refused(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    taken = await fill_in(client, "/admin/people", email=tenant.admin_email, display_name="Ada Again")
    assert taken.status_code == 422
    assert f'value="{tenant.admin_email}"' in taken.text
    assert 'value="Ada Again"' in taken.text
    role = await fill_in(client, "/admin/roles", do="define", name="auditor", capabilities=["score.read"])
    assert role.status_code == 409
    new = role.text.partition('id="new"')[2]
    assert 'value="auditor"' in new
    assert re.findall(r'value="([^"]+)" checked', new) == ["score.read"]


async def test_a_session_whose_token_ran_out_goes_on_where_it_was(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    identity.clock.ahead += timedelta(minutes=6)
    paused = await client.get("/admin/roles")
    assert paused.status_code == 401
    assert 'name="next" value="/admin/roles"' in paused.text
    onward = await client.post("/session/refresh", data={"next": "/admin/roles"})
    assert (onward.status_code, onward.headers["location"]) == (303, "/admin/roles")
    assert (await client.get("/admin/roles")).status_code == 200
    elsewhere = await client.post("/session/refresh", data={"next": "https://evil.example/account"})
    assert elsewhere.headers["location"] == ACCOUNT


@pytest.mark.control("EV-21c")
async def test_too_many_tries_are_told_how_long_to_wait(identity_with: StartIdentity) -> None:
    async with identity_with({"login.address": 2}) as identity:
        tenant = await identity.new_tenant()
        client = browser(identity)
        form = {"email": tenant.admin_email, "do": "mail"}
        answers = [await client.post(f"/sign-in/{tenant.slug}", data=form) for _ in range(3)]
        assert answers[2].status_code == 429
        assert 0 < int(answers[2].headers["retry-after"]) <= 900
        assert re.search(
            r"Too many requests; try again later\. Try again in (a minute|1?\d minutes)\.", text_of(answers[2])
        )
        assert f'value="{tenant.admin_email}"' in answers[2].text  # nothing has to be typed again
