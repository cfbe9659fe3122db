"""Nothing personal and nothing secret reaches a log line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Identity


@pytest.mark.control("EV-25c")
@pytest.mark.control("EV-24c")
async def test_logs_hold_no_address_name_token_or_cookie(identity: Identity, capfd: pytest.CaptureFixture[str]) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    await identity.new_person(admin, "canary@people.example", display_name="Canary Bird")
    await identity.command(admin, "POST", "identity/people", {"email": "canary@", "display_name": "Canary Bird"})
    await identity.command(
        admin,
        "POST",
        "identity/imports",
        {"rows": [{"org_unit": "", "email": "canary@people.example", "display_name": "C"}]},
    )
    async with identity.client() as client:
        link = identity.links()[-1]
        await client.post("/api/v1/auth/verify", json=link.body)
        await client.get(f"/sign-in/{tenant.slug}/verify")
    logged = "".join(capfd.readouterr())
    assert "POST /api/v1/auth/login" in logged
    secrets = [link.token, *admin.cookies.values()]
    for canary in ("canary@", "Canary", tenant.admin_email, "Ada Admin", *secrets):
        assert canary not in logged
