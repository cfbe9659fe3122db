"""Every route is behind one guard: session, forgery, capability, recent sign-in; public lists are frozen."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from litestar import Request, Response, get, post
from tallystick_chassis.http.capability import RouteDeclarationError
from tallystick_chassis.http.csrf import CSRF_HEADER
from tallystick_chassis.http.public_routes import API_PUBLIC, TRUST_PUBLIC
from tallystick_chassis.scope import ALL_UNITS, Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.topology import ServiceName

TENANT, NORTH, SOUTH, EAST = (uuid4() for _ in range(4))


class Thing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int
    label: str = ""


class Seen(msgspec.Struct, frozen=True):
    tenant: str
    units: list[str]
    actor: str
    correlation: str
    client_correlation: str | None


def _seen(scope: Scope) -> Seen:
    units = ["*"] if scope.org_units is ALL_UNITS else sorted(str(unit) for unit in scope.org_units)  # type: ignore[union-attr]
    return Seen(str(scope.tenant), units, scope.actor, scope.correlation, scope.client_correlation)


@get("/api/v1/privacy/things/{thing:uuid}", opt={"capability": Capability.PEOPLE_READ})
async def read_thing(thing: UUID, tenant_scope: Scope) -> Seen:  # noqa: ARG001
    return _seen(tenant_scope)


@post("/api/v1/privacy/things", opt={"capability": Capability.PEOPLE_WRITE})
async def make_thing(data: Thing, principal: Principal) -> Response[bytes]:
    return Response(f"{data.size} {principal.name}".encode(), status_code=201)


@get("/api/v1/privacy/own", opt={"capability": Capability.SESSION_OWN})
async def read_own(tenant_scope: Scope) -> Seen:
    return _seen(tenant_scope)


@post("/api/v1/privacy/hold", opt={"capability": Capability.PRIVACY_MANAGE, "step_up": True})
async def hold(request: Request[Any, Any, Any]) -> None:  # noqa: ARG001
    return None


@get("/api/v1/privacy/tenants/{tenant:uuid}/pool", opt={"capability": Capability.FEED_READ})
async def read_for_service(tenant: UUID, tenant_scope: Scope) -> Seen:  # noqa: ARG001
    return _seen(tenant_scope)


@get("/api/v1/privacy/pool", opt={"capability": Capability.FEED_READ})
async def read_for_service_by_header(tenant_scope: Scope) -> Seen:
    return _seen(tenant_scope)


ROUTES = (read_thing, make_thing, read_own, hold, read_for_service, read_for_service_by_header)


@pytest.fixture
def app(make_app):
    return make_app(*ROUTES)


@pytest.fixture
def client(app, client_of):
    return client_of(app)


@pytest.mark.control("EV-12a")
async def test_every_route_but_the_public_ones_answers_401_without_a_cookie(app, client):
    asked = 0
    for route in app.routes:
        for method in route.methods:
            name = f"{method} {route.path_format}"
            if name in API_PUBLIC or name in TRUST_PUBLIC or method == "OPTIONS":
                continue
            path = route.path_format.replace("{tenant}", str(TENANT)).replace("{thing}", str(uuid4()))
            answer = await client.request(method, path.replace("{aggregate}", "tenant"), content=b"{not json")
            assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated"), name
            asked += 1
    assert asked >= len(ROUTES)


@pytest.mark.control("EV-12a")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/api/v1/none", "/api/v1", "/api/v1/privacy/things", "/api/v1/privacy/things/no-uuid"]
)
async def test_unknown_paths_and_methods_under_the_api_ask_for_a_session_first(client, method, path):
    answer = await client.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_paths_and_methods_are_problems_to_those_signed_in(client, people):
    person = people.sign_in(TENANT, NORTH)
    missing = await client.get("/api/v1/none", headers=person.cookies)
    wrong = await client.request("PUT", "/api/v1/privacy/things", headers=person.cookies)
    outside = await client.get("/elsewhere")
    options = await client.options("/api/v1/privacy/things", headers=person.cookies)
    assert [missing.json()["code"], wrong.json()["code"], outside.json()["code"]] == [
        "not_found",
        "method_not_allowed",
        "not_found",
    ]
    assert "POST" in wrong.headers["allow"]
    assert options.status_code == 204


@pytest.mark.control("EV-12b")
async def test_health_and_readiness_are_public(client):
    assert (await client.get("/api/v1/health")).json() == {"status": "ok", "version": "0.1.0"}
    assert (await client.get("/ready")).json() == {"status": "ready", "failing": []}


@pytest.mark.control("EV-12a")
def test_the_public_lists_are_frozen():
    assert set(API_PUBLIC) == {"POST /api/v1/auth/login", "POST /api/v1/auth/verify", "GET /api/v1/health"}
    assert set(TRUST_PUBLIC) == {
        "GET /ready",
        "POST /oauth/token",
        "POST /session/refresh",
        "GET /",
        "GET /sign-in",
        "POST /sign-in",
        "GET /sign-in/{tenant}",
        "POST /sign-in/{tenant}",
        "GET /sign-in/{tenant}/verify",
        "POST /sign-in/{tenant}/verify",
        "POST /sign-in/{tenant}/passkey/options",
        "POST /sign-in/{tenant}/passkey",
        "GET /sign-in/{tenant}/sso",
        "GET /sign-in/{tenant}/sso/callback",
        "POST /sign-in/{tenant}/sso/logout",
        "GET /.well-known/jwks.json",
        "GET /certs/verify/{token}",
        "GET /certs/verify/{token}/proof",
        "GET /certs/verify/{token}/entry",
        "GET /open/logs/{log_id}/checkpoint",
        "GET /open/logs/{log_id}/vkey",
        "GET /open/logs/{log_id}/tile/{name}",
    }
    assert all(reason for reason in [*API_PUBLIC.values(), *TRUST_PUBLIC.values()])


@pytest.mark.control("EV-22a")
def test_a_route_without_a_declaration_stops_the_start(make_app):
    @get("/api/v1/privacy/open")
    async def undeclared() -> None:
        return None

    with pytest.raises(RouteDeclarationError, match="GET /api/v1/privacy/open: name a capability or be public"):
        make_app(undeclared)


def test_a_route_with_an_unknown_capability_stops_the_start(make_app):
    @get("/api/v1/privacy/open", opt={"capability": "everything.do"})
    async def unknown() -> None:
        return None

    with pytest.raises(RouteDeclarationError, match="is not a capability"):
        make_app(unknown)


@pytest.mark.control("EV-12a")
def test_a_public_route_that_is_not_on_the_frozen_list_stops_the_start(make_app):
    @get("/api/v1/privacy/open", opt={"public": True})
    async def opened() -> None:
        return None

    with pytest.raises(RouteDeclarationError, match="not on the frozen list"):
        make_app(opened)


def test_a_public_route_that_is_missing_stops_the_start(make_app):
    with pytest.raises(RouteDeclarationError, match=r"POST /api/v1/auth/login: on the frozen list.*not served"):
        make_app(service=ServiceName.IDENTITY)


def test_a_handler_that_takes_our_scope_by_litestars_name_stops_the_start(make_app):
    @get("/api/v1/privacy/open", opt={"capability": Capability.PEOPLE_READ})
    async def mistaken(scope: Scope) -> None:  # noqa: ARG001
        return None

    with pytest.raises(RouteDeclarationError, match="tenant_scope"):
        make_app(mistaken)


@pytest.mark.control("EV-13b")
async def test_without_the_capability_the_answer_is_403_and_names_no_one(client, people):
    person = people.sign_in(TENANT, NORTH, (("people.write",), (NORTH,)))
    answer = await client.get(f"/api/v1/privacy/things/{uuid4()}", headers=person.cookies)
    assert (answer.status_code, answer.json()["code"]) == (403, "capability_missing")
    assert str(TENANT) not in answer.text


@pytest.mark.control("EV-22b")
async def test_the_scope_holds_the_units_of_the_grants_with_this_capability_and_no_others(client, people):
    person = people.sign_in(
        TENANT,
        NORTH,
        (("people.read",), (SOUTH,)),
        (("people.read", "people.write"), (EAST,)),
        (("people.write",), (NORTH,)),
    )
    seen = (await client.get(f"/api/v1/privacy/things/{uuid4()}", headers=person.cookies)).json()
    assert seen["units"] == sorted([str(SOUTH), str(EAST)])
    assert (seen["tenant"], seen["actor"]) == (str(TENANT), person.ref)


async def test_everyone_holds_their_own_session_in_their_home_unit_only(client, people):
    person = people.sign_in(TENANT, NORTH, (("people.read",), (SOUTH,)))
    assert (await client.get("/api/v1/privacy/own", headers=person.cookies)).json()["units"] == [str(NORTH)]


@pytest.mark.control("EV-13a")
async def test_a_capability_taken_from_the_role_is_gone_with_the_next_request(client, people):
    person = people.sign_in(TENANT, NORTH, (("people.read",), (NORTH,)))
    path = f"/api/v1/privacy/things/{uuid4()}"
    assert (await client.get(path, headers=person.cookies)).status_code == 200
    for key, known in people.known.items():
        people.known[key] = msgspec.structs.replace(known, grants=())
    assert (await client.get(path, headers=person.cookies)).status_code == 403


async def test_a_session_that_identity_calls_inactive_is_no_session(client, people):
    person = people.sign_in(TENANT, NORTH, (("people.read",), (NORTH,)))
    people.known.clear()
    assert (await client.get("/api/v1/privacy/own", headers=person.cookies)).status_code == 401


async def test_an_answer_about_another_session_is_not_believed(client, people):
    person = people.sign_in(TENANT, NORTH)
    for key, known in people.known.items():
        people.known[key] = msgspec.structs.replace(known, tenant=uuid4())
    assert (await client.get("/api/v1/privacy/own", headers=person.cookies)).status_code == 401


@pytest.mark.control("AC-04")
@pytest.mark.parametrize("fault", ["no header", "foreign header", "no cookie", "another session's pair"])
async def test_an_unsafe_request_without_its_sessions_csrf_token_is_refused(client, people, fault):
    person = people.sign_in(TENANT, NORTH, (("people.write",), (NORTH,)))
    other = people.sign_in(TENANT, NORTH)
    headers = dict(person.unsafe)
    if fault == "no header":
        del headers[CSRF_HEADER]
    elif fault == "foreign header":
        headers[CSRF_HEADER] = other.csrf
    elif fault == "no cookie":
        headers["Cookie"] = headers["Cookie"].split(";")[0]
    else:
        headers["Cookie"] = headers["Cookie"].replace(person.csrf, other.csrf)
        headers[CSRF_HEADER] = other.csrf
    answer = await client.post("/api/v1/privacy/things", json={"size": 1}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")


@pytest.mark.control("AC-04")
@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 201), ("https://tally.test", 201), ("https://evil.test", 403), ("null", 403), ("http://tally.test", 403)],
)
async def test_an_unsafe_request_must_come_from_our_own_origin_if_it_says_from_where(client, people, origin, status):
    person = people.sign_in(TENANT, NORTH, (("people.write",), (NORTH,)))
    headers = person.unsafe | ({"Origin": origin} if origin else {})
    assert (await client.post("/api/v1/privacy/things", json={"size": 1}, headers=headers)).status_code == status


async def test_csrf_comes_before_the_capability_and_the_capability_before_the_body(client, people):
    person = people.sign_in(TENANT, NORTH)
    no_csrf = await client.post("/api/v1/privacy/things", content=b"{", headers=person.cookies)
    no_capability = await client.post("/api/v1/privacy/things", content=b"{", headers=person.unsafe)
    assert [no_csrf.json()["code"], no_capability.json()["code"]] == ["csrf_failed", "capability_missing"]


async def test_step_up_wants_a_sign_in_of_the_last_fifteen_minutes(client, people):
    fresh = people.sign_in(TENANT, NORTH, (("privacy.manage",), (NORTH,)), age_s=14 * 60)
    stale = people.sign_in(TENANT, NORTH, (("privacy.manage",), (NORTH,)), age_s=16 * 60)
    assert (await client.post("/api/v1/privacy/hold", headers=fresh.unsafe)).status_code == 201
    answer = await client.post("/api/v1/privacy/hold", headers=stale.unsafe)
    assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")


def _bearer(signer, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {signer.issue_service(name)}"}


async def test_a_service_reaches_all_units_of_the_one_tenant_it_names(client, signer):
    path = f"/api/v1/privacy/tenants/{TENANT}/pool"
    seen = (await client.get(path, headers=_bearer(signer, "ledger"))).json()
    assert (seen["tenant"], seen["units"], seen["actor"]) == (str(TENANT), ["*"], "ledger")
    headers = _bearer(signer, "ledger") | {"X-Tally-Tenant": str(SOUTH)}
    assert (await client.get("/api/v1/privacy/pool", headers=headers)).json()["tenant"] == str(SOUTH)


@pytest.mark.control("EV-22d")
@pytest.mark.parametrize("tenant", [None, "", "everyone"])
async def test_a_service_that_names_no_tenant_gets_none(client, signer, tenant):
    headers = _bearer(signer, "ledger") | ({} if tenant is None else {"X-Tally-Tenant": tenant})
    answer = await client.get("/api/v1/privacy/pool", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_a_service_that_names_two_tenants_gets_none(client, signer):
    headers = _bearer(signer, "ledger") | {"X-Tally-Tenant": str(SOUTH)}
    assert (await client.get(f"/api/v1/privacy/tenants/{TENANT}/pool", headers=headers)).status_code == 400


async def test_a_service_has_its_own_capabilities_and_no_persons(client, signer):
    path = f"/api/v1/privacy/things/{uuid4()}"
    headers = _bearer(signer, "ledger") | {"X-Tally-Tenant": str(TENANT)}
    assert (await client.get(path, headers=headers)).status_code == 403
    assert (await client.get("/api/v1/privacy/pool", headers=_bearer(signer, "stranger"))).status_code == 403


@pytest.mark.control("X-05")
async def test_a_session_token_is_no_service_token_and_the_other_way_round(client, people, signer):
    person = people.sign_in(TENANT, NORTH)
    as_bearer = await client.get("/api/v1/privacy/own", headers={"Authorization": f"Bearer {person.token}"})
    as_cookie = await client.get(
        "/api/v1/privacy/own", headers={"Cookie": f"__Host-tally_session={signer.issue_service('ledger')}"}
    )
    assert [as_bearer.status_code, as_cookie.status_code] == [401, 401]


async def test_a_bad_bearer_is_not_saved_by_a_good_cookie(client, people):
    person = people.sign_in(TENANT, NORTH)
    headers = person.cookies | {"Authorization": "Bearer rubbish"}
    assert (await client.get("/api/v1/privacy/own", headers=headers)).status_code == 401


@pytest.mark.control("EV-25b")
async def test_a_persons_correlation_id_is_kept_beside_ours_and_a_services_is_passed_on(client, people, signer):
    person = people.sign_in(TENANT, NORTH)
    answer = await client.get("/api/v1/privacy/own", headers=person.cookies | {"X-Correlation-ID": "mine-1"})
    assert answer.json()["client_correlation"] == "mine-1"
    assert answer.headers["x-correlation-id"] == answer.json()["correlation"] != "mine-1"
    path = f"/api/v1/privacy/tenants/{TENANT}/pool"
    answer = await client.get(path, headers=_bearer(signer, "ledger") | {"X-Correlation-ID": "ours-1"})
    assert answer.headers["x-correlation-id"] == answer.json()["correlation"] == "ours-1"


@pytest.mark.control("EV-25b")
@pytest.mark.parametrize("bad", ["", "x" * 65, "a b", "<script>", "a;b"])
async def test_a_malformed_correlation_id_is_refused_everywhere(client, bad):
    answer = await client.get("/api/v1/health", headers={"X-Correlation-ID": bad})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_correlation_id")
    assert answer.headers["x-correlation-id"] == answer.json()["correlation_id"]
