"""A session is what identity signed, as it signed it, while it lasts; every service sees it the same way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey
from sweep.house import Builder, House, eventually, service_token
from sweep.problems import problem_in
from sweep.recipes import RECIPES, Ids
from sweep.visitor import Call, Visitor
from tallystick_cli.stack import boot, database_setup, secret_files, state
from tallystick_cli.stack.services import DATABASE

pytestmark = pytest.mark.xdist_group("system")

COOKIE = "__Host-tally_session"
REFUSED_WITHIN_S = 1.0
"""For so long a service may not have heard that a session ended (AC-05)."""

ONE_OF_EACH = {
    "identity": "identity GET /api/v1/identity/me",
    "assessment": "assessment GET /api/v1/assessment/my/assignments",
    "ledger": "ledger GET /api/v1/ledger/logs",
    "privacy": "privacy GET /api/v1/compliance/erasures",
    "verification": "verification GET /api/v1/verification/feed/{tenant}/{aggregate}",
}


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: Mapping[str, Any], claims: Mapping[str, Any], key: SigningKey) -> str:
    content = f"{part(header)}.{part(claims)}"
    return f"{content}.{part(key.sign(content.encode()).signature)}"


def opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims, _ = (base64.urlsafe_b64decode(one + "==") for one in token.split("."))
    return json.loads(header), json.loads(claims)


@pytest.fixture(scope="module")
def key(house: House) -> SigningKey:
    """Identity's own key: what it signs here is refused for what it says, not for who signed it."""
    (jwk,) = json.loads(secret_files.path_of(house.layout, "session-keys.json").read_bytes())["keys"]
    return SigningKey(base64.urlsafe_b64decode(jwk["d"] + "=="))


@pytest.fixture
def token(house: House) -> str:
    """The owner's token, renewed if need be."""
    owner = house.visitor("owner")
    assert owner.send(house.routes[ONE_OF_EACH["identity"]], Call()).is_success
    return str(owner.http.cookies[COOKIE])


Forge = Callable[[str, SigningKey], str]
OTHER = SigningKey(hashlib.sha256(b"somebody else").digest())


def with_header(**changes: Any) -> Forge:
    def forge(token: str, key: SigningKey) -> str:
        header, claims = opened(token)
        kept = {name: value for name, value in (header | changes).items() if value is not ...}
        return signed(kept, claims, key)

    return forge


def with_claims(**changes: Any) -> Forge:
    def forge(token: str, key: SigningKey) -> str:
        header, claims = opened(token)
        kept = {name: value for name, value in (claims | changes).items() if value is not ...}
        return signed(header, kept, key)

    return forge


def unsigned(token: str, key: SigningKey) -> str:
    del key
    header, claims = opened(token)
    return f"{part(header | {'alg': 'none'})}.{part(claims)}."


def with_the_public_key_as_a_secret(token: str, key: SigningKey) -> str:
    header, claims = opened(token)
    content = f"{part(header | {'alg': 'HS256'})}.{part(claims)}"
    return f"{content}.{part(hmac.digest(bytes(key.verify_key), content.encode(), 'sha256'))}"


def by_another_key(token: str, key: SigningKey) -> str:
    del key
    header, claims = opened(token)
    return signed(header, claims, OTHER)


def by_the_key_it_brings(token: str, key: SigningKey) -> str:
    del key
    header, claims = opened(token)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": part(bytes(OTHER.verify_key))}
    return signed(header | {"jwk": jwk}, claims, OTHER)


def altered(token: str, key: SigningKey) -> str:
    del key
    header, claims = opened(token)
    return f"{part(header)}.{part(claims | {'rids': ['00000000-0000-4000-8000-000000000000']})}.{token.split('.')[2]}"


def flipped(token: str, key: SigningKey) -> str:
    del key
    head, signature = token.rsplit(".", 1)
    return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


