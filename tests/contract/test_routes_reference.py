"""The page that lists routes and capabilities says what the services do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sweep.reference import FILE, render
from sweep.routes import every_route
from tallystick_contracts.capabilities import SERVICE_CAPABILITIES, Capability

pytestmark = pytest.mark.xdist_group("system")


@pytest.fixture(scope="module")
def routes(layout):
    return every_route(layout)


@pytest.mark.control("EV-13b")
def test_the_matrix_of_routes_and_capabilities_is_the_one_in_the_reference(routes):
    assert FILE.read_text(encoding="utf-8") == render(routes), "cd tests/support && python -m sweep.reference"


@pytest.mark.control("EV-13b")
def test_every_capability_opens_a_route_and_every_route_asks_for_a_known_one(routes):
    asked = {route.capability for route in routes if route.capability}
    assert asked <= set(Capability)
    used_by_services = {one for capabilities in SERVICE_CAPABILITIES.values() for one in capabilities}
    unused = set(Capability) - asked
    assert unused <= {Capability.KEY_POOL_READ, Capability.QUESTION_WRITE}, "a capability that opens nothing"
    assert used_by_services <= asked


@pytest.mark.control("EV-25f")
def test_everything_under_compliance_asks_for_privacy_manage(routes):
    compliance = [route for route in routes if route.path.startswith("/api/v1/compliance")]
    assert compliance
    assert {route.capability for route in compliance} == {"privacy.manage"}


def test_every_route_says_what_it_does_takes_and_answers(routes):
    for route in routes:
        assert route.summary.endswith("."), f"{route.name} has no sentence that says what it does"
        assert route.returns not in {None, Any, dict, object}, f"{route.name} does not say what it answers"
        if route.body is not None:
            assert isinstance(route.body, type), route.name
            assert issubclass(route.body, msgspec.Struct), route.name
