"""What people do with passwords in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from tallystick_contracts.generated.identity import (
    LoginFailed,
    LoginFailure,
)

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, Tenant

GOOD = "correct horse battery staple"
OTHER = "a parrot on a unicycle"
NOT_ACCEPTED = (401, "password_not_accepted")
KIM = "kim@people.example"


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


async def policy(identity: Identity, admin: httpx.AsyncClient, *, passwords: bool) -> httpx.Response:
    return await identity.command(admin, "PUT", "identity/sign-in-policy", {"passwords": passwords})


async def set_password(
    identity: Identity, client: httpx.AsyncClient, new: str, current: str | None = None
) -> httpx.Response:
    body = {"new_password": new} if current is None else {"new_password": new, "current_password": current}
    answer = await identity.command(client, "PUT", "auth/password", body)
    client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    return answer


async def by_password(
    identity: Identity, tenant: Tenant, email: str = KIM, password: str = GOOD, client: httpx.AsyncClient | None = None
) -> httpx.Response:
    browser = client or identity.client()
    return await identity.verify(browser, tenant=tenant.slug, email=email, password=password)


async def candidate(identity: Identity) -> tuple[Tenant, httpx.AsyncClient, httpx.AsyncClient]:
    """Return a tenant with passwords, its administrator, and Kim, who is no staff and has set a password."""
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    assert (await policy(identity, admin, passwords=True)).status_code == 200
    await identity.new_person(admin, KIM)
    kim = await identity.signed_in(tenant, KIM)
    answer = await set_password(identity, kim, GOOD)
    assert answer.status_code == 200, answer.text
    return tenant, admin, kim


def elsewhere(identity: Identity, number: int) -> httpx.AsyncClient:
    """Return a browser at another address."""
    import httpx as http  # noqa: PLC0415

    transport = http.ASGITransport(app=identity.app, client=(f"203.0.113.{number}", 1))
    return http.AsyncClient(transport=transport, base_url="https://identity.example", headers={"User-Agent": "Test"})


async def stored_hash(identity: Identity, tenant: Tenant) -> list[str]:
    async with identity.transaction(tenant.id) as tx:
        return list((await tx.execute(text("select hash from identity.passwords"))).scalars())


async def reasons(identity: Identity, tenant: Tenant) -> list[LoginFailure]:
    failed = [one.data for one in await identity.events(tenant.id, "identity.login.failed")]
    return [one.reason for one in failed if isinstance(one, LoginFailed)]
