"""A provider ends the sessions that came by it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from bendable_provider import BendableProvider
from tallystick_contracts.generated.identity import SessionEnd, SessionRevoked

from .steps import begin, come_back, configured, sign_in

if TYPE_CHECKING:
    import httpx
    from bendable_provider import BendableProvider

    from conftest import Identity, Tenant


async def _log_out(identity: Identity, tenant: Tenant, token: str) -> httpx.Response:
    return await identity.client().post(f"/sign-in/{tenant.slug}/sso/logout", data={"logout_token": token})


@pytest.mark.control("X-06")
@pytest.mark.parametrize(
    "whom",
    [{}, {"sid": "provider-session-1"}, {"sub": None, "sid": "provider-session-1"}],
    ids=["the subject", "one session of the subject", "one session"],
)
async def test_the_providers_logout_ends_the_sessions_it_names(
    identity: Identity, provider: BendableProvider, whom: dict[str, Any]
) -> None:
    tenant, _ = await configured(identity, provider)
    first, _ = await sign_in(identity, provider, tenant)
    provider.claims["sid"] = "provider-session-2"
    second, _ = await sign_in(identity, provider, tenant)
    answer = await _log_out(identity, tenant, provider.logout_token(**whom))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert (await first.get("/api/v1/identity/me")).status_code == 401
    assert (await second.get("/api/v1/identity/me")).status_code == (200 if "sid" in whom else 401)
    ended = [event.data for event in await identity.events(tenant.id, "identity.session.revoked")]
    reasons = [one.reason for one in ended if isinstance(one, SessionRevoked)]
    assert reasons.count(SessionEnd.PROVIDER) == (1 if "sid" in whom else 2)


async def test_the_providers_logout_ends_a_session_that_has_shown_a_second_factor(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    kim = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, kim["id"], "grader", str(tenant.id))
    client, _ = await sign_in(identity, provider, tenant)
    assert (await identity.authenticators["kim"].enrol(client)).status_code == 200
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    assert (await _log_out(identity, tenant, provider.logout_token())).status_code == 200
    assert (await client.get("/api/v1/identity/me")).status_code == 401


async def test_the_providers_logout_ends_a_session_that_has_set_a_password(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    assert (await identity.command(admin, "PUT", "identity/sign-in-policy", {"passwords": True})).status_code == 200
    await identity.new_person(admin, "kim@people.example")
    client = identity.client()
    await come_back(client, tenant, provider.authorize(await begin(client, tenant, "?fresh=true")))
    body = {"new_password": "correct horse battery staple"}
    answer = await identity.command(client, "PUT", "auth/password", body)
    assert answer.status_code == 200, answer.text
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    assert (await _log_out(identity, tenant, provider.logout_token())).status_code == 200
    assert (await client.get("/api/v1/identity/me")).status_code == 401


WRONG_LOGOUTS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "for another client": {"aud": "somebody-else"},
    "no event": {"events": None},
    "another event": {"events": {"http://schemas.openid.net/event/else": {}}},
    "an event that is no object": {"events": {"http://schemas.openid.net/event/backchannel-logout": "x"}},
    "a nonce, as an ID token has": {"nonce": "n"},
    "nobody": {"sub": None},
    "no id": {"jti": None},
    "no issue time": {"iat": None},
    "no expiry": {"exp": None},
    "issued long ago": {"iat": int(time.time()) - 3_600},
    "expired": {"exp": int(time.time()) - 3_600},
    "the type of an ID token": {"header_typ": "JWT"},
    "no type": {"header_typ": None},
    "alg none": {"header_alg": "none"},
    "no kid": {"header_kid": None},
    "an unknown kid": {"header_kid": "k9"},
}


@pytest.mark.control("X-06")
@pytest.mark.parametrize("wrong", WRONG_LOGOUTS)
async def test_a_logout_token_that_is_anything_else_is_refused(
    identity: Identity, provider: BendableProvider, wrong: str
) -> None:
    tenant, _ = await configured(identity, provider)
    client, _ = await sign_in(identity, provider, tenant)
    refused = await _log_out(identity, tenant, provider.logout_token(**WRONG_LOGOUTS[wrong]))
    assert (refused.status_code, refused.json()["code"]) == (400, "logout_refused")
    assert (await client.get("/api/v1/identity/me")).status_code == 200


@pytest.mark.control("X-06")
async def test_a_logout_token_is_good_once(identity: Identity, provider: BendableProvider) -> None:
    tenant, _ = await configured(identity, provider)
    token = provider.logout_token()
    answers = await asyncio.gather(*(_log_out(identity, tenant, token) for _ in range(3)))
    assert sorted(one.status_code for one in answers) == [200, 400, 400]
    client, _ = await sign_in(identity, provider, tenant)
    assert (await _log_out(identity, tenant, token)).status_code == 400
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    nothing = await identity.client().post(f"/sign-in/{tenant.slug}/sso/logout", content=b"\xff")
    assert nothing.status_code == 400
