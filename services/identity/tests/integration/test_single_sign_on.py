"""Single sign-on: who gets in by the tenant's provider, as whom, with which roles, and every answer that is refused."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bendable_provider import KEY, OTHER_KEY, BendableProvider
from sqlalchemy import text
from tallystick_contracts.generated.identity import LoginFailed, LoginFailure, SessionEnd, SessionRevoked
from tallystick_contracts.generated.privacy import ErasureOrdered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from conftest import Identity, Tenant

SHARED_SECRET = b'{"keys": [{"kty": "oct", "kid": "k1", "k": "AAAA"}]}'
KIM = {"email": "kim@people.example", "email_verified": True, "name": "Kim Learner"}


@pytest.fixture
def identity(federated_identity: Identity) -> Identity:
    return federated_identity


@pytest.fixture
async def provider() -> AsyncIterator[BendableProvider]:
    async with BendableProvider(claims=dict(KIM)) as running:
        yield running


def _settings(provider: BendableProvider, **more: object) -> dict[str, object]:
    return {
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "enabled": True,
        "domains": ["people.example"],
        "creates_accounts": True,
        **more,
    }


async def _configured(
    identity: Identity, provider: BendableProvider, **more: object
) -> tuple[Tenant, httpx.AsyncClient]:
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    answer = await identity.command(admin, "PUT", "identity/sso", _settings(provider, **more))
    assert answer.status_code == 200, answer.text
    return tenant, admin


async def _begin(client: httpx.AsyncClient, tenant: Tenant, query: str = "") -> str:
    begun = await client.get(f"/sign-in/{tenant.slug}/sso{query}")
    assert begun.status_code == 303, begun.text
    return str(begun.headers["location"])


async def _come_back(client: httpx.AsyncClient, tenant: Tenant, answer: dict[str, str]) -> httpx.Response:
    back = await client.get(f"/sign-in/{tenant.slug}/sso/callback", params=answer)
    if back.status_code == 200:
        client.headers["X-CSRF-Token"] = client.cookies["__Host-tally_csrf"]
    return back


async def _sign_in(
    identity: Identity, provider: BendableProvider, tenant: Tenant
) -> tuple[httpx.AsyncClient, httpx.Response]:
    client = identity.client()
    return client, await _come_back(client, tenant, provider.authorize(await _begin(client, tenant)))


async def _failures(identity: Identity, tenant: Tenant) -> list[LoginFailure]:
    events = await identity.events(tenant.id, "identity.login.failed")
    return [event.data.reason for event in events if isinstance(event.data, LoginFailed)]


async def _role(admin: httpx.AsyncClient, name: str) -> str:
    roles = {one["name"]: one["id"] for one in (await admin.get("/api/v1/identity/roles")).json()["roles"]}
    return str(roles[name])


@pytest.mark.control("X-06")
@pytest.mark.control("AU-01")
async def test_somebody_new_gets_an_account_by_the_policy_and_comes_back_as_the_same_person(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await _configured(identity, provider)
    client, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 200, back.text
    assert "You are signed in" in back.text
    first = (await client.get("/api/v1/identity/me")).json()
    assert first["display_name"] == "Kim Learner"
    provider.claims["email"] = "another@elsewhere.example"
    again, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 200
    assert (await again.get("/api/v1/identity/me")).json()["person"] == first["person"]
    (linked,) = await identity.events(tenant.id, "identity.sso.linked")
    assert provider.subject not in str(linked.data)
    logins = await identity.events(tenant.id, "identity.login.succeeded")
    assert len([one for one in logins if one.data.person == first["person"]]) == 2  # type: ignore[attr-defined]
    assert await _failures(identity, tenant) == []


@pytest.mark.control("X-06")
async def test_what_was_enrolled_before_the_first_sign_in_by_the_provider_opens_nothing_afterwards(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    kim = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, kim["id"], "grader", str(tenant.id))
    before = await identity.signed_in(tenant, "kim@people.example")
    assert len((await before.get("/api/v1/auth/second-factor")).json()["factors"]) == 1
    client, back = await _sign_in(identity, provider, tenant)
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
    tenant, admin = await _configured(identity, provider, creates_accounts=False)
    kim = await identity.new_person(admin, "kim@people.example")
    client, back = await _sign_in(identity, provider, tenant)
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
    tenant, _ = await _configured(identity, provider, **settings)
    provider.claims |= claims
    _, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.UNKNOWN_PERSON]


@pytest.mark.control("X-06")
async def test_another_subject_with_the_same_address_does_not_get_the_account(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await _configured(identity, provider)
    assert (await _sign_in(identity, provider, tenant))[1].status_code == 200
    provider.subject = "subject-2"
    _, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-06")
async def test_the_same_subject_of_another_issuer_is_somebody_else(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    client, _ = await _sign_in(identity, provider, tenant)
    kim = (await client.get("/api/v1/identity/me")).json()["person"]
    async with BendableProvider(claims=KIM | {"email": "sam@people.example"}) as other:
        changed = await identity.command(admin, "PUT", "identity/sso", _settings(other))
        assert changed.status_code == 200
        assert (await client.get("/api/v1/identity/me")).status_code == 401
        client, back = await _sign_in(identity, other, tenant)
        assert back.status_code == 200
        assert (await client.get("/api/v1/identity/me")).json()["person"] != kim


def _unset(*names: str) -> Any:
    return lambda claims: [claims.pop(name) for name in names]


def _set(**values: Any) -> Any:
    return lambda claims: claims.update(values)


def _now(seconds: int) -> int:
    return int(time.time()) + seconds


WRONG_CLAIMS: dict[str, Any] = {
    "another issuer": _set(iss="https://evil.example"),
    "no issuer": _unset("iss"),
    "for another client": _set(aud="somebody-else"),
    "for nobody": _unset("aud"),
    "for several without azp": _set(aud=["tallystick", "somebody-else"]),
    "for several, issued to another": _set(aud=["tallystick", "somebody-else"], azp="somebody-else"),
    "issued to another": _set(azp="somebody-else"),
    "another nonce": _set(nonce="made up"),
    "no nonce": _unset("nonce"),
    "expired": lambda claims: claims.update(exp=_now(-61), iat=_now(-300)),
    "no expiry": _unset("exp"),
    "issued long ago": lambda claims: claims.update(iat=_now(-3_600)),
    "issued tomorrow": lambda claims: claims.update(iat=_now(86_400), exp=_now(90_000)),
    "not yet valid": lambda claims: claims.update(nbf=_now(3_600)),
    "no issue time": _unset("iat"),
    "a text for a time": _set(exp="tomorrow"),
    "no subject": _unset("sub"),
    "an empty subject": _set(sub=""),
    "a number for a subject": _set(sub=7),
    "a subject without end": _set(sub="x" * 300),
    "another access token's hash": _set(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "a list for amr": _set(amr="mfa"),
}


@pytest.mark.control("X-06")
@pytest.mark.parametrize("wrong", WRONG_CLAIMS)
async def test_an_id_token_that_says_anything_else_is_refused(
    identity: Identity, provider: BendableProvider, wrong: str
) -> None:
    tenant, _ = await _configured(identity, provider)
    provider.bend_claims = WRONG_CLAIMS[wrong]
    client, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert "__Host-tally_session" not in client.cookies
    assert await _failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


SECRET_AS_KEY = b"a secret of the client"
PUBLIC_KEY_AS_SECRET = KEY.as_pem(private=False)
WRONG_HEADERS: dict[str, tuple[dict[str, Any], Any]] = {
    "alg none": ({"alg": "none"}, KEY),
    "HS256 with the client's secret": ({"alg": "HS256"}, SECRET_AS_KEY),
    "HS256 with the public key": ({"alg": "HS256"}, PUBLIC_KEY_AS_SECRET),
    "an algorithm that the provider does not list": ({"alg": "RS512"}, KEY),
    "another key of the same name": ({}, OTHER_KEY),
    "no kid": ({"kid": None}, KEY),
    "an unknown kid": ({"kid": "k2"}, KEY),
    "a key of its own": ({"jwk": OTHER_KEY.as_dict(private=False)}, OTHER_KEY),
    "a place to find keys": ({"jku": "https://evil.example/jwks"}, KEY),
    "the type of a logout token": ({"typ": "logout+jwt"}, KEY),
}


@pytest.mark.control("X-06")
@pytest.mark.control("X-05")
@pytest.mark.parametrize("wrong", WRONG_HEADERS)
async def test_an_id_token_that_is_signed_any_other_way_is_refused(
    identity: Identity, provider: BendableProvider, wrong: str
) -> None:
    tenant, _ = await _configured(identity, provider)
    provider.header, provider.signing_key = WRONG_HEADERS[wrong]
    _, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-06")
@pytest.mark.parametrize(
    "bend",
    [
        lambda token: token[:-10],
        lambda token: token + "x" * 20_000,
        lambda _: "not.a.token",
        lambda _: "",
        lambda token: token.split(".")[0] + ".e30." + token.split(".")[2],
    ],
)
async def test_a_token_that_is_cut_swollen_or_no_token_is_refused(
    identity: Identity, provider: BendableProvider, bend: Any
) -> None:
    tenant, _ = await _configured(identity, provider)
    provider.bend_token = bend
    _, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-06")
async def test_an_answer_belongs_to_the_browser_and_the_sign_in_that_began_it(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await _configured(identity, provider)
    first, second = identity.client(), identity.client()
    mine = provider.authorize(await _begin(first, tenant))
    theirs = provider.authorize(await _begin(second, tenant))
    for wrong in (
        theirs,
        mine | {"state": theirs["state"]},
        mine | {"state": mine["state"][:-1] + ("A" if mine["state"][-1] != "A" else "B")},
        mine | {"state": ""},
        {"code": mine["code"]},
    ):
        assert (await _come_back(identity.client(cookie=_cookie(first)), tenant, wrong)).status_code == 401
    swapped = await _come_back(identity.client(cookie=_cookie(first)), tenant, mine | {"code": theirs["code"]})
    assert swapped.status_code == 401, "another sign-in's code does not fit this one's verifier"
    assert (await _come_back(second, tenant, theirs)).status_code == 401, "the code was used"


def _cookie(client: httpx.AsyncClient) -> str:
    return f"__Host-tally_sso={client.cookies['__Host-tally_sso']}"


@pytest.mark.control("X-06")
async def test_an_answer_is_good_once_also_for_two_replicas_at_once(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await _configured(identity, provider)
    client = identity.client()
    answer = provider.authorize(await _begin(client, tenant))
    cookie = _cookie(client)
    backs = await asyncio.gather(*(_come_back(identity.client(cookie=cookie), tenant, answer) for _ in range(3)))
    assert sorted(one.status_code for one in backs) == [200, 401, 401]
    assert len([one for one in provider.asked if one == "POST /token"]) == 1
    assert await _failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER] * 2


@pytest.mark.control("X-06")
async def test_an_answer_lasts_ten_minutes(identity: Identity, provider: BendableProvider) -> None:
    tenant, _ = await _configured(identity, provider)
    client = identity.client()
    answer = provider.authorize(await _begin(client, tenant))
    identity.clock.ahead += timedelta(minutes=10, seconds=1)
    assert (await _come_back(client, tenant, answer)).status_code == 401


@pytest.mark.control("X-06")
@pytest.mark.parametrize(
    ("bent", "metadata"),
    [
        ({"iss": "https://evil.example"}, {}),
        ({"iss": ""}, {}),
        ({"iss": "https://evil.example"}, {"authorization_response_iss_parameter_supported": False}),
        ({"error": "access_denied"}, {}),
        ({"code": ""}, {}),
        ({"code": "made-up"}, {}),
    ],
)
async def test_an_answer_of_another_issuer_or_without_a_good_code_is_refused(
    identity: Identity, provider: BendableProvider, bent: dict[str, str], metadata: dict[str, Any]
) -> None:
    provider.metadata |= metadata
    tenant, _ = await _configured(identity, provider)
    client = identity.client()
    answer = provider.authorize(await _begin(client, tenant))
    assert (await _come_back(client, tenant, answer | bent)).status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-06")
async def test_what_the_id_token_lacks_is_asked_for_and_must_be_about_the_same_subject(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await _configured(identity, provider)
    provider.claims = {}
    provider.userinfo = dict(KIM)
    assert (await _sign_in(identity, provider, tenant))[1].status_code == 200
    provider.userinfo = KIM | {"sub": "subject-2"}
    _, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-01")
async def test_staff_show_a_second_factor_unless_the_tenant_trusts_the_providers_word(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    await identity.grant(
        admin, (await identity.new_person(admin, "kim@people.example"))["id"], "grader", str(tenant.id)
    )
    provider.claims["amr"] = ["pwd", "mfa"]
    client, back = await _sign_in(identity, provider, tenant)
    assert "second factor" in back.text
    assert (await client.get("/api/v1/identity/me")).json()["code"] == "second_factor_required"
    trusting = _settings(provider, two_factor_values=["mfa"], client_secret=None)
    assert (await identity.command(admin, "PUT", "identity/sso", trusting)).status_code == 200
    client, _ = await _sign_in(identity, provider, tenant)
    assert (await client.get("/api/v1/identity/me")).status_code == 200


@pytest.mark.control("X-04")
async def test_what_wants_a_recent_sign_in_goes_by_the_time_that_the_provider_names(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await _configured(identity, provider)
    factor = {"kind": "totp"}
    for auth_time, status in ((_now(-3_600), 401), (None, 401), (_now(0), 201)):
        provider.claims["auth_time"] = auth_time
        client, _ = await _sign_in(identity, provider, tenant)
        assert (await identity.command(client, "POST", "auth/factors", factor)).status_code == status
    client = identity.client()
    address = await _begin(client, tenant, "?fresh=true")
    assert "prompt=login" in address
    assert "max_age=0" in address
    provider.claims["auth_time"] = _now(-120)
    assert (await _come_back(client, tenant, provider.authorize(address))).status_code == 401


@pytest.mark.control("X-06")
async def test_claims_give_roles_and_take_them_back_and_leave_those_alone_that_people_gave(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    unit = await identity.new_unit(admin, "north")
    rules = [
        {"value": "graders", "role_id": await _role(admin, "grader"), "org_unit_id": unit, "subtree": True},
        {"value": "takers", "role_id": await _role(admin, "candidate"), "org_unit_id": str(tenant.id)},
    ]
    settings = _settings(provider, role_claim="groups", roles=rules, two_factor_values=["mfa"])
    assert (await identity.command(admin, "PUT", "identity/sso", settings)).status_code == 200
    provider.claims |= {"groups": ["graders", "takers", 7, "unknown"], "amr": ["mfa"]}
    client, _ = await _sign_in(identity, provider, tenant)
    capabilities = set((await client.get("/api/v1/identity/me")).json()["capabilities"])
    assert {"certificate.issue", "attempt.take"} <= capabilities
    person = next(one for one in (await admin.get("/api/v1/identity/people")).json()["people"] if "Kim" in str(one))
    await identity.grant(admin, person["id"], "author", str(tenant.id))
    provider.claims["groups"] = "takers"
    client, _ = await _sign_in(identity, provider, tenant)
    capabilities = set((await client.get("/api/v1/identity/me")).json()["capabilities"])
    assert {"attempt.take", "evaluation.write"} <= capabilities
    assert "certificate.issue" not in capabilities
    given = await identity.events(tenant.id, "identity.role.assigned")
    assert len([one for one in given if one.data.person == person["person"]]) == 3  # type: ignore[attr-defined]


@pytest.mark.control("X-06")
async def test_claims_make_no_administrator_unless_the_tenant_says_so(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    rule = {"value": "bosses", "role_id": await _role(admin, "administrator"), "org_unit_id": str(tenant.id)}
    more = {"role_claim": "groups", "roles": [rule | {"subtree": True}], "two_factor_values": ["mfa"]}
    refused = await identity.command(admin, "PUT", "identity/sso", _settings(provider, **more))
    assert (refused.status_code, refused.json()["code"]) == (422, "role_for_administrators")
    said = _settings(provider, makes_administrators=True, **more)
    assert (await identity.command(admin, "PUT", "identity/sso", said)).status_code == 200
    provider.claims |= {"groups": ["bosses"], "amr": ["mfa"]}
    client, _ = await _sign_in(identity, provider, tenant)
    assert "roles.write" in (await client.get("/api/v1/identity/me")).json()["capabilities"]


@pytest.mark.control("X-06")
async def test_a_role_that_became_an_administrators_after_the_rule_was_made_is_not_given(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    made = await identity.command(admin, "POST", "identity/roles", {"name": "helper", "capabilities": []})
    rule = {"value": "helpers", "role_id": made.json()["id"], "org_unit_id": str(tenant.id)}
    settings = _settings(provider, role_claim="groups", roles=[rule], two_factor_values=["mfa"])
    assert (await identity.command(admin, "PUT", "identity/sso", settings)).status_code == 200
    grown = {"capabilities": ["grants.write"]}
    assert (await identity.command(admin, "PUT", f"identity/roles/{made.json()['id']}", grown)).status_code == 200
    provider.claims |= {"groups": ["helpers"], "amr": ["mfa"]}
    client, back = await _sign_in(identity, provider, tenant)
    assert back.status_code == 200
    assert "grants.write" not in (await client.get("/api/v1/identity/me")).json()["capabilities"]


@pytest.mark.control("X-06")
async def test_the_client_secret_is_never_shown_lies_nowhere_in_clear_and_goes_to_no_other_issuer(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    shown = await admin.get("/api/v1/identity/sso")
    assert shown.json()["has_secret"] is True
    assert shown.json()["redirect_uri"].endswith(f"/sign-in/{tenant.slug}/sso/callback")
    assert provider.client_secret not in shown.text
    elsewhere = _settings(provider, client_secret=None, issuer="https://evil.example")
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
    refused = await identity.command(admin, "PUT", "identity/sso", _settings(provider, **bent))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")


async def test_a_provider_is_tried_and_what_is_wrong_is_said(identity: Identity, provider: BendableProvider) -> None:
    tenant, admin = await _configured(identity, provider)
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
    tenant, admin = await _configured(identity, provider)
    client, _ = await _sign_in(identity, provider, tenant)
    half = identity.client()
    answer = provider.authorize(await _begin(half, tenant))
    assert (await identity.command(admin, "POST", "identity/sso/disable")).json()["enabled"] is False
    assert (await client.get("/api/v1/identity/me")).status_code == 401
    assert (await half.get(f"/sign-in/{tenant.slug}/sso/callback", params=answer)).status_code == 404
    unknown = await identity.client().get("/sign-in/no-such-tenant/sso")
    off = await identity.client().get(f"/sign-in/{tenant.slug}/sso")
    assert [unknown.status_code, unknown.json()["code"]] == [off.status_code, off.json()["code"]] == [404, "not_found"]


async def test_somebody_unlinked_or_disabled_does_not_get_in(identity: Identity, provider: BendableProvider) -> None:
    tenant, admin = await _configured(identity, provider)
    client, _ = await _sign_in(identity, provider, tenant)
    person = next(one for one in (await admin.get("/api/v1/identity/people")).json()["people"] if "Kim" in str(one))
    unlinked = await identity.command(admin, "DELETE", f"identity/people/{person['id']}/sso")
    assert unlinked.json() == {"person": person["person"], "removed": 1}
    assert (await client.get("/api/v1/identity/me")).status_code == 401
    assert len(await identity.events(tenant.id, "identity.sso.unlinked")) == 1
    assert (await _sign_in(identity, provider, tenant))[1].status_code == 200, "the address links them again"
    assert (await identity.command(admin, "POST", f"identity/people/{person['id']}/disable")).status_code == 200
    assert (await _sign_in(identity, provider, tenant))[1].status_code == 401
    assert await _failures(identity, tenant) == [LoginFailure.ACCOUNT_DISABLED]


async def test_erasure_forgets_who_somebody_is_at_the_provider(identity: Identity, provider: BendableProvider) -> None:
    tenant, admin = await _configured(identity, provider)
    await _sign_in(identity, provider, tenant)
    person = next(one for one in (await admin.get("/api/v1/identity/people")).json()["people"] if "Kim" in str(one))
    assert (await identity.command(admin, "DELETE", f"identity/people/{person['id']}")).status_code == 202
    await identity.receive(tenant.id, ErasureOrdered(job_id="job-1", person=person["person"]))
    (receipt,) = await identity.events(tenant.id, "identity.erasure_receipt.given")
    assert {one.name: one.items for one in receipt.data.stores}["single-sign-on"] == 1  # type: ignore[attr-defined]
    async with identity.transaction(tenant.id) as tx:
        left = await tx.execute(text("select count(*) from identity.sso_identities"))
        assert left.scalar_one() == 0


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
    tenant, _ = await _configured(identity, provider)
    first, _ = await _sign_in(identity, provider, tenant)
    provider.claims["sid"] = "provider-session-2"
    second, _ = await _sign_in(identity, provider, tenant)
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
    tenant, admin = await _configured(identity, provider)
    kim = await identity.new_person(admin, "kim@people.example")
    await identity.grant(admin, kim["id"], "grader", str(tenant.id))
    client, _ = await _sign_in(identity, provider, tenant)
    assert (await identity.authenticators["kim"].enrol(client)).status_code == 200
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    assert (await _log_out(identity, tenant, provider.logout_token())).status_code == 200
    assert (await client.get("/api/v1/identity/me")).status_code == 401


async def test_the_providers_logout_ends_a_session_that_has_set_a_password(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, admin = await _configured(identity, provider)
    assert (await identity.command(admin, "PUT", "identity/sign-in-policy", {"passwords": True})).status_code == 200
    await identity.new_person(admin, "kim@people.example")
    client = identity.client()
    await _come_back(client, tenant, provider.authorize(await _begin(client, tenant, "?fresh=true")))
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
    tenant, _ = await _configured(identity, provider)
    client, _ = await _sign_in(identity, provider, tenant)
    refused = await _log_out(identity, tenant, provider.logout_token(**WRONG_LOGOUTS[wrong]))
    assert (refused.status_code, refused.json()["code"]) == (400, "logout_refused")
    assert (await client.get("/api/v1/identity/me")).status_code == 200


@pytest.mark.control("X-06")
async def test_a_logout_token_is_good_once(identity: Identity, provider: BendableProvider) -> None:
    tenant, _ = await _configured(identity, provider)
    token = provider.logout_token()
    answers = await asyncio.gather(*(_log_out(identity, tenant, token) for _ in range(3)))
    assert sorted(one.status_code for one in answers) == [200, 400, 400]
    client, _ = await _sign_in(identity, provider, tenant)
    assert (await _log_out(identity, tenant, token)).status_code == 400
    assert (await client.get("/api/v1/identity/me")).status_code == 200
    nothing = await identity.client().post(f"/sign-in/{tenant.slug}/sso/logout", content=b"\xff")
    assert nothing.status_code == 400


async def test_a_new_key_of_the_providers_is_fetched_when_it_is_named(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await _configured(identity, provider)
    assert (await _sign_in(identity, provider, tenant))[1].status_code == 200
    provider.keys = [KEY, OTHER_KEY.__class__.import_key(OTHER_KEY.as_dict(private=True) | {"kid": "k2"})]
    provider.signing_key, provider.header = provider.keys[1], {"kid": "k2"}
    assert (await _sign_in(identity, provider, tenant))[1].status_code == 401, "keys were fetched a moment ago"
    identity.clock.ahead += timedelta(seconds=31)
    assert (await _sign_in(identity, provider, tenant))[1].status_code == 200
    assert provider.asked.count("GET /jwks") == 2
    assert provider.asked.count("GET /.well-known/openid-configuration") == 1
