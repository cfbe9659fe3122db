"""The verifying client of a tiled log: it believes a tile when the signed root says so, and not before.

Fetching is the caller's: a function from a tile to its content, over HTTP, from a folder, from a cache. The tiles at
the tree's right edge make the root together; every other tile is full and its root stands in the tile above it.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tallystick_tlog.errors import TileMismatchError
from tallystick_tlog.hashing import leaf_hash
from tallystick_tlog.proof import assemble_proof, plan_consistency, plan_inclusion
from tallystick_tlog.tile import (
    ENTRIES_LEVEL,
    Tile,
    edge_root,
    edge_tiles,
    holder,
    read_bundle,
    read_hashes,
)
from tallystick_tlog.tree import NodeId, fold_perfect

Fetch = Callable[[Tile], bytes]
"""Gives the content at a tile's path, or at its full path where a partial one is no longer kept."""

_Row = tuple[bytes, ...]
_NO_ROW: Final[tuple[int, _Row]] = (-1, ())


class TileReader:
    """One log at one size whose root the caller trusts, read tile by tile in constant memory."""

    def __init__(self, size: int, root: bytes, fetch: Fetch) -> None:
        """Fetch the right edge and compare it with the root.

        Raises:
            TileError: a tile is malformed.
            TileMismatchError: the edge makes another root.

        """
        self._fetch = fetch
        self._edges = {tile: read_hashes(tile, fetch(tile)) for tile in edge_tiles(size)}
        # The last full tile read of each level: readers go from left to right.
        self._recent: dict[int, tuple[int, _Row]] = {}
        self.size = size
        if edge_root(size, list(self._edges.values())) != root:
            message = f"the tiles at the right edge do not make the root of {size} entries"
            raise TileMismatchError(message)

    def hashes(self, tile: Tile) -> _Row:
        """Give a tile's hashes, authenticated. The tile is as wide as it is at this size.

        Raises:
            TileError: the tile is malformed.
            TileMismatchError: it is not in the signed tree.

        """
        edge = self._edges.get(tile)
        if edge is not None:
            return edge
        index, row = self._recent.get(tile.level, _NO_ROW)
        if index == tile.index and tile.is_full:
            return row
        above, place = holder(NodeId((tile.level + 1) * 8, tile.index), self.size)
        expected = self.hashes(above)[place.start]
        row = read_hashes(tile, self._fetch(tile))
        if not tile.is_full or fold_perfect(row) != expected:
            message = f"{tile.path} is not in the signed tree"
            raise TileMismatchError(message)
        self._recent[tile.level] = (tile.index, row)
        return row

    def entries(self, bundle: Tile) -> list[bytes]:
        """Give a bundle's entries, each compared with its leaf hash.

        Raises:
            TileError: the bundle or a tile is malformed.
            TileMismatchError: an entry is not the one that was hashed, or a tile is not in the signed tree.

        """
        leaves = self.hashes(Tile(0, bundle.index, bundle.width))
        entries = read_bundle(bundle, self._fetch(bundle))
        for place, (entry, leaf) in enumerate(zip(entries, leaves, strict=True)):
            if leaf_hash(entry) != leaf:
                message = f"entry {bundle.first + place} in {bundle.path} is not the one in the signed tree"
                raise TileMismatchError(message)
        return entries

    def entry(self, index: int) -> bytes:
        """Give one entry, authenticated.

        Raises:
            TileError, TileMismatchError: as :meth:`entries`.

        """
        tile, _ = holder(NodeId(0, index), self.size)
        return self.entries(Tile(ENTRIES_LEVEL, tile.index, tile.width))[index - tile.first]

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Make the proof that leaf ``index`` is in this tree.

        Raises:
            ProofError: there is no such leaf.
            TileError, TileMismatchError: as :meth:`hashes`.

        """
        return self._prove(plan_inclusion(index, self.size))

    def consistency_proof(self, old_size: int) -> list[bytes]:
        """Make the proof that this tree extends that of ``old_size`` leaves.

        Raises:
            ProofError: ``old_size`` is 0 or above this tree's.
            TileError, TileMismatchError: as :meth:`hashes`.

        """
        return self._prove(plan_consistency(old_size, self.size))

    def _prove(self, plan: Sequence[Sequence[NodeId]]) -> list[bytes]:
        nodes = {node for element in plan for node in element}
        return assemble_proof(plan, {node: self._node(node) for node in nodes})

    def _node(self, node: NodeId) -> bytes:
        tile, place = holder(node, self.size)
        return fold_perfect(self.hashes(tile)[place])
