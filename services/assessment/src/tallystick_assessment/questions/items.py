"""The eight kinds of item an evaluation can hold, and the rules that make one valid."""

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, NewType

import msgspec

from tallystick_assessment.refusals import Fault

ItemId = NewType("ItemId", str)

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Points = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Options = Annotated[dict[Name, Label], msgspec.Meta(min_length=2, max_length=50)]


class MultipleScoring(StrEnum):
    """How a multiple choice is scored.

    ``partial_no_negative``: each right choice earns a share, each wrong one takes a share away, never below zero.
    ``all_or_nothing``: full points for exactly the keyed set.
    """

    PARTIAL_NO_NEGATIVE = "partial_no_negative"
    ALL_OR_NOTHING = "all_or_nothing"


class Normalisation(StrEnum):
    """What is done to a short text and to its accepted answers before they are compared."""

    TRIM = "trim"
    CASEFOLD = "casefold"
    COLLAPSE_SPACES = "collapse_spaces"


class _Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    id: Name
    points: Points
    stem: Text


class SingleChoice(_Item, frozen=True, kw_only=True, tag="single_choice"):
    """One option is chosen; any keyed one is right."""

    options: Options
    key: tuple[Name, ...]


class MultipleChoice(_Item, frozen=True, kw_only=True, tag="multiple_choice"):
    """Any number of options is chosen."""

    options: Options
    key: tuple[Name, ...]
    scoring: MultipleScoring = MultipleScoring.ALL_OR_NOTHING


class TrueFalse(_Item, frozen=True, kw_only=True, tag="true_false"):
    """A statement that holds or does not."""

    key: tuple[bool, ...]


class NumericKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The right number and how far off still counts, inclusive."""

    value: Decimal
    tolerance: Decimal = Decimal(0)


class Numeric(_Item, frozen=True, kw_only=True, tag="numeric"):
    """A number within a tolerance."""

    key: NumericKey


class ShortText(_Item, frozen=True, kw_only=True, tag="short_text"):
    """A word or two, compared after normalisation."""

    accept: Annotated[tuple[Label, ...], msgspec.Meta(min_length=1, max_length=100)]
    normalise: tuple[Normalisation, ...] = ()


class Ordering(_Item, frozen=True, kw_only=True, tag="ordering"):
    """All options in the right order; all or nothing."""

    options: Options
    key: tuple[Name, ...]


class Matching(_Item, frozen=True, kw_only=True, tag="matching"):
    """Each left one is given a right one; every right pair earns its share."""

    left: Annotated[dict[Name, Label], msgspec.Meta(min_length=1, max_length=50)]
    right: Options
    key: dict[Name, Name]


class Criterion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a grader looks for in an essay."""

    id: Name
    points: Points
    text: Label


class Essay(_Item, frozen=True, kw_only=True, tag="essay"):
    """Free text for a grader; unscored and out of the total until graders exist."""

    rubric: Annotated[tuple[Criterion, ...], msgspec.Meta(max_length=20)] = ()


Item = SingleChoice | MultipleChoice | TrueFalse | Numeric | ShortText | Ordering | Matching | Essay


def item_type(item: Item) -> str:
    """Return the item's type as the document spells it, for example ``single_choice``."""
    return str(type(item).__struct_config__.tag)


def points_milli(item: Item) -> int:
    """Return what the item adds to the total, in thousandths of a point; an essay adds nothing."""
    return 0 if isinstance(item, Essay) else item.points * 1000


def item_faults(item: Item, pointer: str) -> Iterator[Fault]:
    """Yield what contradicts itself in an item that already has the right form; ``pointer`` says where it stands."""
    key = f"{pointer}/key"
    match item:
        case SingleChoice() | MultipleChoice():
            yield from _choice_faults(item, key)
        case TrueFalse() if len(item.key) != 1:
            yield Fault(key, "needs exactly one of true and false")
        case Numeric(key=NumericKey(value=value, tolerance=tolerance)):
            if not value.is_finite() or not tolerance.is_finite() or tolerance < 0:
                yield Fault(key, "needs a finite value and a tolerance of zero or more")
        case Ordering() if sorted(item.key) != sorted(item.options):
            yield Fault(key, "must name every option once")
        case Matching():
            yield from _matching_faults(item, key)
        case Essay() if item.rubric and sum(criterion.points for criterion in item.rubric) != item.points:
            yield Fault(f"{pointer}/rubric", "its points must add up to the item's")
        case _:
            pass


def _choice_faults(item: SingleChoice | MultipleChoice, pointer: str) -> Iterator[Fault]:
    for index, name in enumerate(item.key):
        if name not in item.options:
            yield Fault(f"{pointer}/{index}", "names no option of this item")
    if not item.key or len(set(item.key)) != len(item.key):
        yield Fault(pointer, "needs at least one option and none twice")


def _matching_faults(item: Matching, pointer: str) -> Iterator[Fault]:
    if set(item.key) != set(item.left):
        yield Fault(pointer, "must match every left side once")
    if not set(item.key.values()) <= set(item.right):
        yield Fault(pointer, "names no right side of this item")
