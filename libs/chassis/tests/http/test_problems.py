"""Every error is a problem document: stable code, pointers, correlation; never the input, never a stack trace."""

from __future__ import annotations

import enum
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
import structlog
from litestar import get, post
from litestar.exceptions import HTTPException
from litestar.params import Parameter
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from tallystick_chassis.http.bodies import MAX_BODY_BYTES
from tallystick_chassis.http.pages import SECURITY_HEADERS
from tallystick_chassis.http.problems import NotFound, Problem
from tallystick_contracts.capabilities import Capability

TENANT, UNIT = uuid4(), uuid4()
CANARY = "ada.lovelace@canary.example"
OWN = {"capability": Capability.SESSION_OWN}


class Colour(enum.StrEnum):
    RED = "red"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(ge=1, le=10)]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: UUID
    parts: list[Part]
    colour: Colour = Colour.RED
    note: Annotated[str, msgspec.Meta(max_length=20)] = ""
    more: dict[str, int] = {}


class Odd(Problem):
    status: ClassVar[int] = 409
    code: ClassVar[str] = "odd"
    title: ClassVar[str] = "That is odd"


@post("/api/v1/privacy/orders", opt=OWN, status_code=201)
async def order(data: Order) -> str:
    return str(data.id)


@get("/api/v1/privacy/list", opt=OWN)
async def listed(limit: Annotated[int, Parameter(ge=1, le=10)] = 1, since: UUID | None = None) -> dict[str, Any]:
    return {"limit": limit, "since": since}


AWAY = {
    "refused": ConnectionRefusedError(CANARY),
    "late": TimeoutError(CANARY),
    "starting": asyncpg.CannotConnectNowError(CANARY),
    "ended": DBAPIError(CANARY, {}, asyncpg.AdminShutdownError(CANARY)),
    "full": DBAPIError(CANARY, {}, asyncpg.DiskFullError(CANARY)),
    "busy": PoolTimeoutError(CANARY),
}


@get("/api/v1/privacy/fail/{kind:str}", opt=OWN)
async def fail(kind: str) -> None:
    if kind == "odd":
        detail = "Even so"
        raise Odd(detail)
    if kind == "missing":
        raise NotFound
    if kind == "teapot":
        raise HTTPException(status_code=418, detail=CANARY)
    if kind in AWAY:
        raise AWAY[kind]
    raise RuntimeError(CANARY)


@pytest.fixture
def client(make_app, client_of):
    return client_of(make_app(order, listed, fail))


@pytest.fixture
def person(people):
    return people.sign_in(TENANT, UNIT)


def _order(**changes: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "parts": [{"size": 1}], **changes}


@pytest.mark.control("EV-23b")
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (_order(id=CANARY), "/id"),
        (_order(parts=[{"size": 1}, {"size": 0}]), "/parts/1/size"),
        (_order(parts=[{"size": 1}, {"size": 11}]), "/parts/1/size"),
        (_order(parts=[{"size": "1"}]), "/parts/0/size"),
        (_order(parts=[{"size": 1.5}]), "/parts/0/size"),
        (_order(parts=[{"size": True}]), "/parts/0/size"),
        (_order(colour=CANARY), "/colour"),
        (_order(note=CANARY * 3), "/note"),
        (_order(more={CANARY: CANARY}), "/more"),
        ({"id": str(uuid4())}, ""),
        ([], ""),
        (CANARY, ""),
        (None, ""),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_with_a_pointer_and_without_its_values(client, person, body, pointer):
    answer = await client.post("/api/v1/privacy/orders", json=body, headers=person.unsafe)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_failed")
    assert [one.get("pointer") for one in answer.json()["errors"]] == [pointer]
    assert CANARY not in answer.text


