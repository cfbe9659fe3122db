"""The tree as the writer grows it, against the tree as RFC 6962 defines it."""

from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_chassis.ids import TenantId
from tallystick_contracts.envelope import encode_event
from tallystick_contracts.generated.identity import TenantCreated
from tallystick_contracts.message import LogKind
from tallystick_ledger.logs.domain import Log, LogId, Period
from tallystick_ledger.writing.arrival import read_event
from tallystick_ledger.writing.batch import StoredNode, chain, grow
from tallystick_tlog import build_line, leaf_hash, parse_entry
from tallystick_tlog.tree import CompactRange, NodeId, fold_perfect

TENANT = TenantId(UUID(int=7))


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


def test_the_lines_are_those_that_the_library_builds() -> None:
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    log = Log(TENANT, LogId(TENANT), LogKind.AUDIT, Period("2026-11"), "ledger.test/a", 7, leaf(0), at, at, None)
    arrivals = tuple(
        read_event(
            TENANT,
            seq,
            encode_event(
                TenantCreated(slug=f"t{seq}", name="Ä \u2028"),
                id=uuid4(),
                source="identity",
                stream="tenant",
                stream_version=seq,
                time=at,
                actor="identity",
            ),
        )
        for seq in (4, 5, 6)
    )
    lines, leaves = chain(log, arrivals, at)
    prev = log.head
    for n, (line, hashed) in enumerate(zip(lines, leaves, strict=True)):
        built = build_line(arrivals[n].body, log.origin, prev, "2026-11-21T12:00:00.000000Z", 7 + n, 4 + n)
        assert line == built
        assert parse_entry(line).seq == 7 + n
        prev = leaf_hash(line)
        assert hashed == prev
