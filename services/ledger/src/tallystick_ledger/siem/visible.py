"""What of an event's data may leave the house: the fields that its contract calls P0 or P1, and nothing else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tallystick_contracts.message import PiiClass
from tallystick_contracts.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_contracts.message import EventType

_Tree = dict[str, Any]
"""Field names as JSON has them: a leaf that may leave is an empty tree, a message the tree of its fields."""


def visible_data(kind: EventType, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that may leave. A field that the contract does not name is left out."""
    return _visible(data, _allowed(kind.type, kind.version))


@cache
def _allowed(event_type: str, version: int) -> _Tree:
    tree: _Tree = {}
    for path, pii in REGISTRY.by_name(event_type, version).pii.items():
        if pii in {PiiClass.P0, PiiClass.P1}:
            at = tree
            for part in path.split("."):
                at = at.setdefault(_json_name(part), {})
    return tree


def _visible(value: Mapping[str, Any], tree: _Tree) -> dict[str, Any]:
    return {name: _part(part, tree[name]) for name, part in value.items() if name in tree}


def _part(value: object, tree: _Tree) -> object:
    if isinstance(value, list):
        return [_part(one, tree) for one in value]
    # A message under a leaf would be one that the contract says nothing of: its fields are left out.
    return _visible(value, tree) if isinstance(value, dict) else value


def _json_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