NOW = int(time.time())
FORGED: dict[str, Forge] = {
    "algorithm none": unsigned,
    "HS256 with the public key": with_the_public_key_as_a_secret,
    "EdDSA, which is not on the list": with_header(alg="EdDSA"),
    "another's signature": by_another_key,
    "a key that it brings along": by_the_key_it_brings,
    "an address for its key": with_header(jku="https://evil.example/keys.json"),
    "a certificate's address": with_header(x5u="https://evil.example/cert.pem"),
    "a critical extension": with_header(crit=["b64"], b64=False),
    "a certificate that it brings along": with_header(x5c=["MIIB"]),
    "an unknown key": with_header(kid="nobody"),
    "a file for a key": with_header(kid="../../../../dev/null"),
    "a key that is no text": with_header(kid=7),
    "a statement for a key": with_header(kid="' union select 'x"),
    "no key": with_header(kid=...),
    "a service's type": with_header(typ="svc+jwt"),
    "any type": with_header(typ="JWT"),
    "no type": with_header(typ=...),
    "another audience": with_claims(aud="elsewhere"),
    "no audience": with_claims(aud=...),
    "another issuer": with_claims(iss="https://evil.example"),
    "many audiences": with_claims(aud=["tallystick", "elsewhere"]),
    "an end in the past": with_claims(exp=NOW - 3600),
    "an end that is no number": with_claims(exp="never"),
    "no end": with_claims(exp=...),
    "a beginning in the future": with_claims(nbf=NOW + 3600),
    "a capability": with_claims(capabilities=["people.read"]),
    "another tenant": with_claims(tid="00000000-0000-4000-8000-000000000000"),
    "another person": with_claims(sub="p_AAAAAAAAAAAAAAAAAAAAAA"),
    "another session": with_claims(sid="00000000-0000-4000-8000-000000000000"),
    "altered claims": altered,
    "a flipped signature": flipped,
    "no signature": lambda token, _: token.rsplit(".", 1)[0] + ".",
    "nothing": lambda *_: "",
    "half of it": lambda token, _: token[: len(token) // 2],
    "five parts": lambda token, _: token + ".a.b",
    "no base64": lambda token, _: token.replace(".", ".!!", 1),
    "nine kilobytes": lambda token, _: token + "A" * 9_000,
}


def presented(house: House, service: str, cookie: str | None) -> httpx.Response:
    """Ask one route of a service with a session cookie, or with none."""
    route = house.routes[ONE_OF_EACH[service]]
    path = route.path.format(**RECIPES[route.name][0].build(Ids()).path)
    headers = {} if cookie is None else {"Cookie": f"{COOKIE}={cookie}"}
    return httpx.get(house.urls[route.folder] + path, headers=headers, verify=house.tls, timeout=30.0)


@pytest.mark.control("X-05")
@pytest.mark.control("EV-21b")
@pytest.mark.parametrize("forged", FORGED)
def test_a_token_that_identity_did_not_sign_as_it_stands_is_refused_by_every_service(house, key, token, forged):
    cookie = FORGED[forged](token, key)
    for service in ONE_OF_EACH:
        answer, without = presented(house, service, cookie), presented(house, service, None)
        problem = problem_in(answer)
        assert (problem.status, problem.code) == (401, "not_authenticated"), service
        # It does not say what is wrong with it: the answer is the one for no cookie at all.
        said, nothing = json.loads(answer.content), json.loads(without.content)
        assert said | {"correlation_id": ""} == nothing | {"correlation_id": ""}, service


def test_the_forged_tokens_are_near_misses(house, key, token):
    """Signed again by identity's key without a change, it is accepted: a forgery fails for what it changes."""
    for service in set(ONE_OF_EACH) - {"verification"}:
        assert presented(house, service, with_claims()(token, key)).is_success, service


# Claims that only a session has, and that a service token need not have right because nobody reads them.
OF_SESSIONS = {"a capability", "another tenant", "another person", "another session", "a service's type"}
FORGED_MACHINES: dict[str, Forge] = {
    **{name: forge for name, forge in FORGED.items() if name not in OF_SESSIONS},
    "a session's type": with_header(typ="at+jwt"),
    "a person": with_claims(sub="p_AAAAAAAAAAAAAAAAAAAAAA"),
    "no subject": with_claims(sub=...),
    "a service that there is not": with_claims(sub="service:payroll"),
}


@pytest.fixture
def machine(house: House) -> str:
    """A token of the service that reads every other's feed."""
    return service_token(house, "ledger")


def brought(house: House, service: str, bearer: str) -> httpx.Response:
    """Ask a service for its feed with a bearer token."""
    route = house.routes[f"{service} GET /api/v1/{service}/feed/{{tenant}}/{{aggregate}}"]
    path = route.path.format(tenant=house.places["a"].tenant, aggregate="user")
    headers = {"Authorization": f"Bearer {bearer}".rstrip()}
    return httpx.get(house.urls[route.folder] + path, headers=headers, verify=house.tls, timeout=30.0)


@pytest.mark.control("X-05")
@pytest.mark.parametrize("forged", FORGED_MACHINES)
def test_a_service_token_that_identity_did_not_sign_as_it_stands_is_refused_by_every_service(
    house, key, machine, forged
):
    bearer = FORGED_MACHINES[forged](machine, key)
    for service in ONE_OF_EACH:
        answer = brought(house, service, bearer)
        problem = problem_in(answer)
        expected = (
            (403, "capability_missing") if forged == "a service that there is not" else (401, "not_authenticated")
        )
        assert (problem.status, problem.code) == expected, service


def test_the_forged_service_tokens_are_near_misses(house, key, machine):
    for service in ONE_OF_EACH:
        assert brought(house, service, with_claims()(machine, key)).is_success, service


@pytest.mark.control("X-05", "EV-24b")
def test_a_session_token_is_no_service_token_and_a_service_token_no_session(house, token):
    feed = house.routes["identity GET /api/v1/identity/feed/{tenant}/{aggregate}"]
    path = feed.path.format(tenant=house.places["a"].tenant, aggregate="user")
    url = house.urls["identity"] + path
    for bearer, status in ((token, 401), (service_token(house, "assessment"), 200)):
        answer = httpx.get(url, headers={"Authorization": f"Bearer {bearer}"}, verify=house.tls, timeout=30.0)
        assert answer.status_code == status
    for service in ONE_OF_EACH:
        assert presented(house, service, service_token(house, "assessment")).status_code == 401


@pytest.mark.control("EV-13a")
@pytest.mark.control("EV-21b")
def test_a_session_token_says_only_what_is_on_the_list_and_lasts_five_minutes(token):
    header, claims = opened(token)
    assert set(header) == {"alg", "typ", "kid"}
    assert set(claims) == {"iss", "aud", "sub", "tid", "sid", "rids", "tv", "amr", "auth_time", "iat", "nbf", "exp"}
    assert claims["exp"] - claims["iat"] <= 300
    assert "." not in "".join(claims["rids"]), "role ids, never capabilities"


@pytest.fixture(scope="module")
def builder(house: House, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(house.layout, tmp_path_factory.mktemp("sessions"))


@contextmanager
def fresh_person(house: House, builder: Builder, name: str) -> Iterator[tuple[Visitor, Ids]]:
    """Make somebody who holds every capability everywhere in the first tenant, and sign them in."""
    owner, ids = house.visitor("owner"), house.places["a"]
    slug = _slug(house)
    email = f"{name}@{slug}.example"
    made = builder.ask(
        owner,
        "identity POST /api/v1/identity/people",
        Call(json={"email": email, "display_name": name.title(), "org_unit_id": ids.unit}),
    ).json()
    grant = {"person_id": made["id"], "role_id": ids.role, "org_unit_id": ids.tenant, "subtree": True}
    builder.ask(owner, "identity POST /api/v1/identity/grants", Call(json=grant))
    (visitor,) = builder.sign_in(slug, name).values()
    try:
        yield visitor, Ids(tenant=ids.tenant, person_id=made["id"], person=made["person"])
    finally:
        visitor.close()


def _slug(house: House) -> str:
    servers = boot.describe(house.layout, state.read(house.layout))
    query = f"select slug from identity.tenants where tenant_id = '{house.places['a'].tenant}'"
    return database_setup.run_sql(servers, DATABASE, [query]).strip()


def _log_out(house: House, builder: Builder, visitor: Visitor, ids: Ids) -> None:
    del ids
    builder.ask(visitor, "identity POST /api/v1/auth/logout", Call())
    del house


def _end_sessions(house: House, builder: Builder, visitor: Visitor, ids: Ids) -> None:
    del visitor
    builder.do(house.visitor("owner"), "identity POST /api/v1/identity/people/{person_id}/sessions/end", ids)


def _delete(house: House, builder: Builder, visitor: Visitor, ids: Ids) -> None:
    del visitor
    builder.do(house.visitor("owner"), "identity DELETE /api/v1/identity/people/{person_id}", ids)


@pytest.mark.control("AC-05")
@pytest.mark.control("EV-25g")
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(_log_out, id="logout"),
        pytest.param(_end_sessions, id="ended-by-an-administrator"),
        pytest.param(_delete, id="deleted"),
    ],
)
def test_a_session_that_ended_is_refused_by_every_service_a_second_later(house, builder, end, request):
    with fresh_person(house, builder, f"going-{request.node.callspec.id}-{NOW}") as (visitor, ids):
        cookie, refresh = str(visitor.http.cookies[COOKIE]), str(visitor.http.cookies["__Secure-tally_refresh"])
        for service in set(ONE_OF_EACH) - {"verification"}:
            assert presented(house, service, cookie).is_success, service  # and is now remembered there
        end(house, builder, visitor, ids)
        deadline = time.monotonic() + REFUSED_WITHIN_S + 0.5
    assert presented(house, "identity", cookie).status_code == 401, "identity itself knows at once"
    while any(presented(house, service, cookie).status_code != 401 for service in ONE_OF_EACH):
        assert time.monotonic() < deadline, "a service still believes a session that ended"
    renewed = httpx.post(
        f"{house.urls['identity']}/session/refresh",
        headers={"Cookie": f"__Secure-tally_refresh={refresh}"},
        verify=house.tls,
        timeout=30.0,
    )
    assert problem_in(renewed).status == 401


