"""Tiles and entry bundles of c2sp.org/tlog-tiles: names, widths, contents.

A tile has up to 256 consecutive hashes of one tree level: leaves at level 0, and at level L the roots of full tiles of
level L-1, that is of 256^L leaves each. A bundle has the entries behind one tile of level 0. What lies at a path never
changes: a tile grows by getting a new path, ``….p/<width>`` until it is full.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from tallystick_tlog.errors import TileError
from tallystick_tlog.hashing import HASH_BYTES
from tallystick_tlog.tree import MAX_SIZE, STORED_LEVEL_STEP, NodeId, fold_perfect, fold_ragged, perfect_subtrees

TILE_WIDTH: Final = 256
ENTRIES_LEVEL: Final = -1
"""The level of entry bundles, as Go's sumdb/tlog counts; their path says ``entries``."""

MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 65_535

_LENGTH_BYTES: Final = 2
_PATH: Final = re.compile(
    r"tile/(?P<level>entries|[0-9]|[1-5][0-9]|6[0-3])"
    r"/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place: ``level`` (or ENTRIES_LEVEL), ``index`` in the level, ``width`` in hashes or entries."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        """Refuse places that no tree has."""
        if not ENTRIES_LEVEL <= self.level <= MAX_LEVEL or not 0 <= self.index <= MAX_SIZE // TILE_WIDTH:
            message = f"there is no tile {self.index} at level {self.level}"
            raise TileError(message)
        if not 1 <= self.width <= TILE_WIDTH:
            message = f"a tile is 1 to {TILE_WIDTH} wide, not {self.width}"
            raise TileError(message)

    @property
    def is_full(self) -> bool:
        """Whether nothing more goes into it."""
        return self.width == TILE_WIDTH

    @property
    def first(self) -> int:
        """The index, in its level, of its first hash or entry."""
        return self.index * TILE_WIDTH

    @property
    def full(self) -> Self:
        """The same tile once it is full."""
        return replace(self, width=TILE_WIDTH)

    @property
    def path(self) -> str:
        """Its path below the log's prefix, such as ``tile/0/x001/x234/067.p/12``."""
        level = "entries" if self.level == ENTRIES_LEVEL else str(self.level)
        rest, last = divmod(self.index, 1000)
        index = f"{last:03}"
        while rest:
            rest, part = divmod(rest, 1000)
            index = f"x{part:03}/{index}"
        return f"tile/{level}/{index}" + ("" if self.is_full else f".p/{self.width}")

    @classmethod
    def parse(cls, path: str) -> Self:
        """Read a path; only the one spelling that :attr:`path` gives is accepted.

        Raises:
            TileError: it names no tile.

        """
        found = _PATH.fullmatch(path)
        if found is None:
            message = "the path names no tile"
            raise TileError(message)
        level = ENTRIES_LEVEL if found["level"] == "entries" else int(found["level"])
        index = int(found["index"].replace("/", "").replace("x", ""))
        tile = cls(level, index, int(found["width"] or TILE_WIDTH))
        if tile.path != path:
            message = "the path is not how a tile's path is written"
            raise TileError(message)
        return tile


def width_at(level: int, index: int, size: int) -> int:
    """Say how wide this tile is in the tree of ``size`` leaves: 0 (absent) to 256."""
    return min(max(_count_at(level, size) - index * TILE_WIDTH, 0), TILE_WIDTH)


def new_tiles(old_size: int, size: int) -> Iterator[Tile]:
    """Give the hash tiles that a tree of ``size`` has and one of ``old_size`` had not, level by level, left to right.

    Partial tiles that only sizes between would have are not among them.

    Raises:
        TileError: not ``0 <= old_size <= size <= MAX_SIZE``.

    """
    _check_growth(old_size, size)
    for level in range(MAX_LEVEL + 1):
        if not _count_at(level, size):
            return
        yield from _grown(level, old_size, size)


def new_bundles(old_size: int, size: int) -> Iterator[Tile]:
    """Give the entry bundles that a log of ``size`` has and one of ``old_size`` had not.

    Raises:
        TileError: not ``0 <= old_size <= size <= MAX_SIZE``.

    """
    _check_growth(old_size, size)
    yield from _grown(ENTRIES_LEVEL, old_size, size)


def edge_tiles(size: int) -> tuple[Tile, ...]:
    """Give the partial tiles of the tree, level by level: their hashes alone make its root."""
    counts = [_count_at(level, size) for level in range((size.bit_length() + 7) // 8)]
    return tuple(
        Tile(level, count // TILE_WIDTH, count % TILE_WIDTH) for level, count in enumerate(counts) if count % TILE_WIDTH
    )


def edge_root(size: int, edges: Sequence[Sequence[bytes]]) -> bytes:
    """Make the root of the tree of ``size`` leaves from the hashes of each of its :func:`edge_tiles`."""
    rows = {tile.level: (tile, row) for tile, row in zip(edge_tiles(size), edges, strict=True)}
    parts = []
    for node in perfect_subtrees(0, size):
        tile, row = rows[node.level // STORED_LEVEL_STEP]
        shift = node.level % STORED_LEVEL_STEP
        start = (node.index << shift) - tile.first
        parts.append(fold_perfect(row[start : start + (1 << shift)]))
    return fold_ragged(parts)


def holder(node: NodeId, size: int) -> tuple[Tile, slice]:
    """Say which tile of the tree of ``size`` leaves holds a perfect subtree, and which of its hashes fold into it.

    Raises:
        TileError: the subtree is not in that tree.

    """
    level, shift = divmod(node.level, STORED_LEVEL_STEP)
    index, start = divmod(node.index << shift, TILE_WIDTH)
    end = start + (1 << shift)
    width = width_at(level, index, size)
    if width < end:
        message = f"a tree of {size} leaves has no subtree {node.index} at level {node.level}"
        raise TileError(message)
    return Tile(level, index, width), slice(start, end)


def write_hashes(hashes: Sequence[bytes]) -> bytes:
    """Make a tile's content: 1 to 256 hashes of 32 bytes, one after the other.

    Raises:
        TileError: they do not make a tile.

    """
    if not 1 <= len(hashes) <= TILE_WIDTH or any(len(item) != HASH_BYTES for item in hashes):
        message = f"a tile has 1 to {TILE_WIDTH} hashes of {HASH_BYTES} bytes"
        raise TileError(message)
    return b"".join(hashes)


def read_hashes(tile: Tile, content: bytes) -> tuple[bytes, ...]:
    """Read a tile's content; a full tile also answers for a partial one, which a log need not keep.

    Raises:
        TileError: it is as long as neither.

    """
    if len(content) not in {tile.width * HASH_BYTES, TILE_WIDTH * HASH_BYTES}:
        message = f"{tile.path} has {len(content)} bytes instead of {tile.width * HASH_BYTES}"
        raise TileError(message)
    return tuple(content[at : at + HASH_BYTES] for at in range(0, tile.width * HASH_BYTES, HASH_BYTES))


def write_bundle(entries: Sequence[bytes]) -> bytes:
    """Make a bundle's content: 1 to 256 entries, each behind its length as two bytes, big-endian.

    Raises:
        TileError: there are more, none, or one is longer than 65,535 bytes.

    """
    if not 1 <= len(entries) <= TILE_WIDTH:
        message = f"a bundle has 1 to {TILE_WIDTH} entries, not {len(entries)}"
        raise TileError(message)
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        message = f"an entry has more than {MAX_ENTRY_BYTES} bytes"
        raise TileError(message)
    return b"".join([part for entry in entries for part in (len(entry).to_bytes(_LENGTH_BYTES, "big"), entry)])


def read_bundle(tile: Tile, content: bytes) -> list[bytes]:
    """Read a bundle's content; a full bundle also answers for a partial one, which a log need not keep.

    Raises:
        TileError: it is cut off, or has another number of entries.

    """
    entries: list[bytes] = []
    at, end = 0, len(content)
    while at < end and len(entries) <= TILE_WIDTH:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "big")
        if start > end or at > end:
            message = f"{tile.path} is cut off in its entry {len(entries)}"
            raise TileError(message)
        entries.append(content[start:at])
    if len(entries) not in {tile.width, TILE_WIDTH}:
        message = f"{tile.path} has {len(entries)} entries instead of {tile.width}"
        raise TileError(message)
    return entries[: tile.width]


def _count_at(level: int, size: int) -> int:
    """Count the hashes at a level of tiles: the full subtrees of 256^level leaves. For bundles, the entries."""
    return size >> (STORED_LEVEL_STEP * max(level, 0))


def _grown(level: int, old_size: int, size: int) -> Iterator[Tile]:
    old, count = _count_at(level, old_size), _count_at(level, size)
    for index in range(old // TILE_WIDTH, count // TILE_WIDTH):
        yield Tile(level, index)
    if count % TILE_WIDTH and count != old:
        yield Tile(level, count // TILE_WIDTH, count % TILE_WIDTH)


def _check_growth(old_size: int, size: int) -> None:
    if not 0 <= old_size <= size <= MAX_SIZE:
        message = f"a log of {old_size} entries cannot grow to {size}"
        raise TileError(message)
