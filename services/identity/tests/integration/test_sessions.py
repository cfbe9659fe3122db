"""Sessions: cookies, claims, refresh, forgery protection, token versions, introspection, service tokens."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from tallystick_chassis.http.tokens import TokenVerifier
from tallystick_contracts.capabilities import Capability

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, StartIdentity, Tenant

SESSION, REFRESH, CSRF = "__Host-tally_session", "__Secure-tally_refresh", "__Host-tally_csrf"
INTROSPECT = "/api/v1/identity/introspect"


def _claims(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def _introspected(identity: Identity, token: str) -> dict[str, object]:
    async with identity.service() as service:
        answer = await service.post(INTROSPECT, json={"token": token})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _refresh(identity: Identity, cookie: str) -> httpx.Response:
    async with identity.client() as client:
        return await client.post("/session/refresh", headers={"Cookie": f"{REFRESH}={cookie}"})


@pytest.mark.control("AC-03")
async def test_tokens_come_in_guarded_cookies_and_never_in_a_body(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = identity.client()
    asked = await identity.ask_for_link(client, tenant, tenant.admin_email)
    await identity.send_mail()
    link = next(one for one in identity.links() if one.correlation == asked.headers["X-Correlation-ID"])
    verified = await client.post("/api/v1/auth/verify", json=link.body)
    cookies = {one.partition("=")[0]: one.lower() for one in verified.headers.get_list("set-cookie")}
    for name in (SESSION, REFRESH, CSRF):
        assert "secure" in cookies[name]
        assert "domain" not in cookies[name]
        assert ("httponly" in cookies[name]) == (name != CSRF)
    assert "samesite=lax" in cookies[SESSION]
    assert "path=/;" in cookies[SESSION] + ";"
    assert "samesite=strict" in cookies[REFRESH]
    assert "path=/session/refresh" in cookies[REFRESH]
    assert set(verified.json()) == {"person", "second_factor"}


@pytest.mark.control("EV-13a")
@pytest.mark.control("EV-21b")
async def test_a_session_token_names_roles_and_no_capability(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    claims = _claims(client.cookies[SESSION])
    allowed = ["iss", "aud", "sub", "tid", "sid", "rids", "tv", "amr", "auth_time", "iat", "nbf", "exp"]
    assert sorted(claims) == sorted(allowed)
    assert claims["tid"] == str(tenant.id)
    assert str(claims["sub"]).startswith("p_")
    assert claims["exp"] - claims["iat"] == 300  # type: ignore[operator]
    text = json.dumps(claims)
    assert not [one for one in Capability if one.value in text]


@pytest.mark.control("EV-13a")
async def test_a_capability_taken_from_a_role_is_gone_at_the_next_request(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    roles = {one["name"]: one for one in (await admin.get("/api/v1/identity/roles")).json()["roles"]}
    role = roles["administrator"]
    fewer = [one for one in role["capabilities"] if one != "people.read"]
    assert (await admin.get("/api/v1/identity/people")).status_code == 200
    changed = await identity.command(admin, "PUT", f"identity/roles/{role['id']}", {"capabilities": fewer})
    assert changed.status_code == 200
    assert changed.json()["version"] == 2
    refused = await admin.get("/api/v1/identity/people")
    assert refused.status_code == 403
    assert refused.json()["code"] == "capability_missing"


@pytest.mark.control("AC-04")
async def test_an_unsafe_request_needs_the_sessions_own_csrf_token(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    mine, other = await identity.signed_in(tenant), await identity.signed_in(await identity.new_tenant())
    body = {"slug": "north", "name": "North"}
    for header in ("", "x" * 43, other.headers["X-CSRF-Token"]):
        mine.headers["X-CSRF-Token"] = header
        refused = await identity.command(mine, "POST", "identity/org-units", body)
        assert (refused.status_code, refused.json()["code"]) == (403, "csrf_failed")
    mine.headers["X-CSRF-Token"] = mine.cookies[CSRF]
    mine.headers["Origin"] = "https://evil.example"
    assert (await identity.command(mine, "POST", "identity/org-units", body)).status_code == 403
    del mine.headers["Origin"]
    assert (await identity.command(mine, "POST", "identity/org-units", body)).status_code == 201


async def test_a_refresh_gives_a_new_token_and_a_new_refresh_cookie(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    old_session, old_refresh = client.cookies[SESSION], client.cookies[REFRESH]
    identity.clock.ahead += timedelta(minutes=6)
    assert (await client.get("/api/v1/identity/me")).status_code == 401
    refreshed = await client.post("/session/refresh")
    assert refreshed.status_code == 204
    assert client.cookies[SESSION] != old_session
    assert client.cookies[REFRESH] != old_refresh
    assert (await client.get("/api/v1/identity/me")).status_code == 200


async def test_a_lost_answer_to_a_refresh_is_repeated_within_ten_seconds(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    refresh = client.cookies[REFRESH]
    first, second = await _refresh(identity, refresh), await _refresh(identity, refresh)
    assert (first.status_code, second.status_code) == (204, 204)
    assert first.cookies[REFRESH] == second.cookies[REFRESH]
    assert (await _refresh(identity, second.cookies[REFRESH])).status_code == 204


@pytest.mark.control("PK-07")
async def test_of_many_refreshes_at_once_on_two_replicas_one_rotates_and_all_get_its_successor(
    identity: Identity, identity_with: StartIdentity
) -> None:
    async with identity_with({}) as replica:
        tenant = await identity.new_tenant()
        client = await identity.signed_in(tenant)
        rotations = await _rotations(identity, tenant)
        both = (identity, replica) * 4
        answers = await asyncio.gather(*(_refresh(at, client.cookies[REFRESH]) for at in both))
        assert {one.status_code for one in answers} == {204}
        (successor,) = {one.cookies[REFRESH] for one in answers}
        after = await _rotations(identity, tenant)
        assert len(after - rotations) == 1, "one row was rotated"
        assert (await _refresh(replica, successor)).status_code == 204
        for at in (identity, replica):
            met = await at.client().get(
                "/api/v1/identity/me", headers={"Cookie": f"{SESSION}={answers[0].cookies[SESSION]}"}
            )
            assert met.status_code == 200


async def _rotations(identity: Identity, tenant: Tenant) -> set[tuple[object, ...]]:
    async with identity.transaction(tenant.id) as tx:
        rows = await tx.execute(text("select id, refresh_hash, previous_hash from identity.sessions"))
        return {tuple(row) for row in rows}


@pytest.mark.control("EV-25a")
async def test_an_old_refresh_cookie_that_comes_back_ends_the_session(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    stolen = client.cookies[REFRESH]
    newest = (await _refresh(identity, stolen)).cookies
    identity.clock.ahead += timedelta(seconds=11)
    reused = await _refresh(identity, stolen)
    assert (reused.status_code, reused.json()["code"]) == (401, "session_over")
    assert (await _refresh(identity, newest[REFRESH])).status_code == 401
    assert await _introspected(identity, newest[SESSION]) | {"active": False} == {
        **await _introspected(identity, "made-up")
    }
    _, revoked = await identity.events(tenant.id, "identity.session.revoked")  # enrolling replaced the first
    assert revoked.data.reason.name == "REUSE"  # type: ignore[attr-defined]


async def test_a_session_ends_after_thirty_idle_minutes_and_after_twelve_hours(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    idle, busy = await identity.signed_in(tenant), await identity.signed_in(tenant)
    began = identity.clock.ahead
    for minutes in range(20, 12 * 60, 20):
        identity.clock.ahead = began + timedelta(minutes=minutes)
        assert (await busy.post("/session/refresh")).status_code == 204
    assert (await idle.post("/session/refresh")).status_code == 401
    identity.clock.ahead = began + timedelta(hours=12, seconds=1)
    assert (await busy.post("/session/refresh")).status_code == 401


async def test_a_logout_ends_the_session_and_clears_its_cookies(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    token, refresh = client.cookies[SESSION], client.cookies[REFRESH]
    out = await identity.command(client, "POST", "auth/logout")
    assert out.status_code == 200
    assert out.headers["clear-site-data"] == '"cache", "storage"'
    assert SESSION not in client.cookies
    assert (await _introspected(identity, token))["active"] is False
    assert (await _refresh(identity, refresh)).status_code == 401
    _, revoked = await identity.events(tenant.id, "identity.session.revoked")  # enrolling replaced the first
    assert revoked.data.reason.name == "LOGOUT"  # type: ignore[attr-defined]


@pytest.mark.control("AC-05")
async def test_a_bumped_token_version_refuses_what_was_signed_before(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    kim = await identity.signed_in(tenant, "kim@people.example")
    token = kim.cookies[SESSION]
    assert (await _introspected(identity, token))["active"] is True
    ended = await identity.command(admin, "POST", f"identity/people/{person['id']}/sessions/end")
    assert ended.status_code == 200
    assert (await _introspected(identity, token))["active"] is False
    assert (await kim.get("/api/v1/identity/me")).status_code == 401
    assert (await kim.post("/session/refresh")).status_code == 401
    _, bumped = await identity.events(tenant.id, "identity.token_version.bumped")  # the administrator enrolled
    assert bumped.data.version == 2  # type: ignore[attr-defined]
    again = await identity.signed_in(tenant, "kim@people.example")
    assert _claims(again.cookies[SESSION])["tv"] == 2


@pytest.mark.control("EV-13a")
async def test_introspection_unfolds_grants_to_units_and_tells_services_only(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    north = await identity.new_unit(admin, "north")
    blue = await identity.new_unit(admin, "blue", north)
    south = await identity.new_unit(admin, "south")
    person = await identity.new_person(admin, "kim@people.example", org_unit_id=south)
    await identity.grant(admin, person["id"], "proctor", north, subtree=True)
    await identity.grant(admin, person["id"], "candidate", south)
    kim = await identity.signed_in(tenant, "kim@people.example")
    known = await _introspected(identity, kim.cookies[SESSION])
    units = {tuple(one["capabilities"]): sorted(one["units"]) for one in known["grants"]}  # type: ignore[attr-defined]
    assert units == {
        ("assignment.issue", "assignment.read"): sorted([north, blue]),
        ("attempt.take", "certificate.own"): [south],
    }
    assert (known["home_unit"], known["person"], known["tenant"]) == (south, person["person"], str(tenant.id))
    assert (await kim.post(INTROSPECT, json={"token": "x"})).status_code == 403
    async with identity.service("identity") as itself:
        assert (await itself.post(INTROSPECT, json={"token": "x"})).status_code == 403


async def test_an_expired_grant_gives_nothing(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, "kim@people.example")
    roles = {one["name"]: one["id"] for one in (await admin.get("/api/v1/identity/roles")).json()["roles"]}
    until = (identity.clock() + timedelta(minutes=2)).isoformat()
    body = {"person_id": person["id"], "role_id": roles["author"], "org_unit_id": str(tenant.id), "expires_at": until}
    assert (await identity.command(admin, "POST", "identity/grants", body)).status_code == 201
    kim = await identity.signed_in(tenant, "kim@people.example")
    assert len((await _introspected(identity, kim.cookies[SESSION]))["grants"]) == 1  # type: ignore[arg-type]
    identity.clock.ahead += timedelta(minutes=3)
    assert (await _introspected(identity, kim.cookies[SESSION]))["grants"] == []


@pytest.mark.control("EV-12a")
async def test_tampered_cookies_are_no_session(identity: Identity) -> None:
    tenant = await identity.new_tenant()
    client = await identity.signed_in(tenant)
    token = client.cookies[SESSION]
    header, claims, signature = token.split(".")
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt","kid":"x"}').rstrip(b"=").decode()
    bad = [
        "",
        "x",
        f"{header}.{claims}.",
        f"{unsigned}.{claims}.",
        f"{header}.{claims[:-2]}AA.{signature}",
        f"{header}.{claims}.{signature[:-4]}AAAA",
        identity.parts.signer.issue_service("assessment"),
    ]
    for cookie in bad:
        async with identity.client() as stranger:
            answer = await stranger.get("/api/v1/identity/me", headers={"Cookie": f"{SESSION}={cookie}"})
        assert answer.status_code == 401, cookie
    for cookie in ("", "x", "x.y", client.cookies[REFRESH][:-3] + "AAA"):
        assert (await _refresh(identity, cookie)).status_code == 401


@pytest.mark.control("X-05")
async def test_a_refresh_cookie_that_names_another_session_or_none_gives_nothing_and_ends_nothing(
    identity: Identity,
) -> None:
    tenant, other = await identity.new_tenant(), await identity.new_tenant()
    client, stranger = await identity.signed_in(tenant), await identity.signed_in(other)
    (mine, secret), (theirs, _) = (one.cookies[REFRESH].split(".") for one in (client, stranger))

    def named(tenant_bytes: bytes, session_bytes: bytes) -> str:
        return base64.urlsafe_b64encode(tenant_bytes + session_bytes).rstrip(b"=").decode()

    def raw(locator: str) -> bytes:
        return base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4))

    swapped = (
        named(raw(theirs)[:16], raw(mine)[16:]),
        named(raw(mine)[:16], raw(theirs)[16:]),
        named(raw(mine)[:16], bytes(16)),
    )
    bad = (
        *(f"{locator}.{secret}" for locator in swapped),
        *(mine, f"{mine}.", f".{secret}", f"{mine[:-4]}.{secret}", f"{mine}AAAA.{secret}", f"{mine[:-1]}!.{secret}"),
        *("A" * 9_000 + f".{secret}", f"{mine.upper()}.{secret}", "%00." + secret, '""'),
    )
    for cookie in bad:
        answer = await _refresh(identity, cookie)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_over"), cookie
    for one in (client, stranger):
        assert (await one.post("/session/refresh")).status_code == 204


async def test_a_service_gets_a_token_for_its_secret_and_for_nothing_else(identity: Identity) -> None:
    settings = identity.parts.settings
    form = {"grant_type": "client_credentials"}
    async with identity.client() as client:
        good = await client.post("/oauth/token", data=form, auth=("identity", settings.client_secret or ""))
        assert good.status_code == 200
        assert good.json()["expires_in"] == 300
        keys = (await client.get("/.well-known/jwks.json")).content
        assert b'"d"' not in keys
        verifier = TokenVerifier(keys, clock=identity.clock)
        assert verifier.verify_service(good.json()["access_token"]) == "identity"
        for auth in (("identity", "wrong"), ("nobody", "wrong"), ("", "")):
            refused = await client.post("/oauth/token", data=form, auth=auth)
            assert (refused.status_code, refused.json()["code"]) == (401, "invalid_client")
        assert (await client.post("/oauth/token", data=form)).status_code == 401
        other = await client.post(
            "/oauth/token", data={"grant_type": "password"}, auth=("identity", settings.client_secret or "")
        )
        assert other.json()["code"] == "unsupported_grant_type"
