"""Each service describes its routes in OpenAPI: every one of them, with its body, its answer and its refusals."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from sweep.routes import document_of, every_route
from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-23b")]


@pytest.fixture(scope="module")
def documents(layout):
    return {name: document_of(layout, name) for name in ServiceName}


def _operations(documents):
    for name, document in documents.items():
        for path, item in document["paths"].items():
            for method, operation in item.items():
                yield name, method.upper(), path, operation


def test_the_documents_name_every_route_and_no_other(documents, layout):
    described = {(name, method, path) for name, method, path, _ in _operations(documents)}
    assert described == {(route.service, route.method, route.path) for route in every_route(layout)}


def test_every_operation_says_what_it_asks_for_and_how_it_refuses(documents, layout):
    capabilities = {(route.service, route.method, route.path): route.capability for route in every_route(layout)}
    for name, method, path, operation in _operations(documents):
        asked = capabilities[name, method, path]
        assert operation.get("x-capability", "") == asked, path
        assert bool(operation["security"]) == bool(asked), path
        assert operation["summary"].endswith("."), path
        refusals = {status for status, answer in operation["responses"].items() if _is_problem(answer)}
        assert refusals >= ({"400", "401", "403", "503"} if asked else {"400", "503"}), path
        assert set(operation["responses"]) > refusals, f"{path} does not say what it answers"


def _is_problem(answer):
    return "application/problem+json" in answer.get("content", {})


def test_what_a_route_answers_besides_its_first_answer_is_named_with_its_media_type(documents):
    ledger, identity = documents[ServiceName.LEDGER]["paths"], documents[ServiceName.IDENTITY]["paths"]
    file = ledger["/api/v1/ledger/logs/{log_id}/export/{size}/{name}"]["get"]["responses"]
    assert set(file["200"]["content"]) == {"text/plain", "application/x-ndjson"}
    assert set(file["206"]["content"]) == {"application/x-ndjson"}
    assert {"304", "410", "416"} <= set(file)
    ready = identity["/ready"]["get"]["responses"]["503"]["content"]
    assert set(ready) == {"application/json", "application/problem+json"}
    assert "content" not in identity["/session/refresh"]["post"]["responses"]["204"]


_TALLY = (sys.executable, "-c", "from tallystick_cli.main import app; app()")


def test_the_command_line_prints_the_document(documents, layout):
    name = ServiceName.PRIVACY
    command = (*_TALLY, "openapi", SERVICE_FOLDERS[name], "--dir", layout.root)
    printed = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(printed.stdout) == documents[name]
