"""What schemathesis makes of each service's OpenAPI document: no 5xx, no answer that the document does not name.

Whoever asks is signed in with both factors and holds every capability in a tenant of their own. Requests that fit the
document take turns with such as do not, and ids of things that are there with made-up ones.

``make test`` sends a small, fixed number of requests, the same each time. ``make test-schemathesis`` goes on with
others for ``TALLY_FUZZ_S`` seconds over all services.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sweep.house import House, service_token
from sweep.recipes import RECIPES
from sweep.routes import document_of
from sweep.visitor import Visitor
from tallystick_cli.stack import boot, database_setup, state
from tallystick_cli.stack.services import DATABASE
from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-23b"), pytest.mark.control("EV-23d")]

FUZZ_S = float(os.environ.get("TALLY_FUZZ_S", "0"))
EXAMPLES = 4
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WHO, WHERE = "stranger", "south"
# Ends the session that asks.
LEFT_OUT = {"identity POST /api/v1/auth/logout", "identity POST /account/sign-out"}
FOR_SERVICES = {"event.hand_over": "assessment", "feed.read": "ledger", "proof.read": "verification"}
# The visitor's own session, key and forgery token go out instead.
_OURS = frozenset({"cookie", "authorization", "idempotency-key", "x-csrf-token", "user-agent"})
_MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@pytest.fixture(autouse=True)
def _budgets(house: House) -> Iterator[None]:
    """Give everybody their tries back afterwards: what is made up here spends other tests' budgets."""
    yield
    servers = boot.describe(house.layout, state.read(house.layout))
    database_setup.run_sql(servers, DATABASE, [f"delete from {one}.rate_counters" for one in ServiceName])


class Asker:
    """Sends made-up requests of one service in the name of somebody who may, or of a service where only those may."""

    def __init__(self, house: House, service: ServiceName) -> None:
        self._house, self._service = house, service
        self._visitor = house.visitor(WHO)
        self._machines: dict[str, Visitor] = {}

    def ask(self, case: Any, name: str) -> httpx.Response:
        made = case.as_transport_kwargs(base_url="https://service.test")
        headers = {key: value for key, value in (made.get("headers") or {}).items() if key.lower() not in _OURS}
        sent: dict[str, Any] = {
            "query": {key: value for key, value in (made.get("params") or {}).items() if value is not None},
            **_body(made),
        }
        path, method = made["url"].removeprefix("https://service.test"), made["method"].upper()
        folder = SERVICE_FOLDERS[self._service]
        if caller := FOR_SERVICES.get(self._house.routes[name].capability):
            headers["Authorization"] = f"Bearer {service_token(self._house, caller)}"
            return self._house.visitor("nobody").raw(folder, method, path, headers=headers, **sent)
        answer = self._visitor.raw(folder, method, path, headers=headers, **sent)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            if b"step_up_required" in answer.content:
                self._visitor.renew()
            elif b"not_authenticated" in answer.content:
                self._visitor.raw("identity", "POST", "/session/refresh")
            answer = self._visitor.raw(folder, method, path, headers=headers, **sent)
        return answer


def _body(made: dict[str, Any]) -> dict[str, Any]:
    if "json" in made:
        return {"json": made["json"]}
    data = made.get("data") or b""
    # A form's fields, or the pairs that stand for some of them twice.
    return {"data": dict(data)} if isinstance(data, dict | list) else {"content": data}


def _operations(house: House, service: ServiceName) -> dict[str, Any]:
    schema = schemathesis.openapi.from_dict(document_of(house.layout, service))
    found = [result.ok() for result in schema.get_all_operations()]
    named = {f"{service} {one.method.upper()} {one.path}": one for one in found}
    assert set(named) == {name for name, route in house.routes.items() if route.service is service}
    return {name: one for name, one in named.items() if name not in LEFT_OUT}


def _known_path(house: House, name: str) -> dict[str, Any] | None:
    """Return the ids of what is there, where using them takes nothing from the house."""
    route = house.routes[name]
    if not route.capability or "{" not in route.path or (route.is_unsafe and route.service is ServiceName.IDENTITY):
        return None
    return dict(RECIPES[name][0].build(house.places[WHERE]).path)


def _fault(house: House, asker: Asker, name: str, operation: Any, *, number: int) -> str | None:
    """Send some requests to one route; return what was wrong with an answer."""
    known = _known_path(house, name)
    paths = [None] if known is None else [None, known]
    for mode in _MODES:
        strategies = [
            operation.as_strategy(generation_mode=mode, **({} if path is None else {"path_parameters": path}))
            for path in paths
        ]

        @seed(number)
        @settings(
            max_examples=EXAMPLES * len(paths),
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(strategies))
        def run(case: Any) -> None:
            case.validate_response(asker.ask(case, name), checks=CHECKS)

        try:
            run()
        except Unsatisfiable:
            continue  # nothing can be wrong about a route that takes nothing
        except Exception as error:  # noqa: BLE001 - every route's faults are wanted, not the first one's alone
            return str(error)
    return None


@pytest.mark.parametrize("service", ServiceName)
def test_no_made_up_request_gets_an_answer_that_the_document_does_not_name(house, service):
    operations, asker = _operations(house, service), Asker(house, service)
    until = time.monotonic() + FUZZ_S / len(ServiceName)
    faults: dict[str, str] = {}
    number = 0
    while number == 0 or (time.monotonic() < until and not faults):
        for name, operation in operations.items():
            if fault := _fault(house, asker, name, operation, number=number):
                faults[name] = fault
        number += 1
    assert not faults, "\n\n".join(f"{name}\n{fault}" for name, fault in faults.items())
