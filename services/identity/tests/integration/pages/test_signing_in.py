"""The pages of signing in, without a browser's script: forms, where they lead, and what they leave to the API."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tallystick_identity.pages.local import ACCOUNT, local_page
from tallystick_identity.pages.qr_code import QrCode

from .steps import ACCEPT, HIDDEN, admins_browser, browser, fill_in, text_of

if TYPE_CHECKING:
    from conftest import Identity


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
    named = f"Tenant%20{tenant.slug}"
    label = f"otpauth://totp/{named}:{tenant.admin_email.replace('@', '%40')}?secret={seed}&amp;issuer={named}"
    assert label in shown.text
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


async def test_what_wants_a_recent_sign_in_leads_back_after_it(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await admins_browser(identity, tenant)
    await client.get("/account/second-factor")
    identity.clock.ahead += timedelta(minutes=16)
    await client.post("/session/refresh", data={"next": ACCOUNT})
    form = dict(HIDDEN.findall((await client.get(ACCOUNT)).text)) | {"kind": "totp", "label": "another"}
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


def test_a_qr_code_is_one_path_of_runs() -> None:
    code = QrCode.of("otpauth://totp/Acme:ada%40acme.example?secret=JBSWY3DPEHPK3PXP&issuer=Acme")
    assert code.path.startswith("M4 4h7v1h-7z")  # the upper edge of the finder pattern, inside the quiet zone
    assert (code.size - 2 * 4 - 17) % 4 == 0
    assert re.fullmatch(r"(M\d+ \d+h\d+v1h-\d+z)+", code.path)
