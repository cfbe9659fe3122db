"""Every route of every service, over HTTPS, tried by people who may not.

The isolation sweep (``sweep.isolation``) also runs with the database's policies set to ``true``, in
``test_policies_matter.py``: what it finds there is what it would find here if row-level security were gone.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import msgspec
import pytest
from sweep import isolation
from sweep.positions import NO_LISTS_OF_THINGS, OWN_NAMES, WORDS, operations, unread, unswept, words_for
from sweep.problems import problem_in
from sweep.recipes import RECIPES, Ids
from sweep.routes import document_of
from sweep.visitor import Call
from tallystick_contracts.capabilities import IMPLICIT_CAPABILITIES
from tallystick_contracts.topology import ServiceName

pytestmark = pytest.mark.xdist_group("system")

EVERY_SERVICE = {"GET /api/v1/health", "GET /ready"}
PUBLIC_API = {
    "identity": {"POST /api/v1/auth/login", "POST /api/v1/auth/verify"},
}
PUBLIC_TRUST = {
    "identity": {
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
    },
    "ledger": {
        "GET /open/logs/{log_id}/checkpoint",
        "GET /open/logs/{log_id}/vkey",
        "GET /open/logs/{log_id}/tile/{name}",
    },
    "verification": {
        "GET /certs/verify/{token}",
        "GET /certs/verify/{token}/proof",
        "GET /certs/verify/{token}/entry",
    },
}
"""The two frozen lists (EV-12a, EV-12b), written a second time on purpose: nothing is added by accident."""


@pytest.mark.control("EV-12a")
@pytest.mark.control("EV-12b")
def test_the_public_routes_are_exactly_the_two_frozen_lists(house):
    public = {route.name for route in house.routes.values() if not route.capability}
    services = {route.service.value for route in house.routes.values()}
    assert services == {"identity", "assessment", "ledger", "verification", "privacy"}
    assert public == {
        f"{service} {name}"
        for service in services
        for name in EVERY_SERVICE | PUBLIC_API.get(service, set()) | PUBLIC_TRUST.get(service, set())
    }
    assert {name for name in public if " /api/v1/" in name and "/health" not in name} == {
        f"identity {name}" for name in PUBLIC_API["identity"]
    }


@pytest.mark.control("EV-22c")
def test_every_route_that_needs_a_session_has_a_recipe_and_no_recipe_is_left_over(house):
    assert {route.name for route in house.routes.values() if route.capability} == set(RECIPES)


@pytest.mark.control("EV-22c")
def test_every_id_and_every_list_of_every_document_is_swept(house):
    described = operations({name: document_of(house.layout, name) for name in ServiceName})
    assert set(described) == set(house.routes)
    assert not unswept(described)
    assert not unread(described)


def test_no_word_and_no_list_is_excused_that_is_not_there(house):
    described = operations({name: document_of(house.layout, name) for name in ServiceName})
    assert set(WORDS) == {word for name in RECIPES for spot in described[name].spots() for word in words_for(spot)}
    assert set(NO_LISTS_OF_THINGS) <= {name for name in RECIPES if described[name].answers_with_a_list()}
    assert set(OWN_NAMES) <= set(RECIPES)


@pytest.mark.control("EV-22c")
def test_a_route_that_takes_an_id_or_gives_a_list_which_no_recipe_knows_is_found(house, monkeypatch):
    described = operations({name: document_of(house.layout, name) for name in ServiceName})
    name = "identity GET /api/v1/identity/org-units"
    taken = described[name].content | {
        "parameters": [{"in": "query", "name": "owned_by", "schema": {"type": "string", "format": "uuid"}}]
    }
    rows = {"items": {"properties": {"whose": {"type": "string"}}}}
    body = {"application/json": {"schema": {"properties": {"rows": rows}}}}
    described[name] = replace(described[name], content=taken | {"requestBody": {"content": body}})
    assert unswept(described) == [f"{name}: query/owned_by", f"{name}: body/rows/*/whose"]
    listed = "identity GET /api/v1/identity/people/{person_id}/capabilities"
    monkeypatch.setitem(RECIPES, listed, tuple(replace(one, shows="") for one in RECIPES[listed]))
    assert unread(described) == [listed]


@pytest.mark.control("EV-12a")
def test_without_a_session_every_route_but_the_public_ones_answers_401(house):
    nobody = house.visitor("nobody")
    wrong = []
    for name, recipes in RECIPES.items():
        for recipe in recipes:
            answer = nobody.send(house.routes[name], recipe.build(house.places["a"]))
            problem = problem_in(answer)
            if (answer.status_code, problem.code) != (401, "not_authenticated"):
                wrong.append(f"{name}: {answer.status_code} {problem.code}")
    assert not wrong


@pytest.mark.control("EV-12a")
def test_a_public_route_does_not_ask_for_a_session(house):
    nobody = house.visitor("nobody")
    parameters = {"tenant": "nobody-here", "token": "x" * 32, "log_id": str(uuid4()), "name": "0/000"}
    for route in house.routes.values():
        if not route.capability:
            answer = nobody.send(route, Call(path=parameters))
            if answer.status_code >= 400:
                assert problem_in(answer).code != "not_authenticated", route.name


@pytest.mark.control("EV-13b")
@pytest.mark.control("EV-22a")
@pytest.mark.control("EV-25f")
def test_without_the_capability_every_route_answers_403_and_stores_nothing(house):
    powerless = house.visitor("powerless")
    wrong = []
    for name, recipes in RECIPES.items():
        route = house.routes[name]
        if route.capability in IMPLICIT_CAPABILITIES:
            continue
        for ids in (house.places["a"], house.places["south"], Ids()):
            answer = powerless.send(route, recipes[0].build(ids))
            problem = problem_in(answer)
            if (answer.status_code, problem.code) != (403, "capability_missing"):
                wrong.append(f"{name}: {answer.status_code} {problem.code}")
    assert not wrong


@pytest.mark.control("EV-13b")
def test_no_persons_role_opens_a_route_that_is_for_services(house):
    owner, wrong = house.visitor("owner"), []
    for route in house.routes.values():
        if route.capability in isolation.SERVICE_ONLY:
            answer = owner.send(route, RECIPES[route.name][0].build(house.places["a"]))
            if (answer.status_code, problem_in(answer).code) != (403, "capability_missing"):
                wrong.append(f"{route.name}: {answer.status_code}")
    assert not wrong


@pytest.mark.control("EV-13b")
def test_every_recipe_is_a_proper_request_for_whoever_may_make_it(house):
    """A refusal says something only where the same request is accepted from somebody else."""
    assert not isolation.unproven(house)


@pytest.mark.control("EV-22b")
@pytest.mark.control("EV-22c")
@pytest.mark.control("DI-01")
@pytest.mark.parametrize(
    ("who", "own", "foreign"),
    [
        ("stranger", "south", "a"),
        ("owner", "a", "south"),
        ("neighbour", "b", "a"),
    ],
)
def test_a_foreign_id_is_answered_byte_for_byte_like_one_that_does_not_exist(house, who, own, foreign):
    tried, found = isolation.by_id(house, who, own=own, foreign=foreign)
    assert not found
    assert tried >= 40


@pytest.mark.control("EV-22c", "EV-24b")
def test_a_colleague_of_the_same_unit_does_not_reach_an_attempt_that_is_not_theirs(house):
    """Attempts are the person's own: here the policies let the row through, and the service does not."""
    for name in (name for name in RECIPES if "/attempts" in name):
        recipe = RECIPES[name][0]
        foreign, missing = house.places["a"], Ids()
        answers = [
            isolation.comparable(house.visitor("colleague").send(house.routes[name], recipe.build(ids)))
            for ids in (foreign, missing)
        ]
        assert answers[0] == answers[1], name
        assert answers[0].status in {404, 422}, name
    for name in ("assignments", "certificates", "results"):
        mine = house.visitor("colleague").send(house.routes[f"assessment GET /api/v1/assessment/my/{name}"], Call())
        assert msgspec.json.decode(mine.content) == {name: []}


