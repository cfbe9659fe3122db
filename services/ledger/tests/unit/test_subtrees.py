"""Subtree hashes out of remembered tiles are those that hashing everything gives, at every size a log has had."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.reading import subtrees
from tallystick_ledger.reading.subtrees import Subtrees
from tallystick_tlog import NodeId, fold_perfect, leaf_hash, perfect_subtrees

LEAVES = [leaf_hash(b"%d" % n) for n in range(1_200)]


class Stored:
    """Stands where the transaction does: answers for whole ranges, and counts the questions."""

    def __init__(self, missing: NodeId | None = None) -> None:
        self.asked = 0
        self._missing = missing

    async def execute(self, _: object, wanted: dict[str, Any]) -> list[tuple[bytes | None]]:
        self.asked += 1
        spans = zip(wanted["levels"], wanted["firsts"], wanted["ends"], strict=True)
        return [(b"".join(map(self._hash, self._nodes(*span))) or None,) for span in spans]

    def _nodes(self, level: int, first: int, end: int) -> list[NodeId]:
        return [node for n in range(first, end) if (node := NodeId(level, n)) != self._missing]

    @staticmethod
    def _hash(node: NodeId) -> bytes:
        return naive(node)


def naive(node: NodeId) -> bytes:
    first = node.index << node.level
    return fold_perfect(LEAVES[first : first + (1 << node.level)])


def log_of(size: int, log_id: object = None) -> Any:
    return SimpleNamespace(tenant=uuid4(), id=log_id or uuid4(), origin="log.example/x", size=size)


@given(st.lists(st.integers(1, len(LEAVES)), min_size=1, max_size=4), st.data())
async def test_every_subtree_is_the_naive_one_while_the_log_grows(sizes: list[int], data: st.DataObject) -> None:
    reader, stored, log_id = Subtrees(), Stored(), uuid4()
    for size in sorted(sizes):
        start = data.draw(st.integers(0, size - 1))
        nodes = set(perfect_subtrees(start, size))
        assert await reader.read(stored, log_of(size, log_id), nodes) == {node: naive(node) for node in nodes}


async def test_what_was_read_once_is_not_read_again_and_a_grown_tile_is() -> None:
    reader, stored, log_id = Subtrees(), Stored(), uuid4()
    for size, asked in ((300, 1), (300, 1), (301, 2), (512, 3)):
        await reader.read(stored, log_of(size, log_id), {NodeId(0, 299)})
        assert stored.asked == asked
    await reader.read(stored, log_of(512), {NodeId(0, 299)})
    assert stored.asked == 4, "another log's"


async def test_the_least_recent_tiles_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtrees, "MOST_REMEMBERED", 2)
    reader, stored, log = Subtrees(), Stored(), log_of(1_024)
    for leaf, asked in ((0, 1), (256, 2), (0, 2), (512, 3), (0, 3), (256, 4)):
        await reader.read(stored, log, {NodeId(0, leaf)})
        assert stored.asked == asked


async def test_a_hash_that_is_not_there_is_said_and_not_remembered() -> None:
    reader, log = Subtrees(), log_of(600)
    for _ in range(2):
        with pytest.raises(LedgerStateError, match="lacks hashes of level 0"):
            await reader.read(Stored(missing=NodeId(0, 520)), log, {NodeId(0, 599)})
    assert (await reader.read(Stored(), log, {NodeId(0, 599)})) == {NodeId(0, 599): LEAVES[599]}


async def test_a_subtree_that_ends_beyond_the_log_is_refused() -> None:
    with pytest.raises(LedgerStateError, match="beyond its log"):
        await Subtrees().read(Stored(), log_of(300), {NodeId(7, 2)})
