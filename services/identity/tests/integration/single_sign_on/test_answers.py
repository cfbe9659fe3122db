"""Every answer of a provider that is refused, and the ones that are good once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bendable_provider import KEY, OTHER_KEY, BendableProvider
from tallystick_contracts.generated.identity import LoginFailure

from .steps import KIM, begin, come_back, configured, failures, from_now, having, sign_in, without

if TYPE_CHECKING:
    import httpx
    from bendable_provider import BendableProvider

    from conftest import Identity


WRONG_CLAIMS: dict[str, Any] = {
    "another issuer": having(iss="https://evil.example"),
    "no issuer": without("iss"),
    "for another client": having(aud="somebody-else"),
    "for nobody": without("aud"),
    "for several without azp": having(aud=["tallystick", "somebody-else"]),
    "for several, issued to another": having(aud=["tallystick", "somebody-else"], azp="somebody-else"),
    "issued to another": having(azp="somebody-else"),
    "another nonce": having(nonce="made up"),
    "no nonce": without("nonce"),
    "expired": lambda claims: claims.update(exp=from_now(-61), iat=from_now(-300)),
    "no expiry": without("exp"),
    "issued long ago": lambda claims: claims.update(iat=from_now(-3_600)),
    "issued tomorrow": lambda claims: claims.update(iat=from_now(86_400), exp=from_now(90_000)),
    "not yet valid": lambda claims: claims.update(nbf=from_now(3_600)),
    "no issue time": without("iat"),
    "a text for a time": having(exp="tomorrow"),
    "no subject": without("sub"),
    "an empty subject": having(sub=""),
    "a number for a subject": having(sub=7),
    "a subject without end": having(sub="x" * 300),
    "another access token's hash": having(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "a list for amr": having(amr="mfa"),
}


@pytest.mark.control("X-06")
@pytest.mark.parametrize("wrong", WRONG_CLAIMS)
async def test_an_id_token_that_says_anything_else_is_refused(
    identity: Identity, provider: BendableProvider, wrong: str
) -> None:
    tenant, _ = await configured(identity, provider)
    provider.bend_claims = WRONG_CLAIMS[wrong]
    client, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert "__Host-tally_session" not in client.cookies
    assert await failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


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
    tenant, _ = await configured(identity, provider)
    provider.header, provider.signing_key = WRONG_HEADERS[wrong]
    _, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


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
    tenant, _ = await configured(identity, provider)
    provider.bend_token = bend
    _, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-06")
async def test_an_answer_belongs_to_the_browser_and_the_sign_in_that_began_it(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await configured(identity, provider)
    first, second = identity.client(), identity.client()
    mine = provider.authorize(await begin(first, tenant))
    theirs = provider.authorize(await begin(second, tenant))
    for wrong in (
        theirs,
        mine | {"state": theirs["state"]},
        mine | {"state": mine["state"][:-1] + ("A" if mine["state"][-1] != "A" else "B")},
        mine | {"state": ""},
        {"code": mine["code"]},
    ):
        assert (await come_back(identity.client(cookie=_cookie(first)), tenant, wrong)).status_code == 401
    swapped = await come_back(identity.client(cookie=_cookie(first)), tenant, mine | {"code": theirs["code"]})
    assert swapped.status_code == 401, "another sign-in's code does not fit this one's verifier"
    assert (await come_back(second, tenant, theirs)).status_code == 401, "the code was used"


def _cookie(client: httpx.AsyncClient) -> str:
    return f"__Host-tally_sso={client.cookies['__Host-tally_sso']}"


@pytest.mark.control("X-06")
async def test_an_answer_is_good_once_also_for_two_replicas_at_once(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await configured(identity, provider)
    client = identity.client()
    answer = provider.authorize(await begin(client, tenant))
    cookie = _cookie(client)
    backs = await asyncio.gather(*(come_back(identity.client(cookie=cookie), tenant, answer) for _ in range(3)))
    assert sorted(one.status_code for one in backs) == [200, 401, 401]
    assert len([one for one in provider.asked if one == "POST /token"]) == 1
    assert await failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER] * 2


@pytest.mark.control("X-06")
async def test_an_answer_lasts_ten_minutes(identity: Identity, provider: BendableProvider) -> None:
    tenant, _ = await configured(identity, provider)
    client = identity.client()
    answer = provider.authorize(await begin(client, tenant))
    identity.clock.ahead += timedelta(minutes=10, seconds=1)
    assert (await come_back(client, tenant, answer)).status_code == 401


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
    tenant, _ = await configured(identity, provider)
    client = identity.client()
    answer = provider.authorize(await begin(client, tenant))
    assert (await come_back(client, tenant, answer | bent)).status_code == 401
    assert await failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


@pytest.mark.control("X-06")
async def test_what_the_id_token_lacks_is_asked_for_and_must_be_about_the_same_subject(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await configured(identity, provider)
    provider.claims = {}
    provider.userinfo = dict(KIM)
    assert (await sign_in(identity, provider, tenant))[1].status_code == 200
    provider.userinfo = KIM | {"sub": "subject-2"}
    _, back = await sign_in(identity, provider, tenant)
    assert back.status_code == 401
    assert await failures(identity, tenant) == [LoginFailure.PROVIDER_ANSWER]


async def test_a_new_key_of_the_providers_is_fetched_when_it_is_named(
    identity: Identity, provider: BendableProvider
) -> None:
    tenant, _ = await configured(identity, provider)
    assert (await sign_in(identity, provider, tenant))[1].status_code == 200
    provider.keys = [KEY, OTHER_KEY.__class__.import_key(OTHER_KEY.as_dict(private=True) | {"kid": "k2"})]
    provider.signing_key, provider.header = provider.keys[1], {"kid": "k2"}
    assert (await sign_in(identity, provider, tenant))[1].status_code == 401, "keys were fetched a moment ago"
    identity.clock.ahead += timedelta(seconds=31)
    assert (await sign_in(identity, provider, tenant))[1].status_code == 200
    assert provider.asked.count("GET /jwks") == 2
    assert provider.asked.count("GET /.well-known/openid-configuration") == 1
