"""Whatever is sent to whichever route: a problem document that says nothing of the insides, and nothing stored.

A table-driven fuzzer: every route with a recipe, its proper body bent in every way of the table below. The caller is
signed in and holds every capability, so that what refuses is the validation and not the guard.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import msgspec
import pytest
from sweep.house import eventually
from sweep.isolation import SERVICE_ONLY
from sweep.problems import problem_in
from sweep.recipes import RECIPES, Ids
from sweep.visitor import NOTHING, Call
from tallystick_cli.stack import boot, database_setup, state
from tallystick_cli.stack.services import DATABASE
from tallystick_contracts.topology import ServiceName

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-23b"), pytest.mark.control("EV-23d")]

MALFORMED = {
    "nothing": b"",
    "half an object": b'{"a":',
    "two values": b"{} {}",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "a bare word": b"nothing",
    "a comment": b"{} // all",
    "not a number": b'{"a": NaN}',
    "nested without end": b"[" * 50_000,
    "another shape": b"[]",
    "a text": b'"text"',
    "null": b"null",
    "a number": b"1e400",
}
WRONG_VALUES: tuple[Any, ...] = (
    {"nested": [1]},
    [[]],
    None,
    -1,
    2**70,
    0.5,
    True,
    "",
    "\u0000",
    "x" * 100_000,
    "\ud83d?",
)
LISTED_PATHS = (
    "not-an-id",
    "%00",
    "..%2f..%2fetc%2fpasswd",
    "%F0%9F%92%A9",
    "x" * 4_000,
    "-1",
    "1' or '1'='1",
    "%ff%fe",
)
BAD_QUERIES = {
    "limit": ("0", "-1", "501", "99999999999999999999", "one", "", "1.5", "0x10"),
    "after": ("\x01", "not-a-cursor", "x" * 300, "-"),
    "start": ("-1", "one", str(2**63)),
    "seq": ("-1", "one", str(2**63)),
    "size": ("0", "one"),
    "from": ("0", "one"),
    "version": ("0", "one", str(2**31)),
    "evaluation_id": ("one", "' or 1=1"),
    "person_id": ("one",),
    "correlation": ("a b", "x" * 65, "ü", ""),
}
MIB = 1_048_576
# Denials are recorded, and some events follow from earlier ones in their own time.
COUNTED = (
    (
        "select count(*) from {schema}.events where tenant_id = '{tenant}' "
        "and aggregate not in ('access', 'cross_tenant', 'credential', 'erasure_receipt')"
    ),
    "select count(*) from {schema}.idempotency where tenant_id = '{tenant}'",
)


@pytest.fixture(scope="module")
def stored(house):
    """Say how many events and accepted commands a tenant has in every service's store."""
    servers = boot.describe(house.layout, state.read(house.layout))
    tenant = house.places["south"].tenant
    counts = [one.format(schema=schema, tenant=tenant) for schema in ServiceName for one in COUNTED]

    def count() -> list[str]:
        return database_setup.run_sql(servers, DATABASE, counts).split()

    def settled() -> bool:
        before = count()
        time.sleep(1.0)
        return count() == before

    eventually(settled, "quiet in the stores")
    return count


def with_body(house) -> Iterator[tuple[str, Call]]:
    """Give every route that takes JSON, with a proper request."""
    for name, recipes in RECIPES.items():
        call = recipes[0].build(Ids())
        if call.json is not NOTHING and house.routes[name].capability not in SERVICE_ONLY:
            yield name, call
    yield "identity POST /api/v1/auth/login", Call(json={"tenant": "nobody-here", "email": "a@b.example"})
    yield "identity POST /api/v1/auth/verify", Call(json={"request_id": "x", "token": "y" * 43})


