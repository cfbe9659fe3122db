"""Pages' forms: the forgery token in a field, strict decoding, and what a page asks of its own API in the process."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import msgspec
import pytest
from litestar import Request, Response, get, post
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.forms import FORM
from tallystick_chassis.http.in_process import ApiRefusal, PageResponse, ask
from tallystick_chassis.http.pages import PAGE, prefers_html
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability

TENANT, NORTH = uuid4(), uuid4()
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int
    csrf_token: str = ""
    is_round: bool = False
    colours: Annotated[tuple[str, ...], msgspec.Meta(max_length=3)] = ()
    label: Annotated[str, msgspec.Meta(min_length=2)] | None = None


@post("/choice", opt={"capability": Capability.PEOPLE_WRITE, "form": True, PAGE: True})
async def choose(data: Choice) -> Response[str]:
    return Response(f"{data.size} {data.is_round} {','.join(data.colours)} {data.label}")


@post("/api/v1/privacy/things", opt={"capability": Capability.PEOPLE_WRITE})
async def bare(principal: Principal) -> Response[str]:
    return Response(principal.name)


class Seen(msgspec.Struct, frozen=True):
    actor: str
    units: tuple[str, ...]
    key: str | None
    correlation: str
    body: dict[str, int]


@post("/api/v1/privacy/seen", opt={"capability": Capability.PEOPLE_WRITE}, status_code=200)
async def see(request: Request[Any, Any, Any], tenant_scope: Scope, data: dict[str, int]) -> Response[Seen]:
    units = tuple(str(one) for one in tenant_scope.org_units)  # type: ignore[union-attr]
    answer = Response(
        Seen(tenant_scope.actor, units, tenant_scope.idempotency_key, context_of(request.scope).correlation, data)
    )
    answer.set_cookie("__Host-one", "1")
    answer.set_cookie("__Host-two", "2")
    return answer


@get("/api/v1/privacy/nothing/{thing:uuid}", opt={"capability": Capability.PEOPLE_READ})
async def nothing(thing: UUID) -> Seen:  # noqa: ARG001
    raise NotFound(detail=None, headers={"Retry-After": "7"})


@post("/page", opt={"capability": Capability.SESSION_OWN, "form": True, PAGE: True})
async def page(request: Request[Any, Any, Any], data: Choice) -> Response[bytes]:
    asked = await ask(request, "POST", "/api/v1/privacy/seen", json={"size": data.size}, csrf=data.csrf_token, key="k1")
    return PageResponse(Response(asked.body, headers={"X-HTML": str(prefers_html(request))}), [asked])


@get("/page", opt={"capability": Capability.SESSION_OWN, PAGE: True})
async def refused_page(request: Request[Any, Any, Any]) -> Response[str]:
    try:
        await ask(request, "GET", f"/api/v1/privacy/nothing/{uuid4()}")
    except ApiRefusal as refusal:
        return Response(f"{refusal.status} {refusal.code} {refusal.headers}")
    return Response("")


@pytest.fixture
def client(make_app, client_of):
    return client_of(make_app(choose, bare, see, nothing, page, refused_page))


@pytest.fixture
def person(people):
    return people.sign_in(TENANT, NORTH, (("people.write", "people.read"), (NORTH,)))


def _form(**fields: Any) -> dict[str, Any]:
    return {"content": urlencode(fields, doseq=True), "headers": {"Content-Type": FORM}}


async def _send(client, person, path="/choice", **fields):
    made = _form(**fields)
    return await client.post(path, content=made["content"], headers=made["headers"] | person.cookies)


@pytest.mark.control("AC-04")
async def test_a_form_repeats_the_forgery_token_in_a_field(client, person):
    answer = await _send(client, person, csrf_token=person.csrf, size=3)
    assert (answer.status_code, answer.text) == (201, "3 False  None")


@pytest.mark.control("AC-04")
@pytest.mark.parametrize("fault", ["none", "empty", "foreign", "twice", "no cookie", "wrong header"])
async def test_a_form_without_its_sessions_forgery_token_is_refused(client, people, person, fault):
    other = people.sign_in(TENANT, NORTH)
    token = {"none": [], "empty": [""], "foreign": [other.csrf], "twice": [person.csrf, person.csrf]}
    made = _form(csrf_token=token.get(fault, [person.csrf]), size=3)
    headers = made["headers"] | person.cookies
    if fault == "no cookie":
        headers["Cookie"] = headers["Cookie"].split(";")[0]
    if fault == "wrong header":
        headers["X-CSRF-Token"] = other.csrf
    answer = await client.post("/choice", content=made["content"], headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")


@pytest.mark.control("AC-04")
async def test_the_field_counts_for_routes_that_take_forms_and_for_no_other(client, person):
    """Else a form on another site's page, with a token that it got somehow, could call the API."""
    answer = await _send(client, person, "/api/v1/privacy/things", csrf_token=person.csrf)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")


async def test_a_route_that_takes_a_form_takes_no_json(client, person):
    answer = await client.post("/choice", json={"size": 3}, headers=person.unsafe)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_values_are_read_as_their_fields_types_and_empty_ones_are_absent(client, person):
    answer = await _send(
        client, person, csrf_token=person.csrf, size=3, is_round="true", colours=["red", "gr\u00fcn"], label=""
    )
    assert answer.text == "3 True red,gr\u00fcn None"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"size": "x"}, "/size"),
        ({"size": 1, "label": "x"}, "/label"),
        ({"size": 1, "other": "x"}, ""),
        ({"size": [1, 2]}, ""),
        ({"size": 1, "colours": ["a"] * 4}, "/colours"),
        ({"size": 1, "label": "a\x00b"}, ""),
        ({"size": 1, "label": "x" * 3, "colours": ["a"] * 201}, ""),
    ],
)
async def test_what_does_not_fit_is_refused_with_its_place(client, person, fields, pointer):
    made = _form(csrf_token=person.csrf, **fields)
    headers = made["headers"] | person.unsafe
    answer = await client.post("/choice", content=made["content"], headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed")
    assert answer.json()["errors"][0].get("pointer", "") == pointer


@pytest.mark.parametrize("body", [b"\xff", b"size=%ff", "größe=1".encode()])
async def test_what_is_no_form_is_refused(client, person, body):
    answer = await client.post("/choice", content=body, headers={"Content-Type": FORM} | person.unsafe)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed")


async def test_a_page_asks_its_api_in_its_visitors_name_and_hands_the_cookies_on(client, person):
    made = _form(csrf_token=person.csrf, size=3)
    answer = await client.post("/page", content=made["content"], headers=made["headers"] | person.cookies | BROWSER)
    seen = answer.json()
    assert seen["actor"] == person.ref
    assert seen["units"] == [str(NORTH)]
    assert (seen["key"], seen["body"]) == ("k1", {"size": 3})
    assert seen["correlation"] == answer.headers["X-Correlation-ID"]
    assert [line.partition("=")[0] for line in answer.headers.get_list("set-cookie")] == ["__Host-one", "__Host-two"]
    assert answer.headers["X-HTML"] == "True"


@pytest.mark.control("EV-13b")
async def test_a_page_can_do_no_more_than_its_visitor(client, people):
    powerless = people.sign_in(TENANT, NORTH)
    answer = await _send(client, powerless, "/page", csrf_token=powerless.csrf, size=3)
    assert (answer.status_code, answer.json()["code"]) == (403, "capability_missing")


async def test_a_refusal_reaches_the_page_with_its_code(client, person):
    answer = await client.get("/page", headers=person.cookies)
    assert answer.text == "404 not_found {'Retry-After': '7'}"
