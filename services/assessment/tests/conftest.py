"""What every test of assessment starts from: a document with one item of each type, and right answers to it."""

from typing import Any

import pytest

RIGHT: dict[str, Any] = {
    "q1": "b",
    "q2": ["a", "c"],
    "q3": False,
    "q4": 132,
    "q5": " hsts ",
    "q6": ["b", "a", "c"],
    "q7": {"1": "c", "2": "a"},
    "q8": "Two risks.",
    "q9": ["a", "b"],
}


@pytest.fixture
def document() -> dict[str, Any]:
    """Return a document whose q1 is keyed wrongly: b is right, a is keyed. 12 points can be scored."""
    options = {"a": "First", "b": "Second", "c": "Third"}
    return {
        "slug": "secure-development",
        "title": "Secure Development",
        "language": "en",
        "pass_mark_percent": 60,
        "time_limit_minutes": 40,
        "alignments": [{"framework": "ASVS 5.0", "code": "V1", "name": "Encoding and sanitization"}],
        "items": [
            {"id": "q1", "type": "single_choice", "points": 2, "stem": "Which?", "options": options, "key": ["a"]},
            {
                "id": "q2",
                "type": "multiple_choice",
                "points": 2,
                "scoring": "partial_no_negative",
                "stem": "Which ones?",
                "options": options,
                "key": ["a", "c"],
            },
            {"id": "q3", "type": "true_false", "points": 1, "stem": "Is it so?", "key": [False]},
            {"id": "q4", "type": "numeric", "points": 1, "stem": "How many?", "key": {"value": 132, "tolerance": 0.5}},
            {
                "id": "q5",
                "type": "short_text",
                "points": 1,
                "stem": "Name it.",
                "accept": ["HSTS", "Strict-Transport-Security"],
                "normalise": ["trim", "casefold"],
            },
            {"id": "q6", "type": "ordering", "points": 2, "stem": "Order.", "options": options, "key": ["b", "a", "c"]},
            {
                "id": "q7",
                "type": "matching",
                "points": 2,
                "stem": "Match.",
                "left": {"1": "One", "2": "Two"},
                "right": {"a": "A", "c": "C"},
                "key": {"1": "c", "2": "a"},
            },
            {
                "id": "q8",
                "type": "essay",
                "points": 4,
                "stem": "Describe.",
                "rubric": [{"id": "r1", "points": 4, "text": "Two risks"}],
            },
            {
                "id": "q9",
                "type": "multiple_choice",
                "points": 1,
                "stem": "All of which?",
                "options": options,
                "key": ["a", "b"],
            },
        ],
    }


@pytest.fixture
def right() -> dict[str, Any]:
    """Return the right response to every item, whatever the document's keys say."""
    return dict(RIGHT)
