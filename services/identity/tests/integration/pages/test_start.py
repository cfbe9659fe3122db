"""Where a browser lands that was given the host's name, an address that is none, or the wrong organisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tallystick_identity.pages.local import ACCOUNT, TENANT_COOKIE

from .steps import browser

if TYPE_CHECKING:
    import httpx

    from conftest import Identity


def leads(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("location", "")


async def test_whoever_types_the_hosts_name_is_asked_once_for_the_organisation(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = browser(identity)
    assert leads(await client.get("/")) == (303, "/sign-in")
    assert "short name" in (await client.get("/sign-in")).text
    chosen = await client.post("/sign-in", data={"organisation": f" {tenant.slug.upper()} "})
    assert leads(chosen) == (303, f"/sign-in/{tenant.slug}")
    assert leads(await client.get("/")) == (303, f"/sign-in/{tenant.slug}")
    assert f'value="{tenant.slug}"' in (await client.get("/sign-in")).text
    cookie = chosen.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "secure", "samesite=lax"))


@pytest.mark.control("EV-22b")
async def test_the_choice_does_not_tell_whether_there_is_such_an_organisation(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    nobody = tenant.slug[:-1] + ("a" if tenant.slug[-1] != "a" else "b")
    told = []
    for name in (tenant.slug, nobody):
        client = browser(identity)
        answers = [
            await client.post("/sign-in", data={"organisation": name}),
            await client.get("/"),
            await client.get(f"/sign-in/{name}"),
        ]
        told.append(
            [(one.status_code, one.headers.get("location", "").replace(name, "-"), len(one.content)) for one in answers]
        )
    assert told[0] == told[1]


@pytest.mark.parametrize("name", ["", "no", "Größe", "a b", "-x-", "../admin", "x" * 41, "a\r\nSet-Cookie: x=y"])
async def test_what_is_no_short_name_is_asked_for_again(identity: Identity, name: str) -> None:
    client = browser(identity)
    answer = await client.post("/sign-in", data={"organisation": name})
    assert answer.status_code in {400, 422}
    assert "text/html" in answer.headers["content-type"]
    assert TENANT_COOKIE not in client.cookies
    machine = await identity.client().post("/sign-in", data={"organisation": name})
    assert machine.headers["content-type"] == "application/problem+json"


@pytest.mark.control("AC-04")
async def test_another_site_chooses_for_nobody(identity: Identity) -> None:
    client = browser(identity)
    answer = await client.post("/sign-in", data={"organisation": "evil"}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert TENANT_COOKIE not in client.cookies


async def test_looking_at_a_sign_in_page_leaves_no_mark_and_signing_in_does(identity: Identity) -> None:
    """Else a link to another organisation's page would lead somebody there for ninety days."""
    tenant = await identity.new_tenant()
    client = browser(identity)
    for path in (f"/sign-in/{tenant.slug}", f"/sign-in/{tenant.slug}/verify"):
        await client.get(path)
    await client.post(f"/sign-in/{tenant.slug}", data={"email": tenant.admin_email, "do": "mail"})
    half = browser(identity, await identity.signed_in(tenant, second_factor=False))
    await half.get("/account/second-factor")
    assert [TENANT_COOKIE in one.cookies for one in (client, half)] == [False, False]
    whole = browser(identity, await identity.signed_in(tenant))
    assert leads(await whole.get("/account/second-factor")) == (303, ACCOUNT)
    assert whole.cookies[TENANT_COOKIE] == tenant.slug


async def test_whoever_is_signed_in_lands_at_the_account_and_administrators_at_people(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    client = browser(identity, admin)
    assert leads(await client.get("/")) == (303, ACCOUNT)
    assert leads(await client.get("/admin")) == (303, "/admin/people")
    roles = {"name": "role_reader", "capabilities": ["roles.read"], "staff": False}
    assert (await identity.command(admin, "POST", "identity/roles", roles)).status_code == 201
    kim = await identity.new_person(admin, f"kim@{tenant.slug}.example")
    await identity.grant(admin, kim["id"], "role_reader", str(tenant.id))
    reader = browser(identity, await identity.signed_in(tenant, f"kim@{tenant.slug}.example"))
    assert leads(await reader.get("/admin")) == (303, "/admin/roles")
    nobody = await browser(identity).get("/admin")
    assert nobody.status_code == 401
    assert 'href="/sign-in"' in nobody.text


@pytest.mark.parametrize("path", ["/nowhere", "/admin/people/nobody", "/sign-in/a/b/c", "/favicon.ico", "/%E2%98%83"])
async def test_an_address_that_is_none_answers_a_browser_in_words_and_a_program_with_a_document(
    identity: Identity, path: str
) -> None:
    page = await browser(identity).get(path)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no page here" in page.text
    assert "unsafe" not in page.headers["content-security-policy"]
    assert path not in page.text
    document = await identity.client().get(path)
    assert (document.status_code, document.json()["code"]) == (404, "not_found")


async def test_an_address_that_takes_forms_alone_answers_a_browser_in_words(identity: Identity) -> None:
    page = await browser(identity).get("/account/sessions")
    assert (page.status_code, set(page.headers["allow"].split(", "))) == (405, {"OPTIONS", "POST"})
    assert "There is no page here" in page.text


@pytest.mark.control("EV-12a")
async def test_what_lies_under_the_api_answers_everybody_with_documents(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    for client, status in ((browser(identity), 401), (browser(identity, await identity.signed_in(tenant)), 404)):
        answer = await client.get("/api/v1/nowhere")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