@pytest.mark.control("EV-13a")
def test_a_capability_taken_away_is_gone_in_every_service_a_second_later(house, builder):
    names = [ONE_OF_EACH[service] for service in ("assessment", "ledger", "privacy")]
    revoke, grants = "identity DELETE /api/v1/identity/grants/{grant_id}", "identity GET /api/v1/identity/grants"
    with fresh_person(house, builder, f"losing-{NOW}") as (visitor, ids):
        own = house.visitor("owner").send(house.routes[grants], Call(query={"person_id": ids.person_id}))
        for name in names:
            assert visitor.send(house.routes[name], Call()).is_success
        for grant in own.json()["grants"]:
            builder.do(house.visitor("owner"), revoke, Ids(grant=grant["id"]))
        deadline = time.monotonic() + REFUSED_WITHIN_S + 0.5
        while [visitor.send(house.routes[name], Call()).status_code for name in names] != [403, 403, 403]:
            assert time.monotonic() < deadline
        assert visitor.send(house.routes[ONE_OF_EACH["identity"]], Call()).is_success, "the session itself goes on"


@pytest.mark.control("EV-21d")
def test_a_used_or_late_link_reads_like_one_that_never_was_and_another_browsers_asks_for_the_code(house, builder):
    slug, address = _slug(house), f"owner@{_slug(house)}.example"
    servers = boot.describe(house.layout, state.read(house.layout))

    def asked(browser: Visitor) -> dict[str, str]:
        builder.mailbox._read_new()
        builder.mailbox._links.pop(address, None)  # mails of earlier sign-ins
        answer = browser.raw("identity", "POST", "/api/v1/auth/login", json={"tenant": slug, "email": address})
        assert answer.status_code == 202
        seen: dict[str, str] = {}

        def mailed() -> bool:
            builder.mailbox._read_new()
            if links := builder.mailbox._links.pop(address, None):
                seen.update(request_id=links[-1].request_id, token=links[-1].token)
            return bool(seen)

        eventually(mailed, "the mail")
        return seen

    def used(browser: Visitor, link: Mapping[str, str]) -> httpx.Response:
        return browser.raw("identity", "POST", "/api/v1/auth/verify", json=dict(link))

    browsers = [Visitor(house.urls, house.tls) for _ in range(5)]
    try:
        first, late, other, thief, stranger = browsers
        good = asked(first)
        assert used(first, good).is_success
        answers = {"used": used(first, good)}
        old = asked(late)
        aged = "update identity.login_requests set expires_at = now() - interval '1 second' where done_at is not null"
        database_setup.run_sql(servers, DATABASE, [f"{aged} and tenant_id = '{house.places['a'].tenant}'"])
        answers["late"] = used(late, old)
        theirs = asked(other)
        taken = used(thief, theirs)
        assert (problem_in(taken).code, COOKIE in taken.cookies) == ("code_required", False)
        answers["made up"] = used(stranger, {"request_id": theirs["request_id"], "token": "x" * 43})
        answers["no such request"] = used(stranger, {"request_id": "nothing", "token": "x" * 43})
    finally:
        for browser in browsers:
            browser.close()
    for what, answer in answers.items():
        problem = problem_in(answer)
        assert {(p.status, p.code, p.title, p.detail) for p in (problem, problem_in(answers["used"]))} == {
            (problem.status, problem.code, problem.title, problem.detail)
        }, what
        assert COOKIE not in answer.cookies, what