@pytest.mark.control("EV-23c")
@pytest.mark.parametrize("body", [_order(**{CANARY: 1}), _order(parts=[{"size": 1, CANARY: 2}])])
async def test_unknown_fields_are_refused_and_not_repeated(client, person, body):
    answer = await client.post("/api/v1/privacy/orders", json=body, headers=person.unsafe)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["detail"] == "Object contains an unknown field"
    assert CANARY not in answer.text


@pytest.mark.control("EV-23b")
@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"note": "\xff"}', b'{"note": "\\ud800"}', b"{'id': 1}"])
async def test_a_body_that_is_not_json_is_malformed(client, person, body):
    headers = person.unsafe | {"Content-Type": "application/json"}
    answer = await client.post("/api/v1/privacy/orders", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


async def test_a_missing_body_is_said_to_be_missing(client, person):
    answer = await client.post("/api/v1/privacy/orders", headers=person.unsafe)
    assert (answer.status_code, answer.json()["errors"]) == (400, [{"detail": "A body is required", "pointer": ""}])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_of_another_type_is_refused(client, person, kind):
    headers = person.unsafe | {"Content-Type": kind}
    answer = await client.post("/api/v1/privacy/orders", content=msgspec.json.encode(_order()), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(("note", "status"), [("a\x00b", 400), ("a\\u0000b", 201)])
async def test_a_nul_character_is_refused_and_its_spelling_is_not(client, person, note, status):
    answer = await client.post("/api/v1/privacy/orders", json=_order(note=note), headers=person.unsafe)
    assert answer.status_code == status


@pytest.mark.control("EV-23b")
async def test_a_body_over_one_mebibyte_is_too_large_announced_or_not(client, person):
    async def chunks():
        for _ in range(17):
            yield b" " * 65_536

    headers = person.unsafe | {"Content-Type": "application/json"}
    for content in (b" " * (MAX_BODY_BYTES + 1), chunks()):
        answer = await client.post("/api/v1/privacy/orders", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.control("EV-23b")
@pytest.mark.parametrize(
    ("query", "parameter"),
    [("limit=0", "limit"), ("limit=11", "limit"), (f"limit={CANARY}", "limit"), (f"since={CANARY}", "since")],
)
async def test_a_parameter_out_of_range_is_named_and_not_repeated(client, person, query, parameter):
    answer = await client.get(f"/api/v1/privacy/list?{query}", headers=person.cookies)
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, parameter)
    assert CANARY not in answer.text


@pytest.mark.parametrize("path", ["/api/v1/privacy/fail/a%00b", "/api/v1/privacy/list?limit=%00"])
async def test_a_nul_in_the_address_is_refused(client, person, path):
    assert (await client.get(path, headers=person.cookies)).status_code == 400


@pytest.mark.control("EV-23d")
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("odd", 409, "odd"),
        ("missing", 404, "not_found"),
        ("teapot", 400, "bad_request"),
        ("crash", 500, "internal_error"),
    ],
)
async def test_every_error_is_a_problem_document_with_the_correlation_id(client, person, path, status, code):
    answer = await client.get(f"/api/v1/privacy/fail/{path}", headers=person.cookies)
    document = answer.json()
    assert answer.status_code == document["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"https://tallystick.dev/problems/{code}"
    assert document["code"] == code
    assert document["title"]
    assert document["correlation_id"] == answer.headers["x-correlation-id"]
    assert not {"instance", "extra", "detail"} & set(document) or document["detail"] == "Even so"
    assert CANARY not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("kind", AWAY)
async def test_while_the_database_is_away_the_answer_says_try_again_and_the_log_why(client, person, kind):
    with structlog.testing.capture_logs() as said:
        answer = await client.get(f"/api/v1/privacy/fail/{kind}", headers=person.cookies)
    assert "request_failed" in {line["event"] for line in said}
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "2")
    assert CANARY not in answer.text


@pytest.mark.control("X-08")
@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/none", "/nowhere", "/api/v1/privacy/fail/crash"])
async def test_every_answer_carries_the_security_headers(client, person, path):
    answer = await client.get(path, headers=person.cookies)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "server" not in answer.headers
