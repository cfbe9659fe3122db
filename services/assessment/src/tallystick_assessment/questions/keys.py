"""Keys: what an item's key is, and the item with another one."""

import msgspec

from tallystick_assessment.questions.items import (
    Essay,
    Item,
    ShortText,
    item_faults,
)
from tallystick_assessment.refusals import Fault, KeyInvalid


def key_of(item: Item) -> object:
    """Return the item's key as builtins, in the form that ``with_key`` takes; None for an essay."""
    match item:
        case Essay():
            return None
        case ShortText():
            return list(item.accept)
        case _:
            return msgspec.json.decode(msgspec.json.encode(item.key))


def with_key(item: Item, key: object) -> Item:
    """Return the item with another key, given as the evaluation document spells it (for a short text: ``accept``).

    Raises KeyInvalid, with pointers below ``/new_key``.
    """
    if isinstance(item, Essay):
        raise KeyInvalid(faults=[Fault("/item_id", "an essay has no key")])
    field = "accept" if isinstance(item, ShortText) else "key"
    document = msgspec.to_builtins(item) | {field: key}
    try:
        changed = msgspec.convert(document, type(item), strict=True)
    except msgspec.ValidationError as error:
        # The library's sentence may quote the key, so it is not passed on.
        raise KeyInvalid(faults=[Fault("/new_key", "does not have the form of this item's key")]) from error
    faults = [Fault(fault.pointer.replace("/key", "/new_key", 1), fault.detail) for fault in item_faults(changed, "")]
    if faults:
        raise KeyInvalid(faults=faults)
    return changed