def bent(proper: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    """Give every copy of a proper body in which one field is wrong, missing or too many."""
    yield "an unknown field", proper | {"is_admin": True}
    hints = {field.name: field for field in msgspec.structs.fields(kind)} if kind is not None else {}
    for key, value in proper.items():
        if key not in hints or hints[key].required:
            yield f"without {key}", {name: one for name, one in proper.items() if name != key}
        for wrong in WRONG_VALUES:
            if not fits(wrong, hints[key].type if key in hints else type(value)):
                yield f"{key} = {str(wrong)[:20]!r}", proper | {key: wrong}
        for index, inner in enumerate(value if isinstance(value, list) else ()):
            if isinstance(inner, dict):
                for what, worse in bent(inner, None):
                    if "without role" not in what:
                        yield f"{key}/{index} {what}", proper | {key: [*value[:index], worse, *value[index + 1 :]]}


def fits(value: Any, hint: Any) -> bool:
    """Say whether the declared type takes the value: then it is no bad input."""
    if get_origin(hint) is Union or "UnionType" in type(hint).__name__:
        return any(fits(value, one) for one in get_args(hint))
    if "\u0000" in str(value) or "\ud83d" in str(value):
        return False  # a text that no database stores, whatever is wanted
    try:
        msgspec.convert(value, hint)
    except (msgspec.ValidationError, TypeError):
        return False
    return True


@pytest.mark.control("EV-23c")
def test_a_body_that_does_not_fit_is_refused_by_every_route_and_nothing_is_stored(house, stored):
    before, tried, wrong = stored(), 0, []
    for name, call in with_body(house):
        route = house.routes[name]
        for what, body in bent(call.json, route.body):
            try:
                content = json.dumps(body).encode()
            except ValueError:
                continue
            answer = house.visitor("stranger").raw(
                route.folder,
                route.method,
                route.path.format(**call.path),
                content=content,
                headers={"Content-Type": "application/json"},
            )
            tried += 1
            problem = problem_in(answer) if answer.is_error else None
            if problem is None or problem.status not in {400, 422} or (b"x" * 50 in answer.content):
                wrong.append(f"{name}, {what}: {answer.status_code} {answer.text[:200]}")
    assert not wrong
    assert tried > 250
    assert stored() == before


def test_what_is_not_json_is_refused_by_every_route_and_nothing_is_stored(house, stored):
    before, wrong = stored(), []
    for (name, call), (what, body) in itertools.product(with_body(house), MALFORMED.items()):
        route = house.routes[name]
        if route.body is None and not body:
            continue  # a body that may be left out
        answer = house.visitor("stranger").raw(
            route.folder,
            route.method,
            route.path.format(**call.path),
            content=body,
            headers={"Content-Type": "application/json"},
        )
        problem = problem_in(answer)
        if problem.status != 400 or problem.code not in {"malformed_json", "validation_failed"}:
            wrong.append(f"{name}, {what}: {answer.status_code} {problem.code}")
    assert not wrong
    assert stored() == before


def test_a_body_that_is_not_said_to_be_json_is_refused_by_every_route(house):
    for name, call in with_body(house):
        route = house.routes[name]
        if route.body is None:
            continue
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml",
            "multipart/form-data; boundary=x",
        ):
            answer = house.visitor("stranger").raw(
                route.folder,
                route.method,
                route.path.format(**call.path),
                content=json.dumps(call.json).encode(),
                headers={"Content-Type": kind},
            )
            assert problem_in(answer).status == 415, f"{name}: {kind}"


def test_two_mebibytes_are_too_much_for_every_route_signed_in_or_not(house, stored):
    before, wrong = stored(), []
    for name, route in house.routes.items():
        if not route.is_unsafe or route.capability in {"", "session.own"} | SERVICE_ONLY:
            continue
        call = RECIPES[name][0].build(Ids())
        answer = house.visitor("stranger").raw(
            route.folder,
            route.method,
            route.path.format(**call.path),
            headers={"Content-Type": "application/json"},
            content=b" " * (2 * MIB),
        )
        if problem_in(answer).status not in {413} | ({404} if call.json is NOTHING else set()):
            wrong.append(f"{name}: {answer.status_code} {answer.text[:100]}")
    for path in ("/api/v1/auth/login", "/api/v1/auth/verify", "/oauth/token", "/session/refresh"):
        answer = house.visitor("nobody").raw(
            "identity", "POST", path, content=b" " * (2 * MIB), headers={"Content-Type": "application/json"}
        )
        if problem_in(answer).status not in {400, 401, 413}:
            wrong.append(f"{path}: {answer.status_code}")
    assert not wrong
    assert stored() == before


