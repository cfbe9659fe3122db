"""What a candidate may see of an item."""

import msgspec

from tallystick_assessment.questions.items import Item, Matching, MultipleChoice, Ordering, SingleChoice, item_type


class PaperItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item without key, accepted answers, tolerance or rubric; there is no field that could hold one."""

    id: str
    type: str
    points: int
    stem: str
    options: dict[str, str] = {}
    left: dict[str, str] = {}
    right: dict[str, str] = {}


def without_key(item: Item) -> PaperItem:
    """Return the item as it stands on a candidate's paper."""
    options = item.options if isinstance(item, SingleChoice | MultipleChoice | Ordering) else {}
    left, right = (item.left, item.right) if isinstance(item, Matching) else ({}, {})
    return PaperItem(
        id=item.id, type=item_type(item), points=item.points, stem=item.stem, options=options, left=left, right=right
    )
