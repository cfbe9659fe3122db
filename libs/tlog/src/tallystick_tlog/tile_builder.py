"""Building a log's tiles leaf by leaf, in constant memory."""

from collections.abc import Sequence

from tallystick_tlog.tile import TILE_WIDTH, Tile, edge_root, edge_tiles
from tallystick_tlog.tree import fold_perfect


class TileBuilder:
    """A tree that grows leaf by leaf and hands out each tile as it fills; it holds one unfinished tile a level."""

    def __init__(self, size: int = 0, edges: Sequence[Sequence[bytes]] = ()) -> None:
        """Begin at ``size`` with the hashes of each of its :func:`edge_tiles`."""
        self.size = size
        self._rows: list[list[bytes]] = []
        for tile, row in zip(edge_tiles(size), edges, strict=True):
            self._rows += [[] for _ in range(len(self._rows), tile.level + 1)]
            self._rows[tile.level] = list(row)

    def append(self, leaf: bytes) -> list[tuple[Tile, tuple[bytes, ...]]]:
        """Add one leaf hash; return the tiles that it fills, lowest first, with their hashes."""
        filled = []
        item, index = leaf, self.size
        self.size += 1
        for level in range(len(self._rows) + 1):
            if level == len(self._rows):
                self._rows.append([])
            row = self._rows[level]
            row.append(item)
            if len(row) < TILE_WIDTH:
                break
            index //= TILE_WIDTH
            filled.append((Tile(level, index), tuple(row)))
            item = fold_perfect(row)
            row.clear()
        return filled

    def edges(self) -> list[tuple[Tile, tuple[bytes, ...]]]:
        """Give the unfinished tiles, lowest first, with their hashes."""
        return [(tile, tuple(self._rows[tile.level])) for tile in edge_tiles(self.size)]

    def root(self) -> bytes:
        """Give the RFC 6962 root of what was added so far."""
        return edge_root(self.size, [row for _, row in self.edges()])
