"""A foreign id takes as long to be refused as one that does not exist: no clock tells what another tenant has.

Pairs of requests, interleaved, judged by Wilcoxon's signed-rank test: the two are told apart where p is under 0.01,
three times in a row with new pairs. Chance alone does that once in a million runs, a true difference every time.

``make test`` takes a few hundred pairs, ``make test-timing`` 2,000 of each route.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable

import pytest
from sweep.recipes import RECIPES, Ids
from sweep.timing import paired_times, signed_rank_p

PAIRS = int(os.environ.get("TALLY_PAIRS", "250"))
DIFFERENT = 0.01
ROUTES = (
    "assessment GET /api/v1/assessment/submissions/{submission_id}",
    "identity GET /api/v1/identity/people/{person_id}",
    "ledger GET /api/v1/ledger/logs/{log_id}/checkpoint",
    "privacy GET /api/v1/compliance/erasures/{job_id}",
)


def told_apart(first: Callable[[], object], second: Callable[[], object]) -> list[float] | None:
    """Return three ps that are all under the limit, or nothing."""
    found: list[float] = []
    while len(found) < 3:
        found.append(signed_rank_p(paired_times(first, second, pairs=PAIRS)))
        if found[-1] >= DIFFERENT:
            return None
    return found


def asking(house, name: str, ids: Ids | None, status: int) -> Callable[[], None]:
    """Return a request with ``ids``, or each time with others that nobody has.

    Making those takes longer than the differences that are looked for, so it is done before, and both take one.
    """
    visitor, route, build = house.visitor("stranger"), house.routes[name], RECIPES[name][0].build
    nobodys = itertools.cycle([Ids() for _ in range(PAIRS)])

    def ask() -> None:
        one = next(nobodys)
        assert visitor.send(route, build(ids or one)).status_code == status

    return ask


@pytest.mark.xdist_group("system")
@pytest.mark.control("EV-22c")
@pytest.mark.control("DI-01")
@pytest.mark.parametrize("name", ROUTES)
def test_a_foreign_id_takes_no_longer_and_no_shorter_than_one_that_does_not_exist(house, name):
    foreign = asking(house, name, house.places["a"], 404)
    missing = asking(house, name, None, 404)
    assert told_apart(foreign, missing) is None


@pytest.mark.xdist_group("system")
def test_an_id_of_ones_own_is_told_apart_by_the_same_pairs(house):
    """The measurement sees what is there to be seen."""
    own = asking(house, ROUTES[0], house.places["south"], 200)
    assert told_apart(own, asking(house, ROUTES[0], None, 404))


def test_the_signed_ranks_see_a_tenth_of_the_noise_and_nothing_where_nothing_is():
    chance = random.Random(1)  # noqa: S311 - an example, no secret
    alike = [chance.gauss(0, 1) for _ in range(2_000)]
    assert signed_rank_p(alike) > DIFFERENT
    assert signed_rank_p([one + 0.1 for one in alike]) < DIFFERENT
    # n = 10 and positive ranks of 8 against 27.5: z = -1.988, two-sided 0.0469.
    assert signed_rank_p([1, 7, -2, -3, -4, -5, -6, -8, -9, -10]) == pytest.approx(0.0469, abs=1e-3)
