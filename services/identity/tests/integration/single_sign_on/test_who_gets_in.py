"""Who gets in by the tenant's provider, as whom, with which roles, and how a tenant sets it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bendable_provider import BendableProvider
from sqlalchemy import text
from tallystick_contracts.generated.identity import LoginFailure
from tallystick_contracts.generated.privacy import ErasureOrdered

from .steps import (
    KIM,
    SHARED_SECRET,
    begin,
    come_back,
    configured,
    failures,
    from_now,
    provider_settings,
    role_named,
    sign_in,
)

if TYPE_CHECKING:
    from conftest import Identity


@pytest.mark.control("X-06")
@pytest.mark.control("AU-01")
async def test_somebody_new_gets_an_account_by_the_policy_and_comes_back_as_the_same_person(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await configured(identity, provider)
    client, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 200, back.text
    assert "You are signed in" in back.text
    first = (await client.get("/api/v1/identity/me")).json()
    assert first["display_name"] == "Kim Learner"
    provider.claims["email"] = "another@elsewhere.example"
    again, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 200
    assert (await again.get("/api/v1/identity/me")).json()["person"] == first["person"]
    (linked,) = await identity.events(tenant.id, "identity.sso.linked")
    assert provider.subject not in str(linked.data)
    logins = await identity.events(tenant.id, "identity.login.succeeded")
    assert len([one for one in logins if one.data.person == first["person"]]) == 2  # type: ignore[attr-defined]
    assert await failures(identity, tenant) == []


@pytest.mark.control("X-06")
async def test_what_was_enrolled_before_the_first_sign_in_by_the_provider_opens_nothing_afterwards(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    kim = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, kim["id"], "grader", str(tenant.id))
    before = await identity.signed_in(tenant, "kim@people.example")
    assert len((await before.get("/api/v1/auth/second-factor")).json()["factors"]) == 1
    client, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 200, back.text
    assert (await before.get("/api/v1/identity/me")).status_code == 401
    (removed,) = await identity.events(tenant.id, "identity.mfa.removed")
    assert removed.data.person == kim["person"]  # type: ignore[attr-defined]
    assert (await client.get("/api/v1/auth/second-factor")).json() == {
        "needed": "enrol",
        "factors": [],
        "recovery_codes_left": 0,
    }


@pytest.mark.control("X-06")
async def test_somebody_who_is_known_by_their_verified_address_is_linked(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider, creates_accounts=False)
    kim = await identity.new_person(admin, "kim@people.example")
    client, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 200
    assert (await client.get("/api/v1/identity/me")).json()["person"] == kim["person"]


@pytest.mark.control("X-06")
@pytest.mark.parametrize(
    ("claims", "settings"),
    [
        ({"email": "kim@elsewhere.example"}, {}),
        ({"email": "kim@sub.people.example"}, {}),
        ({"email": "kim@people.example@elsewhere.example"}, {}),
        ({"email_verified": False}, {}),
        ({"email_verified": "true"}, {}),
        ({"email_verified": None}, {}),
        ({}, {"domains": []}),
        ({}, {"creates_accounts": False}),
    ],
)
async def test_nobody_gets_an_account_outside_the_policy(
    identity: Identity, provider: BendableProvider, claims: dict[str, Any], settings: dict[str, Any]
) -> None:
    tenant, _ = await configured(identity, provider, **settings)
    provider.claims |= claims
    _, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await failures(identity, tenant) == [LoginFailure.UNKNOWN_PERSON]


@pytest.mark.control("X-06")
async def test_another_subject_with_the_same_address_does_not_get_the_account(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await configured(identity, provider)
    assert (await sign_in(identity, provider, tenant))[1].status_code == 200
    provider.subject = "subject-2"
    _, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-06")
async def test_the_same_subject_of_another_issuer_is_somebody_else(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    client, _ = await sign_in(identity, provider, tenant)
    kim = (await client.get("/api/v1/identity/me")).json()["person"]
    async with BendableProvider(claims=KIM | {"email": "sam@people.example"}) as other:
        changed = await identity.command(admin, "PUT", "identity/sso", provider_settings(other))
        assert changed.status_code == 200
        assert (await client.get("/api/v1/identity/me")).status_code == 401
        client, back = await sign_in(identity, other, tenant)
        assert back.status_code == 200
        assert (await client.get("/api/v1/identity/me")).json()["person"] != kim


@pytest.mark.control("X-01")
async def test_staff_show_a_second_factor_unless_the_tenant_trusts_the_providers_word(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    await identity.grant(
        admin, (await identity.new_person(admin, "kim@people.example"))["id"], "grader", str(tenant.id)
    )
    provider.claims["amr"] = ["pwd", "mfa"]
    client, back = await sign_in(identity, provider, tenant)
    assert "second factor" in back.text
    assert (await client.get("/api/v1/identity/me")).json()["code"] == "second_factor_required"
    trusting = provider_settings(provider, two_factor_values=["mfa"], client_secret=None)
    assert (await identity.command(admin, "PUT", "identity/sso", trusting)).status_code == 200
    client, _ = await sign_in(identity, provider, tenant)
    assert (await client.get("/api/v1/identity/me")).status_code == 200


@pytest.mark.control("X-04")
async def test_what_wants_a_recent_sign_in_goes_by_the_time_that_the_provider_names(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await configured(identity, provider)
    factor = {"kind": "totp"}
    for auth_time, status in ((from_now(-3_600), 401), (None, 401), (from_now(0), 201)):
        provider.claims["auth_time"] = auth_time
        client, _ = await sign_in(identity, provider, tenant)
        assert (await identity.command(client, "POST", "auth/factors", factor)).status_code == status
    client = identity.client()
    address = await begin(client, tenant, "?fresh=true")
    assert "prompt=login" in address
    assert "max_age=0" in address
    provider.claims["auth_time"] = from_now(-120)
    assert (await come_back(client, tenant, provider.authorize(address))).status_code == 401


@pytest.mark.control("X-06")
async def test_claims_give_roles_and_take_them_back_and_leave_those_alone_that_people_gave(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    unit = await identity.new_unit(admin, "north")
    rules = [
        {"value": "graders", "role_id": await role_named(admin, "grader"), "org_unit_id": unit, "subtree": True},
        {"value": "takers", "role_id": await role_named(admin, "candidate"), "org_unit_id": str(tenant.id)},
    ]
    settings = provider_settings(provider, role_claim="groups", roles=rules, two_factor_values=["mfa"])
    assert (await identity.command(admin, "PUT", "identity/sso", settings)).status_code == 200
    provider.claims |= {"groups": ["graders", "takers", 7, "unknown"], "amr": ["mfa"]}
    client, _ = await sign_in(identity, provider, tenant)
    capabilities = set((await client.get("/api/v1/identity/me")).json()["capabilities"])
    assert {"certificate.issue", "attempt.take"} <= capabilities
    person = next(one for one in (await admin.get("/api/v1/identity/people")).json()["people"] if "Kim" in str(one))
    await identity.grant(admin, person["id"], "author", str(tenant.id))
    provider.claims["groups"] = "takers"
    client, _ = await sign_in(identity, provider, tenant)
    capabilities = set((await client.get("/api/v1/identity/me")).json()["capabilities"])
    assert {"attempt.take", "evaluation.write"} <= capabilities
    assert "certificate.issue" not in capabilities
    given = await identity.events(tenant.id, "identity.role.assigned")
    assert len([one for one in given if one.data.person == person["person"]]) == 3  # type: ignore[attr-defined]


@pytest.mark.control("X-06")
async def test_claims_make_no_administrator_unless_the_tenant_says_so(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    rule = {"value": "bosses", "role_id": await role_named(admin, "administrator"), "org_unit_id": str(tenant.id)}
    more = {"role_claim": "groups", "roles": [rule | {"subtree": True}], "two_factor_values": ["mfa"]}
    refused = await identity.command(admin, "PUT", "identity/sso", provider_settings(provider, **more))
    assert (refused.status_code, refused.json()["code"]) == (422, "role_for_administrators")
    said = provider_settings(provider, makes_administrators=True, **more)
    assert (await identity.command(admin, "PUT", "identity/sso", said)).status_code == 200
    provider.claims |= {"groups": ["bosses"], "amr": ["mfa"]}
    client, _ = await sign_in(identity, provider, tenant)
    assert "roles.write" in (await client.get("/api/v1/identity/me")).json()["capabilities"]


@pytest.mark.control("X-06")
async def test_a_role_that_became_an_administrators_after_the_rule_was_made_is_not_given(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    made = await identity.command(admin, "POST", "identity/roles", {"name": "helper", "capabilities": []})
    rule = {"value": "helpers", "role_id": made.json()["id"], "org_unit_id": str(tenant.id)}
    settings = provider_settings(provider, role_claim="groups", roles=[rule], two_factor_values=["mfa"])
    assert (await identity.command(admin, "PUT", "identity/sso", settings)).status_code == 200
    grown = {"capabilities": ["grants.write"]}
    assert (await identity.command(admin, "PUT", f"identity/roles/{made.json()['id']}", grown)).status_code == 200
    provider.claims |= {"groups": ["helpers"], "amr": ["mfa"]}
    client, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 200
    assert "grants.write" not in (await client.get("/api/v1/identity/me")).json()["capabilities"]


@pytest.mark.control("X-06")
async def test_the_client_secret_is_never_shown_lies_nowhere_in_clear_and_goes_to_no_other_issuer(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    shown = await admin.get("/api/v1/identity/sso")
    assert shown.json()["has_secret"] is True
    assert shown.json()["redirect_uri"].endswith(f"/sign-in/{tenant.slug}/sso/callback")
    assert provider.client_secret not in shown.text
    elsewhere = provider_settings(provider, client_secret=None, issuer="https://evil.example")
    refused = await identity.command(admin, "PUT", "identity/sso", elsewhere)
    assert (refused.status_code, refused.json()["code"]) == (422, "secret_needed")
    async with identity.transaction(tenant.id) as tx:
        dump = ""
        for table in ("sso_providers", "idempotency", "events", "sso_requests"):
            dump += "".join(str(tuple(row)) for row in await tx.execute(text(f"select * from identity.{table}")))  # noqa: S608
    assert provider.client_secret not in dump
    assert len(await identity.events(tenant.id, "identity.sso_provider.changed")) == 1


@pytest.mark.parametrize(
    "bent",
    [
        {"issuer": "http://idp.example"},
        {"issuer": "https://user@idp.example"},
        {"issuer": "https://idp.example/?x=1"},
        {"issuer": "ftp://127.0.0.1"},
        {"domains": ["People.Example"]},
        {"domains": ["localhost"]},
        {"domains": ["*.people.example"]},
    ],
)
async def test_a_provider_that_cannot_be_asked_safely_is_not_configured(
    identity: Identity, provider: BendableProvider, bent: dict[str, Any]
) -> None:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    refused = await identity.command(admin, "PUT", "identity/sso", provider_settings(provider, **bent))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")


async def test_a_provider_is_tried_and_what_is_wrong_is_said(identity: Identity, provider: BendableProvider) -> None:
    tenant, admin = await configured(identity, provider)
    tried = await identity.command(admin, "POST", "identity/sso/test")
    assert tried.json() == {"ok": True, "problem": None, "keys": 1}
    document = "/.well-known/openid-configuration"
    for route, answer, problem in (
        (document, (302, b"", {"Location": "http://127.0.0.1:1/"}), "not answered 200"),
        (document, (200, b"[]", {}), "the answer is no JSON object"),
        (document, (200, b"{}", {}), "the provider's metadata is not valid"),
        (document, (200, b" " * 300_000, {}), "the answer is too long"),
        (document, (200, b"{}", {"Content-Encoding": "gzip"}), "the answer is encoded"),
        ("/jwks", (200, b'{"keys": []}', {}), "the provider publishes no usable key"),
        (
            "/jwks",
            (200, SHARED_SECRET, {}),
            "the provider publishes no usable key",
        ),
    ):
        provider.routes = {route: lambda answer=answer: answer}
        tried = await identity.command(admin, "POST", "identity/sso/test")
        assert tried.json() == {"ok": False, "problem": problem, "keys": 0}, route
    provider.routes = {}
    for metadata, problem in (
        ({"issuer": "https://evil.example"}, "the provider names another issuer"),
        ({"code_challenge_methods_supported": ["plain"]}, "the provider cannot do PKCE with S256"),
        ({"jwks_uri": "http://metadata.internal/jwks"}, "not a plain https address"),
        ({"token_endpoint": "https://10.0.0.1@evil.example/"}, "not a plain https address"),
    ):
        provider.metadata = metadata
        assert (await identity.command(admin, "POST", "identity/sso/test")).json()["problem"] == problem
    begun = await identity.client().get(f"/sign-in/{tenant.slug}/sso")
    assert (begun.status_code, begun.json()["code"]) == (503, "provider_unreachable")


async def test_switched_off_nobody_signs_in_by_it_and_its_sessions_end(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await configured(identity, provider)
    client, _ = await sign_in(identity, provider, tenant)
    half = identity.client()
    answer = provider.authorize(await begin(half, tenant))
    assert (await identity.command(admin, "POST", "identity/sso/disable")).json()["enabled"] is False
    assert (await client.get("/api/v1/identity/me")).status_code == 401
    assert (await half.get(f"/sign-in/{tenant.slug}/sso/callback", params=answer)).status_code == 404
    unknown = await identity.client().get("/sign-in/no-such-tenant/sso")
    off = await identity.client().get(f"/sign-in/{tenant.slug}/sso")
    assert [unknown.status_code, unknown.json()["code"]] == [off.status_code, off.json()["code"]] == [404, "not_found"]


async def test_somebody_unlinked_or_disabled_does_not_get_in(identity: Identity, provider: BendableProvider) -> None:
    tenant, admin = await configured(identity, provider)
    client, _ = await sign_in(identity, provider, tenant)
    person = next(one for one in (await admin.get("/api/v1/identity/people")).json()["people"] if "Kim" in str(one))
    unlinked = await identity.command(admin, "DELETE", f"identity/people/{person['id']}/sso")
    assert unlinked.json() == {"person": person["person"], "removed": 1}
    assert (await client.get("/api/v1/identity/me")).status_code == 401
    assert len(await identity.events(tenant.id, "identity.sso.unlinked")) == 1
    assert (await sign_in(identity, provider, tenant))[1].status_code == 200, "the address links them again"
    assert (await identity.command(admin, "POST", f"identity/people/{person['id']}/disable")).status_code == 200
    assert (await sign_in(identity, provider, tenant))[1].status_code == 401
    assert await failures(identity, tenant) == [LoginFailure.ACCOUNT_DISABLED]


async def test_erasure_forgets_who_somebody_is_at_the_provider(identity: Identity, provider: BendableProvider) -> None:
    tenant, admin = await configured(identity, provider)
    await sign_in(identity, provider, tenant)
    person = next(one for one in (await admin.get("/api/v1/identity/people")).json()["people"] if "Kim" in str(one))
    assert (await identity.command(admin, "DELETE", f"identity/people/{person['id']}")).status_code == 202
    await identity.receive(tenant.id, ErasureOrdered(job_id="job-1", person=person["person"]))
    (receipt,) = await identity.events(tenant.id, "identity.erasure_receipt.given")
    assert {one.name: one.items for one in receipt.data.stores}["single-sign-on"] == 1  # type: ignore[attr-defined]
    async with identity.transaction(tenant.id) as tx:
        left = await tx.execute(text("select count(*) from identity.sso_identities"))
        assert left.scalar_one() == 0
