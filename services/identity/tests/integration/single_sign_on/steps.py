"""What people and their provider do in a sign-in, and what the tests ask for afterwards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tallystick_contracts.generated.identity import LoginFailed, LoginFailure

if TYPE_CHECKING:
    import httpx
    from bendable_provider import BendableProvider

    from conftest import Identity, Tenant


SHARED_SECRET = b'{"keys": [{"kty": "oct", "kid": "k1", "k": "AAAA"}]}'
KIM = {"email": "kim@people.example", "email_verified": True, "name": "Kim Learner"}


def provider_settings(provider: BendableProvider, **more: object) -> dict[str, object]:
    return {
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "enabled": True,
        "domains": ["people.example"],
        "creates_accounts": True,
        **more,
    }


async def configured(
    identity: Identity, provider: BendableProvider, **more: object
) -> tuple[Tenant, httpx.AsyncClient]:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    answer = await identity.command(admin, "PUT", "identity/sso", provider_settings(provider, **more))
    assert answer.status_code == 200, answer.text
    return tenant, admin


async def begin(client: httpx.AsyncClient, tenant: Tenant, query: str = "") -> str:
    begun = await client.get(f"/sign-in/{tenant.slug}/sso{query}")
    assert begun.status_code == 303, begun.text
    return str(begun.headers["location"])


async def come_back(client: httpx.AsyncClient, tenant: Tenant, answer: dict[str, str]) -> httpx.Response:
    back = await client.get(f"/sign-in/{tenant.slug}/sso/callback", params=answer)
    if back.status_code == 200:
        client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    return back


async def sign_in(
    identity: Identity, provider: BendableProvider, tenant: Tenant
) -> tuple[httpx.AsyncClient, httpx.Response]:
    client = identity.client()
    return client, await come_back(client, tenant, provider.authorize(await begin(client, tenant)))


async def failures(identity: Identity, tenant: Tenant) -> list[LoginFailure]:
    events = await identity.events(tenant.id, "identity.login.failed")
    return [event.data.reason for event in events if isinstance(event.data, LoginFailed)]


async def role_named(admin: httpx.AsyncClient, name: str) -> str:
    roles = {one["name"]: one["id"] for one in (await admin.get("/api/v1/identity/roles")).json()["roles"]}
    return str(roles[name])


def without(*names: str) -> Any:
    return lambda claims: [claims.pop(name) for name in names]


def having(**values: Any) -> Any:
    return lambda claims: claims.update(values)


def from_now(seconds: int) -> int:
    return int(time.time()) + seconds