def test_what_stands_in_the_path_is_an_id_or_nothing_is_there(house):
    wrong = []
    for name in RECIPES:
        route = house.routes[name]
        if "{" not in route.path:
            continue
        for text in LISTED_PATHS:
            path = "/".join(text if part.startswith("{") else part for part in route.path.split("/"))
            answer = house.visitor("stranger").raw(route.folder, route.method, path, json={})
            problem = problem_in(answer)
            if problem.status not in {400, 401, 403, 404, 405, 413, 414, 422}:
                wrong.append(f"{name}, {text[:20]}: {answer.status_code} {problem.code}")
    assert not wrong


def test_parameters_out_of_range_are_refused_by_every_route_that_has_them(house):
    tried, wrong = 0, []
    owner = house.visitor("owner")
    for name, recipes in RECIPES.items():
        route = house.routes[name]
        if route.is_unsafe or route.capability in SERVICE_ONLY:
            continue
        call = recipes[-1].build(house.places["a"])
        for parameter, values in BAD_QUERIES.items():
            if parameter == "after" and route.path.endswith("/state"):
                continue  # a row's own key, which may be any text; what is no key of its kind: libs/chassis
            for value in values if parameter in route.parameters and f"{{{parameter}}}" not in route.path else ():
                answer = owner.send(route, Call(path=call.path, query={**call.query, parameter: value}))
                if answer.is_success:
                    wrong.append(f"{name}: {parameter}={value[:20]!r} was accepted")
                    continue
                if problem_in(answer).status not in {400, 404, 422}:
                    wrong.append(f"{name}: {parameter}={value[:20]!r}: {answer.status_code}")
                tried += 1
    assert not wrong
    assert tried > 60


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PROPFIND", "DELETE"])
def test_a_method_that_a_path_does_not_take_is_a_problem(house, method):
    known = {(route.service, route.method, route.path) for route in house.routes.values()}
    for route in house.routes.values():
        if "{" in route.path or (route.service, method, route.path) in known:
            continue
        answer = house.visitor("owner").raw(route.folder, method, route.path)
        if answer.status_code >= 400:
            assert problem_in(answer).status in {401, 405, 400}, f"{method} {route.name}"
        else:
            pytest.fail(f"{method} {route.name} was accepted with {answer.status_code}")


@pytest.mark.control("EV-25b")
@pytest.mark.parametrize("bad", ["a b", "x" * 65, "ü".encode(), b"\xff", "a\tb", "<script>", "a;b", "a,b", '"'])
def test_a_correlation_id_that_no_log_should_carry_is_refused_by_every_service(house, bad):
    for route in house.routes.values():
        if route.path in {"/api/v1/health", "/ready"} or route.name in RECIPES:
            answer = house.visitor("owner").raw(
                route.folder, "GET", route.path.split("{")[0], headers={"X-Correlation-ID": bad}
            )
            problem = problem_in(answer)
            assert (problem.status, problem.code) == (400, "bad_correlation_id"), route.name
            sent = bad if isinstance(bad, bytes) else bad.encode()
            assert len(sent) < 2 or sent not in answer.content


@pytest.mark.control("EV-25b")
def test_every_answer_carries_a_correlation_id_of_ours_whatever_the_client_says(house):
    seen = set()
    for route in house.routes.values():
        if "{" not in route.path and not route.is_unsafe:
            answer = house.visitor("owner").raw(route.folder, "GET", route.path, headers={"X-Correlation-ID": "mine.1"})
            seen.add(answer.headers["x-correlation-id"])
            assert "mine.1" not in answer.headers["x-correlation-id"]
            assert b"mine.1" not in answer.content
    assert len(seen) == len({r.name for r in house.routes.values() if "{" not in r.path and not r.is_unsafe})


