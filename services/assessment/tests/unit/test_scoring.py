"""What responses are worth."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_assessment.evaluations.document import EvaluationDocument
from tallystick_assessment.questions.items import (
    Item,
    ItemId,
    Matching,
    MultipleChoice,
    MultipleScoring,
    Ordering,
    points_milli,
)
from tallystick_assessment.questions.paper import without_key
from tallystick_assessment.questions.responses import checked
from tallystick_assessment.scoring.domain import score, score_item, scored


@pytest.fixture
def items(document: dict[str, Any]) -> tuple[Item, ...]:
    return msgspec.json.decode(msgspec.json.encode(document), type=EvaluationDocument).items


@pytest.mark.parametrize(
    ("item", "response", "points"),
    [
        ("q1", "a", 2000),
        ("q1", "b", 0),
        ("q2", ["a", "c"], 2000),
        ("q2", ["a"], 1000),
        ("q2", ["a", "b"], 0),
        ("q2", ["b"], 0),
        ("q2", ["a", "b", "c"], 1000),
        ("q3", False, 1000),
        ("q3", True, 0),
        ("q4", "132.5", 1000),
        ("q4", "132.51", 0),
        ("q5", " hSTS\n", 1000),
        ("q5", "H STS", 0),
        ("q6", ["b", "a", "c"], 2000),
        ("q6", ["a", "b", "c"], 0),
        ("q7", {"1": "c", "2": "a"}, 2000),
        ("q7", {"1": "c"}, 1000),
        ("q7", {"1": "a", "2": "c"}, 0),
        ("q8", "An essay", 0),
        ("q9", ["a", "b"], 1000),
        ("q9", ["a"], 0),
    ],
)
def test_an_item_is_worth(items: tuple[Item, ...], item: str, response: object, points: int) -> None:
    found = next(one for one in items if one.id == item)
    assert score_item(found, checked(without_key(found), response)) == points


def test_an_essay_stays_out_of_the_total_and_no_answer_earns_nothing(items: tuple[Item, ...]) -> None:
    nothing = score(items, {}, 60)
    assert (nothing.points_milli, nothing.max_points_milli, nothing.passed) == (0, 12_000, False)
    assert "q8" not in nothing.items


def test_all_right_but_the_wrongly_keyed_item(items: tuple[Item, ...], right: dict[str, Any]) -> None:
    responses = {ItemId(item.id): checked(without_key(item), right[item.id]) for item in items}
    assert score(items, responses, 60).points_milli == 10_000


@pytest.mark.parametrize(("points", "passed"), [(5999, False), (6000, True), (6001, True)])
def test_the_pass_mark_is_exact(points: int, passed: bool) -> None:  # noqa: FBT001 - a table of cases
    assert scored({"q1": points}, 10_000, 60).passed is passed


OPTIONS = {name: name for name in "abcdef"}
names = st.sampled_from(sorted(OPTIONS))
multiple = st.builds(
    MultipleChoice,
    id=st.just("m"),
    points=st.integers(1, 1000),
    stem=st.just("?"),
    options=st.just(OPTIONS),
    key=st.sets(names, min_size=1).map(lambda key: tuple(sorted(key))),
    scoring=st.sampled_from(MultipleScoring),
)
ordering = st.builds(
    Ordering,
    id=st.just("o"),
    points=st.integers(1, 1000),
    stem=st.just("?"),
    options=st.just(OPTIONS),
    key=st.permutations(sorted(OPTIONS)).map(tuple),
)
matching = st.builds(
    Matching,
    id=st.just("x"),
    points=st.integers(1, 1000),
    stem=st.just("?"),
    left=st.just(OPTIONS),
    right=st.just(OPTIONS),
    key=st.fixed_dictionaries(dict.fromkeys(OPTIONS, names)),
)


@given(
    multiple | ordering | matching,
    st.sets(names).map(sorted) | st.permutations(sorted(OPTIONS)) | st.dictionaries(names, names) | st.none(),
)
def test_points_are_never_below_zero_nor_above_the_items(item: Item, response: Any) -> None:
    assert 0 <= score_item(item, response) <= points_milli(item)


@given(multiple | ordering | matching)
def test_the_key_itself_always_earns_full_points(item: Item) -> None:
    key = item.key if isinstance(item, Matching) else list(getattr(item, "key", ()))
    assert score_item(item, key) == points_milli(item)
