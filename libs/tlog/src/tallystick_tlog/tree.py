"""Perfect subtrees and compact ranges: the few hashes that stand for a run of leaves.

A compact range holds the roots of the largest aligned perfect subtrees of the leaves ``[start, end)``, left to right:
at most two for each level. A log's state is the range that starts at 0. Two adjacent ranges merge, so a long log can
be hashed in parts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from tallystick_tlog.errors import TreeError
from tallystick_tlog.hashing import EMPTY_ROOT, HASH_BYTES, node_hash

MAX_SIZE: Final = 2**63 - 1
"""Leaves in the largest tree this library handles; also what a Postgres bigint holds."""

STORED_LEVEL_STEP: Final = 8
"""A ledger keeps the hashes of levels 0, 8, 16 …: of leaves and of full subtrees of 256, 65,536 … leaves."""

_BOUND_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class NodeId:
    """One perfect subtree: ``level`` 0 is a leaf; it covers leaves ``[index << level, (index + 1) << level)``."""

    level: int
    index: int


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """``count`` consecutive nodes of one stored level, from ``first``, that fold into one perfect subtree."""

    level: int
    first: int
    count: int


def perfect_subtrees(start: int, end: int) -> list[NodeId]:
    """Split the leaves ``[start, end)`` into the largest aligned perfect subtrees, left to right.

    Raises:
        TreeError: not ``0 <= start <= end <= MAX_SIZE``.

    """
    nodes = []
    for level in _levels(start, end):
        nodes.append(NodeId(level, start >> level))
        start += 1 << level
    return nodes


def _levels(start: int, end: int) -> list[int]:
    if not 0 <= start <= end <= MAX_SIZE:
        message = f"no range of leaves from {start} to {end}"
        raise TreeError(message)
    levels = []
    while start < end:
        fits = (end - start).bit_length() - 1
        aligned = (start & -start).bit_length() - 1 if start else fits
        level = min(fits, aligned)
        levels.append(level)
        start += 1 << level
    return levels


def stored_span(node: NodeId) -> StoredSpan:
    """Say which stored nodes (of the level below that is a multiple of 8) make this one; 1 to 128 of them."""
    level = node.level - node.level % STORED_LEVEL_STEP
    shift = node.level - level
    return StoredSpan(level, node.index << shift, 1 << shift)


def fold_perfect(hashes: Sequence[bytes]) -> bytes:
    """Hash 2^k neighbouring nodes of one level, left to right, into the root of their perfect subtree.

    Raises:
        TreeError: their number is not a power of two.

    """
    count = len(hashes)
    if count == 0 or count & (count - 1):
        message = f"{count} hashes do not make a perfect subtree"
        raise TreeError(message)
    row = list(hashes)
    while len(row) > 1:
        row = _pair_up(row)
    return row[0]


def fold_ragged(hashes: Sequence[bytes]) -> bytes:
    """Hash perfect subtrees of falling size, left to right, into one root; the empty sequence gives EMPTY_ROOT."""
    if not hashes:
        return EMPTY_ROOT
    *rest, root = hashes
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


def _pair_up(row: Sequence[bytes]) -> list[bytes]:
    # Inlined node_hash: a million calls a million leaves are what a replay consists of.
    pairs = iter(row)
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The leaves ``[start, end)`` as the hashes of :func:`perfect_subtrees`, left to right."""

    start: int = 0
    end: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a wrong number of hashes, or hashes that are not 32 bytes."""
        if len(self.hashes) != len(_levels(self.start, self.end)):
            message = f"leaves {self.start} to {self.end} are not {len(self.hashes)} perfect subtrees"
            raise TreeError(message)
        if any(len(item) != HASH_BYTES for item in self.hashes):
            message = "a hash of a compact range is not 32 bytes"
            raise TreeError(message)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self.end - self.start

    def nodes(self) -> Iterator[tuple[NodeId, bytes]]:
        """Give each perfect subtree with its hash, left to right."""
        return zip(perfect_subtrees(self.start, self.end), self.hashes, strict=True)

    def append(self, leaf: bytes) -> Self:
        """Add one 32-byte leaf hash at the end."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """Add 32-byte leaf hashes at the end, hashing a whole level at a time."""
        row = list(leaves)
        end = self.end + len(row)
        # A subtree with an odd index is a right child whose sibling lies before the range: nothing added here can
        # join it. One with an even index waits for its right sibling.
        settled = [item for node, item in self.nodes() if node.index % 2]
        waiting = {node.level: item for node, item in self.nodes() if not node.index % 2}
        ragged: list[bytes] = []
        level, first = 0, self.end
        while row or waiting:
            left = waiting.pop(level, None)
            if left is not None:
                row.insert(0, left)
                first -= 1
            if row and first % 2:
                settled.append(row.pop(0))
                first += 1
            if len(row) % 2:
                ragged.append(row.pop())
            row = _pair_up(row)
            level, first = level + 1, first // 2
        return type(self)(self.start, end, (*settled, *reversed(ragged)))

    def merge(self, right: Self) -> Self:
        """Join the range that begins where this one ends.

        Raises:
            TreeError: it begins elsewhere.

        """
        if right.start != self.end:
            message = f"a range that starts at {right.start} does not continue one that ends at {self.end}"
            raise TreeError(message)
        levels, hashes, first = _levels(self.start, self.end), list(self.hashes), self.end
        for level, item in zip(_levels(right.start, right.end), right.hashes, strict=True):
            grown, node, begin = level, item, first
            # A node with an odd index is a right child: its sibling, if the range has it, is the last one there.
            while levels and levels[-1] == grown and begin >> grown & 1:
                node = node_hash(hashes.pop(), node)
                begin -= 1 << grown
                grown = levels.pop() + 1
            levels.append(grown)
            hashes.append(node)
            first += 1 << level
        return type(self)(self.start, right.end, tuple(hashes))

    def root(self) -> bytes:
        """Give the RFC 6962 tree head, 32 bytes.

        Raises:
            TreeError: the range does not start at leaf 0.

        """
        if self.start:
            message = "only a range that starts at leaf 0 has a tree root"
            raise TreeError(message)
        return fold_ragged(self.hashes)

    def to_bytes(self) -> bytes:
        """Serialise: start and end as 8 bytes each, big-endian, then the hashes."""
        bounds = self.start.to_bytes(_BOUND_BYTES, "big") + self.end.to_bytes(_BOUND_BYTES, "big")
        return bounds + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Undo :meth:`to_bytes`.

        Raises:
            TreeError: the bytes are not a compact range.

        """
        body = data[2 * _BOUND_BYTES :]
        if len(data) < 2 * _BOUND_BYTES or len(body) % HASH_BYTES:
            message = "the bytes are not a compact range"
            raise TreeError(message)
        start = int.from_bytes(data[:_BOUND_BYTES], "big")
        end = int.from_bytes(data[_BOUND_BYTES : 2 * _BOUND_BYTES], "big")
        return cls(start, end, tuple(body[at : at + HASH_BYTES] for at in range(0, len(body), HASH_BYTES)))
