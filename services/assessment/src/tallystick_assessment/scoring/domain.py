"""What a response is worth, and what a set of responses is worth; all integers, all pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from tallystick_assessment.questions.items import (
    Essay,
    Item,
    ItemId,
    Matching,
    MultipleChoice,
    MultipleScoring,
    Normalisation,
    Numeric,
    Ordering,
    ShortText,
    SingleChoice,
    TrueFalse,
    points_milli,
)
from tallystick_assessment.questions.responses import Response


class Score(msgspec.Struct, frozen=True):
    """The points of one submission at one version, in thousandths; ``items`` adds up to ``points_milli``."""

    points_milli: int
    max_points_milli: int
    passed: bool
    items: dict[str, int]


def score_item(item: Item, response: Response | None) -> int:  # noqa: PLR0911 - one return for each type of item
    """Return the points for a checked response in thousandths, from 0 to the item's; no response earns nothing."""
    full = points_milli(item)
    if response is None:
        return 0
    match item:
        case SingleChoice():
            return full if response in item.key else 0
        case MultipleChoice():
            return _multiple(item, frozenset(response) if isinstance(response, list) else frozenset(), full)
        case TrueFalse():
            return full if isinstance(response, bool) and response in item.key else 0
        case Numeric():
            near = isinstance(response, str) and abs(Decimal(response) - item.key.value) <= item.key.tolerance
            return full if near else 0
        case ShortText():
            return full if isinstance(response, str) and _accepted(item, response) else 0
        case Ordering():
            return full if isinstance(response, list) and tuple(response) == item.key else 0
        case Matching():
            pairs = response if isinstance(response, dict) else {}
            return full * sum(pairs.get(left) == right for left, right in item.key.items()) // len(item.key)
        case Essay():
            return 0


def score(items: Sequence[Item], responses: Mapping[ItemId, Response], pass_mark_percent: int) -> Score:
    """Return the score of a whole submission; ``pass_mark_percent`` is 0 to 100 of the points that can be scored."""
    in_total = [item for item in items if not isinstance(item, Essay)]
    earned = {item.id: score_item(item, responses.get(ItemId(item.id))) for item in in_total}
    return scored(earned, sum(map(points_milli, in_total)), pass_mark_percent)


def scored(items: Mapping[str, int], max_points_milli: int, pass_mark_percent: int) -> Score:
    """Return the score that these points per item make; the pass mark is met in exact integer arithmetic."""
    total = sum(items.values())
    return Score(
        points_milli=total,
        max_points_milli=max_points_milli,
        passed=total * 100 >= pass_mark_percent * max_points_milli,
        items=dict(items),
    )


def _multiple(item: MultipleChoice, chosen: frozenset[str], full: int) -> int:
    key = frozenset(item.key)
    if item.scoring is MultipleScoring.ALL_OR_NOTHING:
        return full if chosen == key else 0
    return full * max(0, len(chosen & key) - len(chosen - key)) // len(key)


def _accepted(item: ShortText, response: str) -> bool:
    return _normal(item, response) in {_normal(item, accepted) for accepted in item.accept}


def _normal(item: ShortText, text: str) -> str:
    for step in item.normalise:
        match step:
            case Normalisation.TRIM:
                text = text.strip()
            case Normalisation.CASEFOLD:
                text = text.casefold()
            case Normalisation.COLLAPSE_SPACES:
                text = " ".join(text.split())
    return text
