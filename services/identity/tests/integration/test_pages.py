"""Pages without a browser's script: forms, what they refuse, where they lead, and what they leave to the API."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from tallystick_contracts.generated.authz import AccessDenied
from tallystick_identity.pages.local import ACCOUNT, local_page
from tallystick_identity.pages.qr_code import QrCode

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, StartIdentity, Tenant

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FORM = "application/x-www-form-urlencoded"
CSRF = "__Host-tally_csrf"
_HIDDEN = re.compile(r'name="(csrf_token|idempotency_key)" value="([^"]*)"')


def browser(identity: Identity, client: httpx.AsyncClient | None = None) -> httpx.AsyncClient:
    """Return a browser, with the cookies of somebody who has signed in; its pages send no forgery header."""
    opened = identity.client(Accept=ACCEPT)
    if client is not None:
        opened.cookies = client.cookies
    return opened


async def fill_in(client: httpx.AsyncClient, path: str, *, at: str = "", **fields: Any) -> httpx.Response:
    """Send a form as it stands on the page ``at`` (else at its own path), with these fields."""
    shown = await client.get(at or path)
    assert shown.status_code == 200, shown.text
    return await client.post(path, data=dict(_HIDDEN.findall(shown.text)) | fields)


def text_of(page: httpx.Response) -> str:
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page.text, flags=re.DOTALL).split())


async def admins_browser(identity: Identity, tenant: Tenant) -> httpx.AsyncClient:
    return browser(identity, await identity.signed_in(tenant))


@pytest.mark.control("EV-21d")
@pytest.mark.parametrize("name", ["no-such", "%E2%98%83", "%c3%a9", "a%0d%0aSet-Cookie:%20x=y", "x%3fy", "%2e%2e"])
async def test_what_stands_for_a_tenant_in_an_address_does_not_reach_a_header(identity: Identity, name: str) -> None:
    asked = await browser(identity).post(f"/sign-in/{name}", data={"email": "kim@people.example", "do": "mail"})
    shown = name if name == "no-such" else "-"
    assert (asked.status_code, asked.headers["location"]) == (303, f"/sign-in/{shown}/verify?sent=mail")


@pytest.mark.control("X-01")
async def test_staff_sign_in_by_a_code_and_enrol_an_app_without_a_script(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = browser(identity)
    page = f"/sign-in/{tenant.slug}"
    asked = await client.post(page, data={"email": tenant.admin_email, "do": "mail"})
    assert (asked.status_code, asked.headers["location"]) == (303, f"{page}/verify?sent=mail")
    assert "a mail is on its way" in text_of(await client.get(asked.headers["location"]))
    await identity.send_mail()
    code = next(one.code for one in identity.links() if one.slug == tenant.slug)
    signed_in = await client.post(f"{page}/verify", data={"code": code})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/account/second-factor")

    early = await client.get(ACCOUNT)
    assert (early.status_code, early.headers["location"]) == (303, "/account/second-factor")
    started = await fill_in(client, "/account/factors", at="/account/second-factor", kind="totp", label="the phone")
    assert started.status_code == 303, text_of(started)
    app = started.headers["location"]
    shown = await client.get(app)
    seed = re.search(r'<strong class="mono">([A-Z2-7]{32})</strong>', shown.text)[1]
    assert "otpauth://totp/" in shown.text
    assert len(re.findall(r"<li>(?:[a-z2-7]{4}-)+[a-z2-7]{4}</li>", shown.text)) == 10
    wrong = await fill_in(client, app, code="000000")
    assert wrong.status_code == 401
    assert "This code cannot be used" in text_of(wrong)
    assert 'aria-invalid="true" aria-describedby="problem"' in wrong.text
    authenticator = identity.authenticators["pages"]
    authenticator.seed = seed
    code = authenticator.code()
    done = await fill_in(client, app, code=f"{code[:3]} {code[3:]}")
    assert done.status_code == 303, text_of(done)
    onward = await client.get(done.headers["location"])
    assert (onward.status_code, onward.headers["location"]) == (303, ACCOUNT)
    account = await client.get(ACCOUNT)
    assert "Signed in as Ada Admin." in text_of(account)
    assert "the phone" in text_of(account)
    assert (await client.get(app)).status_code == 404  # shown until it is confirmed, and never again


async def test_a_second_factor_is_shown_by_app_or_recovery_code(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    first = await identity.signed_in(tenant)
    person = (await first.get("/api/v1/identity/me")).json()["person"]
    half = browser(identity, await identity.signed_in(tenant, second_factor=False))
    wrong = await fill_in(half, "/account/second-factor", method="totp", code="123456")
    assert wrong.status_code == 401
    assert "This code cannot be used" in text_of(wrong)
    code = identity.authenticators[person].recovery_codes.pop()
    whole = await fill_in(half, "/account/second-factor", method="recovery", code=f" {code.upper()} ")
    assert whole.status_code == 303, text_of(whole)
    assert (await half.get(ACCOUNT)).status_code == 200


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
    form = dict(_HIDDEN.findall(page.text)) | {"email": f"twin@{tenant.slug}.example", "display_name": "Twin"}
    first, second = [await client.post("/admin/people", data=form) for _ in range(2)]
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    changed = await client.post("/admin/people", data=form | {"display_name": "Another"})
    assert changed.status_code == 422
    assert "This form was sent before" in text_of(changed)


async def test_two_forms_of_a_page_have_keys_of_their_own(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    keys = [value for name, value in _HIDDEN.findall((await client.get(ACCOUNT)).text) if name == "idempotency_key"]
    assert len(keys) == len(set(keys)) > 2


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


async def test_a_link_from_another_browser_asks_for_its_code_and_a_reset_for_a_password(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    await identity.command(admin, "PUT", "identity/sign-in-policy", {"passwords": True})
    verify = f"/sign-in/{tenant.slug}/verify"
    link = await identity.link_for(identity.client(), tenant)
    other = browser(identity)
    asked = await other.post(verify, data=link.body)
    assert asked.status_code == 401
    assert "asked for in another browser" in text_of(asked)
    assert f'name="token" value="{link.token}"' in asked.text
    assert (await other.post(verify, data=link.body | {"code": link.code})).status_code == 303
    used = await browser(identity).post(verify, data=link.body)
    assert used.status_code == 401
    assert "This sign-in link cannot be used" in text_of(used)

    asking = browser(identity)
    reset = await identity.link_for(asking, tenant, purpose="reset")
    weak = await asking.post(verify, data=reset.body | {"new_password": "password123"})
    assert weak.status_code == 422
    assert 'name="new_password"' in weak.text
    done = await asking.post(verify, data=reset.body | {"new_password": "a heron in a rowing boat"})
    assert (done.status_code, "Your password is set" in text_of(done)) == (200, True)


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


async def test_what_wants_a_recent_sign_in_leads_back_after_it(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    await client.get(f"/sign-in/{tenant.slug}")
    identity.clock.ahead += timedelta(minutes=16)
    await client.post("/session/refresh", data={"next": ACCOUNT})
    form = dict(_HIDDEN.findall((await client.get(ACCOUNT)).text)) | {"kind": "totp", "label": "another"}
    stale = await client.post(
        "/account/factors", data=form, headers={"Referer": "https://identity.example/admin/roles"}
    )
    assert stale.status_code == 401
    assert f'href="/sign-in/{tenant.slug}"' in stale.text
    again = await identity.signed_in(tenant)
    again.headers["Accept"] = ACCEPT
    again.cookies.set("__Host-tally_next", client.cookies["__Host-tally_next"])
    onward = await again.get("/account/second-factor")
    assert (onward.status_code, onward.headers["location"]) == (303, "/admin/roles")


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example",
        "//evil.example/account",
        "/\\evil.example",
        "/account\r\nX: y",
        "/account/../x",
        "",
        "/x",
    ],
)
def test_pages_lead_to_pages_of_ours_alone(text: str) -> None:
    assert local_page(text) == ACCOUNT


def test_our_own_pages_are_ways_on() -> None:
    assert [local_page(one) for one in ("/admin/people/1-a", "/account")] == ["/admin/people/1-a", "/account"]


async def test_signing_out_ends_the_session_and_clears_what_the_browser_keeps(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    await client.get(f"/sign-in/{tenant.slug}")
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


def test_a_qr_code_is_one_path_of_runs() -> None:
    code = QrCode.of("otpauth://totp/Tallystick:account?secret=JBSWY3DPEHPK3PXP&issuer=Tallystick")
    assert code.path.startswith("M4 4h7v1h-7z")  # the upper edge of the finder pattern, inside the quiet zone
    assert (code.size - 2 * 4 - 17) % 4 == 0
    assert re.fullmatch(r"(M\d+ \d+h\d+v1h-\d+z)+", code.path)