@pytest.mark.control("EV-22c")
@pytest.mark.control("DI-01")
@pytest.mark.parametrize(
    ("who", "own", "foreign"), [("stranger", "south", "a"), ("owner", "a", "south"), ("neighbour", "b", "a")]
)
def test_a_list_holds_nothing_of_another_tenants_or_units(house, who, own, foreign):
    tried, found = isolation.in_lists(house, who, own=own, foreign=foreign)
    assert not found
    assert tried >= 15


@pytest.mark.control("EV-22c")
def test_lists_are_not_empty_for_their_owners(house):
    """What is not in the others' lists is there to be seen."""
    for who, place in (("owner", "a"), ("stranger", "south")):
        assert not isolation.missing_from_own_lists(house, who, place)


@pytest.mark.control("EV-22c")
def test_the_same_address_in_another_tenant_is_nobodys_business(house):
    """An address that is taken in one tenant is free in the other, so that nothing tells where somebody is known."""
    people = house.routes["identity POST /api/v1/identity/people"]
    address = {"email": f"owner-{house.places['a'].unit}@both.example", "display_name": "Two Places"}
    for who in ("owner", "stranger"):
        assert house.visitor(who).send(people, Call(json=address)).status_code == 201
    assert house.visitor("owner").send(people, Call(json=address)).status_code == 422
