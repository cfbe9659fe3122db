"""The sweep's core: what somebody else's ids give away. Each function returns what it found; nothing is good."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING
from uuid import UUID

from sweep.positions import varied
from sweep.recipes import RECIPES, Ids
from sweep.visitor import Answer, UndescribedAnswer, comparable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sweep.house import House
    from sweep.routes import Route

# Roles and the tree of units are the whole tenant's: whoever may read them sees all of them.
_SHARED_IN_A_TENANT = frozenset({"tenant", "role", "unit", "path"})
# Who acted in one's own unit, and which of the tenant's logs says so.
_SEEN_IN_A_UNIT = {"ledger GET /api/v1/ledger/entries": {"person", "log"}}
SERVICE_ONLY = frozenset({"event.hand_over", "feed.read", "proof.read", "session.introspect"})
"""What no person's role may hold."""


def _always(_: Route) -> bool:
    return True


def by_id(
    house: House, who: str, *, own: str, foreign: str, of: Callable[[Route], bool] = _always
) -> tuple[int, list[str]]:
    """Put each foreign id, and all of them at once, into each request; hold the answer against one for an unknown id.

    Returns how many pairs were tried, and a line for each pair that differs.
    """
    visitor, mine, theirs = house.visitor(who), house.places[own], house.places[foreign]
    tried, found = 0, []
    for name, recipes in RECIPES.items():
        route = house.routes[name]
        if not of(route):
            continue
        for recipe in recipes:
            for put in _variations(tuple(varied(recipe)), mine, theirs):
                tried += 1
                others = [{one: getattr(ids, one) for one in put} for ids in (theirs, Ids())]
                try:
                    pair = [
                        _without(comparable(visitor.send(route, recipe.build(replace(mine, **ids)))), ids.values())
                        for ids in others
                    ]
                except UndescribedAnswer as error:
                    found.append(f"{who}: {name} with foreign {', '.join(put)}: {error}")
                    continue
                if pair[0] != pair[1]:
                    found.append(f"{who}: {name} with foreign {', '.join(put)}: {pair[0]} is not {pair[1]}")
    return tried, found


def _variations(ids: tuple[str, ...], mine: Ids, theirs: Ids) -> Iterator[tuple[str, ...]]:
    """Give each id alone, then all together; what both places share is not foreign."""
    foreign = tuple(one for one in ids if getattr(mine, one) != getattr(theirs, one))
    yield from ((one,) for one in foreign)
    if len(foreign) > 1:
        yield foreign


def _without(answer: Answer, sent: Iterable[object]) -> Answer:
    """Take out of an answer what its request said itself: a list may repeat the id it was asked for, found or not."""
    body = answer.body
    for value in sent:
        body = body.replace(str(value).encode(), b"-")
    return replace(answer, body=body)


def in_lists(
    house: House, who: str, *, own: str, foreign: str, of: Callable[[Route], bool] = _always
) -> tuple[int, list[str]]:
    """Read everything with one's own ids and look for the other place's in the answers."""
    visitor, mine, theirs = house.visitor(who), house.places[own], house.places[foreign]
    same_tenant = mine.tenant == theirs.tenant
    secrets = {
        name: str(getattr(theirs, name))
        for name in (one.name for one in fields(Ids))
        if name not in {"version", "seq", "size", "path", "slug"}
        and not (same_tenant and name in _SHARED_IN_A_TENANT)
        and getattr(mine, name) != getattr(theirs, name)
    }
    tried, found = 0, []
    for name, recipes in RECIPES.items():
        route = house.routes[name]
        if route.is_unsafe or route.capability in SERVICE_ONLY or not of(route):
            continue
        for recipe in recipes:
            tried += 1
            try:
                text = visitor.send(route, recipe.build(mine)).text
            except UndescribedAnswer as error:
                found.append(f"{who}: {error}")
                continue
            found += [
                f"{who}: {name} shows {what} of {foreign}"
                for what, value in secrets.items()
                if value in text and not (same_tenant and what in _SEEN_IN_A_UNIT.get(name, ()))
            ]
    return tried, found


def missing_from_own_lists(house: House, who: str, place: str) -> list[str]:
    """Return the reads in which somebody does not find what is theirs."""
    ids = house.places[place]
    return [
        f"{who}: {name}: {answer.status_code} without {recipe.shows}: {answer.text[:300]}"
        for name, recipes in RECIPES.items()
        for recipe in recipes
        if recipe.shows
        for answer in [house.visitor(who).send(house.routes[name], recipe.build(ids))]
        if answer.status_code != 200 or str(getattr(ids, recipe.shows)) not in answer.text
    ]


def unproven(house: House) -> list[str]:
    """Return the routes whose recipe nobody has been seen to succeed with."""
    owner, ids, found = house.visitor("owner"), house.places["a"], []
    for name, recipes in RECIPES.items():
        route = house.routes[name]
        if route.capability in SERVICE_ONLY or name in house.proven:
            continue
        if route.is_unsafe:
            found.append(f"{name}: not part of the house")
            continue
        for recipe in recipes:
            answer = owner.send(route, recipe.build(ids))
            if answer.status_code != 200:
                found.append(f"{name}: {answer.status_code} {answer.text[:300]}")
    return found


def is_uuid(value: str) -> bool:
    """Say whether a text is a UUID."""
    try:
        UUID(value)
    except ValueError:
        return False
    return True
