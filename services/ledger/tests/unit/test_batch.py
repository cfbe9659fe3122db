"""The tree as the writer grows it, against the tree as RFC 6962 defines it."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_ledger.writing.batch import StoredNode, grow
from tallystick_tlog.tree import CompactRange, NodeId, fold_perfect


def leaf(number: int) -> bytes:
    return sha256(str(number).encode()).digest()


def naive_nodes(size: int) -> dict[NodeId, bytes]:
    """Every full subtree of 256 and 65,536 leaves, from the leaves alone."""
    return {
        NodeId(level, index): fold_perfect([leaf(n) for n in range(index << level, (index + 1) << level)])
        for level in (8, 16)
        for index in range(size >> level)
    }


@given(st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_growing_in_batches_gives_the_tree_and_the_tiles_of_growing_at_once(batches: list[int]) -> None:
    frontier, nodes = CompactRange(), list[StoredNode]()
    for count in batches:
        frontier, new = grow(frontier, [leaf(n) for n in range(frontier.end, frontier.end + count)])
        nodes += new
    size = sum(batches)
    assert frontier == CompactRange().extend([leaf(n) for n in range(size)])
    assert dict(nodes) == naive_nodes(size)
    assert len(nodes) == len(dict(nodes)), "a stored node is completed once"


@pytest.mark.parametrize("step", [1_000, 65_536, 50_001])
def test_the_levels_above_are_completed_too(step: int) -> None:
    size = 65_536 * 2 + 300
    frontier, nodes = CompactRange(), list[StoredNode]()
    while frontier.end < size:
        until = min(size, frontier.end + step)
        frontier, new = grow(frontier, [leaf(n) for n in range(frontier.end, until)])
        nodes += new
    assert dict(nodes) == naive_nodes(size)
    assert frontier == CompactRange().extend([leaf(n) for n in range(size)])