def _body(call: Call, **fields: str | bytes | None) -> dict[str, Any]:
    """Return a call's body; of a page's form with these further fields, where they are given."""
    if call.form is not None:
        return {"data": dict(call.form) | {name: value for name, value in fields.items() if value is not None}}
    return {} if call.json is NOTHING else {"json": call.json}


@pytest.mark.parametrize("key", [None, "", "x" * 129, "a b", "ü".encode(), "<x>"])
def test_a_command_without_a_proper_idempotency_key_is_refused_by_every_service(house, stored, key):
    before, wrong = stored(), []
    stranger, ids = house.visitor("stranger"), house.places["south"]
    # Some commands want a recent sign-in, and refuse an old one first.
    stranger.send(house.routes["identity GET /api/v1/auth/factors/{factor_id}"], Call(path={"factor_id": Ids().factor}))
    for name, recipes in RECIPES.items():
        route = house.routes[name]
        if not route.is_unsafe or route.capability in SERVICE_ONLY:
            continue
        call = recipes[0].build(ids)
        headers = {"X-CSRF-Token": stranger.http.cookies["__Host-tally_csrf"]} | (
            {} if key is None else {"Idempotency-Key": key}
        )
        answer = stranger.http.request(
            route.method,
            house.urls[route.folder] + route.path.format(**call.path),
            headers=headers,
            **_body(call, idempotency_key=key, csrf_token="-"),
        )
        # A page's form has the key in a field.
        code = "idempotency_key_required" if call.form is None else "validation_failed"
        if (answer.status_code, problem_in(answer).code) != (400, code):
            wrong.append(f"{name}: {answer.status_code} {answer.text[:150]}")
    assert not wrong
    assert stored() == before


@pytest.mark.control("AC-04")
@pytest.mark.parametrize("fault", ["no header", "another's", "empty", "another origin", "null origin"])
def test_no_unsafe_route_takes_a_cookie_without_the_sessions_own_csrf_token(house, stored, fault):
    before, wrong = stored(), []
    stranger, ids = house.visitor("stranger"), house.places["south"]
    own = stranger.http.cookies["__Host-tally_csrf"]
    headers = {
        "no header": {},
        "another's": {"X-CSRF-Token": house.visitor("owner").http.cookies["__Host-tally_csrf"]},
        "empty": {"X-CSRF-Token": ""},
        "another origin": {"X-CSRF-Token": own, "Origin": "https://evil.example"},
        "null origin": {"X-CSRF-Token": own, "Origin": "null"},
    }[fault]
    for name, recipes in RECIPES.items():
        route = house.routes[name]
        if not route.is_unsafe:
            continue
        call = recipes[0].build(ids)
        answer = stranger.http.request(
            route.method,
            house.urls[route.folder] + route.path.format(**call.path),
            headers={"Idempotency-Key": "csrf-try", **headers},
            **_body(call, idempotency_key="csrf-try"),
        )
        if fault == "another's" and call.form is not None:
            answer = stranger.http.request(
                route.method,
                house.urls[route.folder] + route.path.format(**call.path),
                **_body(call, idempotency_key="csrf-try", csrf_token=headers["X-CSRF-Token"]),
            )
        if (answer.status_code, problem_in(answer).code) != (403, "csrf_failed"):
            wrong.append(f"{name}: {answer.status_code} {answer.text[:150]}")
    assert not wrong
    assert stored() == before


@pytest.mark.control("EV-23c")
def test_every_input_model_refuses_fields_that_it_does_not_know(house):
    for route in house.routes.values():
        if route.body is not None:
            loose = list(_loose(route.body, set()))
            assert not loose, f"{route.name}: {loose}"


def _loose(kind: Any, seen: set[Any]) -> Iterator[str]:
    if kind in seen if isinstance(kind, type) else False:
        return
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        seen.add(kind)
        if not kind.__struct_config__.forbid_unknown_fields:
            yield kind.__name__
        for field in msgspec.structs.fields(kind):
            yield from _loose(field.type, seen)
    for one in get_args(kind):
        yield from _loose(one, seen)
