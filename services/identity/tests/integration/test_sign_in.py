"""Sign-in by magic link, through the real API, database and SMTP."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from sqlalchemy import text
from tallystick_contracts.generated.identity import MagicLinkRejected, MagicLinkRejection
from tallystick_identity.sign_in.domain import code_hash, secret_hash
from tallystick_identity.sign_in.mail import KEEP_AFTER_EXPIRY

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, Tenant


async def _reasons(identity: Identity, tenant: Tenant) -> list[MagicLinkRejection]:
    rejected = await identity.events(tenant.id, "identity.magic_link.rejected")
    return [event.data.reason for event in rejected if isinstance(event.data, MagicLinkRejected)]


@pytest.mark.control("EV-21a")
@pytest.mark.control("EV-25a")
async def test_a_person_signs_in_by_the_link_from_the_mail(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    me = await client.get("/api/v1/identity/me")
    assert me.status_code == 200
    assert me.json()["display_name"] == "Ada Admin"
    assert "people.write" in me.json()["capabilities"]
    types = {event.type for event in await identity.events(tenant.id)}
    assert types >= {
        "identity.magic_link.requested",
        "identity.magic_link.consumed",
        "identity.login.succeeded",
        "identity.session.created",
    }


@pytest.mark.control("EV-21d")
async def test_known_unknown_and_made_up_tenants_get_the_same_answer(identity: Identity) -> None:
    tenant = await identity.new_tenant()

    async def ask(slug: str, email: str) -> tuple[int, bytes, list[str], str]:
        async with identity.client() as client:
            answer = await client.post("/api/v1/auth/login", json={"tenant": slug, "email": email})
            cookie = answer.headers["set-cookie"]
            value = client.cookies["__Host-tally_login"]
            return answer.status_code, answer.content, sorted(answer.headers), cookie.replace(value, "…")

    known = await ask(tenant.slug, tenant.admin_email)
    assert known[0] == 202
    assert await ask(tenant.slug, "nobody@nowhere.example") == known
    assert await ask("no-such-tenant", tenant.admin_email) == known
    assert await ask("Not a slug!", tenant.admin_email) == known


@pytest.mark.control("EV-21d")
async def test_no_mail_goes_out_for_an_unknown_address_and_the_attempt_is_recorded(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    async with identity.client() as client:
        await identity.ask_for_link(client, tenant, "nobody@nowhere.example")
        await client.post("/api/v1/auth/login", json={"tenant": "no-such-tenant", "email": "a@b.example"})
    await identity.send_mail()
    assert [one for one in identity.links() if one.slug == tenant.slug] == []
    types = [event.type for event in await identity.events(tenant.id)]
    assert "identity.magic_link.requested" in types
    assert "identity.login.failed" in types


@pytest.mark.control("EV-21d")
@pytest.mark.control("X-09")
async def test_the_database_holds_only_hashes_of_secrets(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    nonce = client.cookies["__Host-tally_login"].partition(".")[2]
    await client.post("/api/v1/auth/verify", json=link.body)
    refresh = client.cookies["__Secure-tally_refresh"].partition(".")[2]
    assert min(len(link.token), len(nonce), len(refresh)) >= 43  # 256 bits
    async with identity.transaction(tenant.id) as tx:
        dump = ""
        for table in ("login_requests", "magic_links", "sessions", "people", "events"):
            rows = await tx.execute(text(f"select t::text as row, * from identity.{table} t"))  # noqa: S608
            dump += "".join(str(tuple(row)) for row in rows)
        (hashed,) = (await tx.execute(text("select code_hash from identity.magic_links"))).scalars()
    for secret in (link.token, nonce, refresh, tenant.admin_email):
        assert secret not in dump
    # Six digits are soon guessed: their hash needs the server's key.
    digits = link.code.replace(" ", "")
    assert bytes(hashed) not in {secret_hash(digits), code_hash(bytes(32), UUID(int=0), digits), digits.encode()}


@pytest.mark.control("AC-06")
@pytest.mark.control("EV-21d")
async def test_a_link_works_once(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    nonce = client.cookies["__Host-tally_login"]
    assert (await client.post("/api/v1/auth/verify", json=link.body)).status_code == 200
    again = await client.post("/api/v1/auth/verify", json=link.body, headers={"Cookie": f"__Host-tally_login={nonce}"})
    assert again.status_code == 401
    assert again.json()["code"] == "link_not_accepted"
    assert await _reasons(identity, tenant) == [MagicLinkRejection.REPLAYED]


@pytest.mark.control("AC-06")
async def test_of_two_submissions_at_once_exactly_one_wins(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    headers = {"Cookie": f"__Host-tally_login={client.cookies['__Host-tally_login']}"}
    answers = await asyncio.gather(
        *(identity.client().post("/api/v1/auth/verify", json=link.body, headers=headers) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    assert len(await identity.events(tenant.id, "identity.session.created")) == 1


@pytest.mark.control("AC-06")
@pytest.mark.control("X-03")
async def test_a_link_expires_after_ten_minutes(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    identity.clock.ahead = timedelta(minutes=10, seconds=1)
    assert (await client.post("/api/v1/auth/verify", json=link.body)).status_code == 401
    assert await _reasons(identity, tenant) == [MagicLinkRejection.EXPIRED]


@pytest.mark.control("AC-06")
async def test_a_newer_request_voids_the_older_link(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    first, second = identity.client(), identity.client()
    older = await identity.link_for(first, tenant)
    newer = await identity.link_for(second, tenant)
    assert (await first.post("/api/v1/auth/verify", json=older.body)).status_code == 401
    assert (await second.post("/api/v1/auth/verify", json=newer.body)).status_code == 200


@pytest.mark.control("EV-21d")
@pytest.mark.control("X-02")
async def test_a_link_opened_in_another_browser_signs_nobody_in(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    own, other = identity.client(), identity.client()
    link = await identity.link_for(own, tenant)
    refused = await other.post("/api/v1/auth/verify", json=link.body)
    assert (refused.status_code, refused.json()["code"]) == (401, "code_required")
    assert "__Host-tally_session" not in other.cookies
    assert await _reasons(identity, tenant) == [MagicLinkRejection.OTHER_BROWSER]
    # The thief's attempt does not spoil it for the owner.
    assert (await own.post("/api/v1/auth/verify", json=link.body)).status_code == 200


@pytest.mark.control("EV-21d")
async def test_every_refusal_reads_the_same(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client, other = identity.client(), identity.client()
    link = await identity.link_for(client, tenant)
    bodies = [
        {"request_id": link.request_id, "token": "x" * 43},
        {"request_id": link.request_id[:-4] + "AAAA", "token": link.token},
        {"request_id": "not-a-request", "token": link.token},
    ]
    answers = [await other.post("/api/v1/auth/verify", json=body) for body in bodies]
    shapes = {
        (one.status_code, tuple(sorted((k, v) for k, v in one.json().items() if k != "correlation_id")))
        for one in answers
    }
    assert len(shapes) == 1


@pytest.mark.control("EV-21d")
async def test_opening_the_page_uses_nothing_up(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    for path in (f"/sign-in/{tenant.slug}/verify", f"/sign-in/{tenant.slug}"):
        page = await client.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
    assert (await client.get("/api/v1/auth/verify", params=link.body)).status_code == 401
    assert (await client.post("/api/v1/auth/verify", json=link.body)).status_code == 200


@pytest.mark.control("X-08")
async def test_the_token_stands_in_the_fragment_and_pages_are_never_stored(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    link = await identity.link_for(client, tenant)
    assert "?" not in link.page
    assert link.token not in link.page
    page = await client.get(f"/sign-in/{tenant.slug}/verify")
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"  # which takes no fragment, and leaves this site never
    assert "script-src 'nonce-" in page.headers["content-security-policy"]
    assert "unsafe-inline" not in page.headers["content-security-policy"]


async def test_the_sign_in_page_does_not_tell_whether_there_is_such_a_tenant(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    async with identity.client() as client:
        real = await client.get(f"/sign-in/{tenant.slug}")
        made_up = await client.get("/sign-in/t000000000000")

    def without_nonce(page: httpx.Response, slug: str) -> str:
        nonce = page.headers["content-security-policy"].partition("nonce-")[2].partition("'")[0]
        return page.text.replace(nonce, "").replace(slug, "")

    assert without_nonce(real, tenant.slug) == without_nonce(made_up, "t000000000000")


async def test_a_mail_that_could_not_be_sent_is_sent_again_with_another_secret(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    await identity.ask_for_link(client, tenant, tenant.admin_email)
    await identity.send_mail()
    async with identity.transaction(tenant.id) as tx:  # as if the worker had died before it noted the sending
        await tx.execute(text("update identity.login_requests set done_at = null"))
    identity.clock.ahead = timedelta(seconds=6)
    await identity.send_mail()
    first, second = (one for one in identity.links() if one.slug == tenant.slug)
    assert first.request_id == second.request_id
    assert first.token != second.token
    assert len(await identity.events(tenant.id, "identity.magic_link.requested")) == 1
    assert (await client.post("/api/v1/auth/verify", json=first.body)).status_code == 200


@pytest.mark.control("EV-25b")
async def test_the_correlation_id_goes_from_the_request_through_the_mail_to_the_events(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    asked = await client.post(
        "/api/v1/auth/login",
        json={"tenant": tenant.slug, "email": tenant.admin_email},
        headers={"X-Correlation-ID": "stranger-1"},
    )
    await identity.send_mail()
    correlation = asked.headers["X-Correlation-ID"]
    assert correlation != "stranger-1"
    (event,) = await identity.events(tenant.id, "identity.magic_link.requested")
    (link,) = (one for one in identity.links() if one.slug == tenant.slug)
    assert event.correlation == correlation == link.correlation


async def test_old_requests_are_pruned(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    async with identity.client() as client:
        await identity.ask_for_link(client, tenant, tenant.admin_email)
        await client.post("/api/v1/auth/login", json={"tenant": "no-such-tenant", "email": "a@b.example"})
    identity.clock.ahead = timedelta(hours=2)
    await identity.prune()
    async with identity.runtime.duty.duty() as duty:
        # Other tests have moved their clocks further ahead.
        old = text("select count(*) from identity.login_requests where expires_at < :before")
        left = (await duty.execute(old, {"before": identity.clock() - KEEP_AFTER_EXPIRY})).scalar_one()
    assert left == 0


@pytest.mark.control("EV-23c")
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"tenant": "aurora"}',
        b'{"tenant": "aurora", "email": "a@b.example", "admin": true}',
        b'{"tenant": "aurora", "email": 7}',
        b'{"tenant": "aurora", "email": "no address"}',
    ],
)
async def test_bad_input_to_login_is_a_problem(identity: Identity, body: bytes) -> None:
    async with identity.client() as client:
        answer = await client.post("/api/v1/auth/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"
