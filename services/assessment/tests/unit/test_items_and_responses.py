"""What an item may be, and what may be answered to it."""

from typing import Any

import msgspec
import pytest
from tallystick_assessment.canonical import canonical_json
from tallystick_assessment.evaluations.document import EvaluationDocument, check
from tallystick_assessment.questions.items import Item
from tallystick_assessment.questions.keys import key_of, with_key
from tallystick_assessment.questions.paper import without_key
from tallystick_assessment.questions.responses import checked
from tallystick_assessment.refusals import DocumentInvalid, KeyInvalid, ResponseInvalid


def parsed(document: dict[str, Any]) -> EvaluationDocument:
    """Read a document as the API does: from JSON text."""
    return msgspec.json.decode(msgspec.json.encode(document), type=EvaluationDocument)


@pytest.fixture
def items(document: dict[str, Any]) -> dict[str, Item]:
    return {item.id: item for item in parsed(document).items}


def test_a_good_document_is_accepted(document: dict[str, Any]) -> None:
    check(parsed(document))


@pytest.mark.parametrize(
    ("item", "field", "value", "pointer"),
    [
        (0, "key", ["z"], "/items/0/key/0"),
        (0, "key", [], "/items/0/key"),
        (1, "key", ["a", "a"], "/items/1/key"),
        (2, "key", [True, False], "/items/2/key"),
        (3, "key", {"value": 1, "tolerance": -1}, "/items/3/key"),
        (3, "key", {"value": "NaN"}, "/items/3/key"),
        (5, "key", ["a", "b"], "/items/5/key"),
        (6, "key", {"1": "c"}, "/items/6/key"),
        (6, "key", {"1": "c", "2": "z"}, "/items/6/key"),
        (7, "rubric", [{"id": "r", "points": 3, "text": "x"}], "/items/7/rubric"),
        (1, "id", "q1", "/items/1/id"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused_with_a_pointer(
    document: dict[str, Any], item: int, field: str, value: object, pointer: str
) -> None:
    document["items"][item][field] = value
    with pytest.raises(DocumentInvalid) as caught:
        check(parsed(document))
    assert pointer in [fault.pointer for fault in caught.value.faults]


def test_a_document_of_essays_alone_is_refused(document: dict[str, Any]) -> None:
    document["items"] = document["items"][7:8]
    with pytest.raises(DocumentInvalid):
        check(parsed(document))


@pytest.mark.parametrize(
    ("item", "response", "canonical"),
    [
        ("q1", "b", "b"),
        ("q2", ["c", "a"], ["a", "c"]),
        ("q2", [], []),
        ("q3", False, False),
        ("q4", 132, "132"),
        ("q4", "132.50", "132.5"),
        ("q4", 0.1, "0.1"),
        ("q5", " x ", " x "),
        ("q6", ["b", "a", "c"], ["b", "a", "c"]),
        ("q7", {"2": "a"}, {"2": "a"}),
        ("q8", "An essay.", "An essay."),
    ],
)
def test_a_response_in_the_items_form_is_taken(
    items: dict[str, Item], item: str, response: object, canonical: object
) -> None:
    assert checked(without_key(items[item]), response) == canonical


@pytest.mark.parametrize(
    ("item", "response", "pointer"),
    [
        ("q1", ["b"], "/response"),
        ("q1", "z", "/response"),
        ("q2", "a", "/response"),
        ("q2", ["a", "z"], "/response/1"),
        ("q2", ["a", "a"], "/response"),
        ("q3", "false", "/response"),
        ("q3", 0, "/response"),
        ("q4", "many", "/response"),
        ("q4", True, "/response"),
        ("q4", "1e999", "/response"),
        ("q4", "Infinity", "/response"),
        ("q5", 5, "/response"),
        ("q5", "x" * 501, "/response"),
        ("q5", "a\x00b", "/response"),
        ("q6", ["a", "b"], "/response"),
        ("q7", {"1": "z"}, "/response/1"),
        ("q7", {"9": "a"}, "/response"),
        ("q7", [], "/response"),
        ("q8", None, "/response"),
    ],
)
def test_a_response_in_another_form_is_refused_with_a_pointer(
    items: dict[str, Item], item: str, response: object, pointer: str
) -> None:
    with pytest.raises(ResponseInvalid) as caught:
        checked(without_key(items[item]), response)
    assert [fault.pointer for fault in caught.value.faults] == [pointer]


def test_a_paper_never_holds_what_only_the_author_may_see(items: dict[str, Item]) -> None:
    for item in items.values():
        assert not {"key", "accept", "normalise", "tolerance", "rubric", "scoring"} & set(
            msgspec.to_builtins(without_key(item))
        )


def test_a_new_key_replaces_the_old_one_and_leaves_the_rest(items: dict[str, Item]) -> None:
    assert key_of(with_key(items["q1"], ["b"])) == ["b"]
    assert key_of(with_key(items["q5"], ["SBOM"])) == ["SBOM"]
    assert with_key(with_key(items["q6"], ["a", "b", "c"]), ["b", "a", "c"]) == items["q6"]
    assert canonical_json(with_key(items["q4"], {"value": 7})) != canonical_json(items["q4"])


@pytest.mark.parametrize(
    ("item", "key"),
    [("q1", "b"), ("q1", ["z"]), ("q3", []), ("q4", 7), ("q5", []), ("q6", ["a"]), ("q7", {}), ("q8", ["a"])],
)
def test_a_key_of_another_form_is_refused(items: dict[str, Item], item: str, key: object) -> None:
    with pytest.raises(KeyInvalid) as caught:
        with_key(items[item], key)
    assert caught.value.faults
