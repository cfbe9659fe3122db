"""The evaluation document as an author writes it, and what makes one valid."""

from typing import Annotated

import msgspec

from tallystick_assessment.questions.items import Item, Label, item_faults, points_milli
from tallystick_assessment.refusals import DocumentInvalid, Fault


class Alignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What outside framework the evaluation answers to."""

    framework: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class EvaluationDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole evaluation: title, pass mark, time limit and items with their keys."""

    slug: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
    title: Label
    language: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
    pass_mark_percent: Annotated[int, msgspec.Meta(ge=1, le=100)]
    time_limit_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)]
    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1, max_length=200)]
    alignments: Annotated[tuple[Alignment, ...], msgspec.Meta(max_length=50)] = ()


def check(document: EvaluationDocument) -> None:
    """Raise DocumentInvalid, with a pointer for every fault, unless the document holds together."""
    faults = [fault for index, item in enumerate(document.items) for fault in item_faults(item, f"/items/{index}")]
    seen: set[str] = set()
    for index, item in enumerate(document.items):
        if item.id in seen:
            faults.append(Fault(f"/items/{index}/id", "is used by an earlier item"))
        seen.add(item.id)
    if not any(points_milli(item) for item in document.items):
        faults.append(Fault("/items", "needs at least one item that is scored"))
    if faults:
        raise DocumentInvalid(faults=faults)
