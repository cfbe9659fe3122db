"""Hashes of perfect subtrees: read a tile at a time, as one row, and remembered.

A tile is 256 neighbouring hashes of a stored level, or as many as there are; all nodes of the eight levels above them
follow from it. What a tile of one width holds never changes, so what was read once need not be read again. Nothing here
says who may see a hash: whoever asks has found the log's row in its own scope first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text
from tallystick_tlog import HASH_BYTES, NodeId, node_hash, stored_span
from tallystick_tlog.tree import STORED_LEVEL_STEP

from tallystick_ledger.errors import LedgerStateError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log, LogId

_TILE_WIDTH: Final = 1 << STORED_LEVEL_STEP
MOST_REMEMBERED: Final = 2_048
"""Tiles; one takes 16 kB."""

# A subquery for each range: each is one walk along the primary key, whatever the planner knows of the tables' sizes.
_HASHES: Final = text("""
select case
    when span.level = 0 then (
        select string_agg(entries.leaf_hash, ''::bytea order by entries.seq) from ledger.entries
        where
            entries.tenant_id = :tenant and entries.log_id = :log
            and entries.seq >= span.first and entries.seq < span.until
    )
    else (
        select string_agg(tree_hashes.hash, ''::bytea order by tree_hashes.index) from ledger.tree_hashes
        where
            tree_hashes.tenant_id = :tenant and tree_hashes.log_id = :log and tree_hashes.level = span.level
            and tree_hashes.index >= span.first and tree_hashes.index < span.until
    )
end
from unnest(
    cast(:levels as smallint[]), cast(:firsts as bigint[]), cast(:ends as bigint[])
) with ordinality as span (level, first, until, place)
order by span.place
""")

Tile = tuple[int, int, int]
"""Stored level (0, 8, 16 …), first node, end."""


class Subtrees:
    """The hashes of one process's readers."""

    def __init__(self) -> None:
        self._remembered: dict[tuple[LogId, Tile], tuple[bytes, ...]] = {}

    async def read(self, tx: Transaction, log: Log, nodes: Collection[NodeId]) -> dict[NodeId, bytes]:
        """Return the hashes (32 bytes each) of perfect subtrees of the log's entries.

        Raises:
            LedgerStateError: the log lacks one, or a subtree ends beyond its size.
        """
        tiles = {node: _tile_of(node, log.size) for node in nodes}
        known = {tile: rows for tile in set(tiles.values()) if (rows := self._recall(log.id, tile)) is not None}
        missing = sorted(set(tiles.values()) - known.keys())
        if missing:
            for tile, hashes in zip(missing, await read_hashes(tx, log, missing), strict=True):
                known[tile] = self._remembered[log.id, tile] = tuple(_rows(hashes))
            while len(self._remembered) > MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
        return {node: _cut(known[tile], tile, node) for node, tile in tiles.items()}

    def _recall(self, log: LogId, tile: Tile) -> tuple[bytes, ...] | None:
        rows = self._remembered.pop((log, tile), None)
        if rows is not None:
            self._remembered[log, tile] = rows  # the newest is last
        return rows


async def read_hashes(tx: Transaction, log: Log, tiles: Collection[Tile]) -> list[bytes]:
    """Return the stored hashes of each tile, one after the other.

    Raises:
        LedgerStateError: the log lacks one.
    """
    levels, firsts, ends = zip(*tiles, strict=True)
    wanted = {"tenant": log.tenant, "log": log.id, "levels": levels, "firsts": firsts, "ends": ends}
    found: list[bytes] = [row[0] or b"" for row in await tx.execute(_HASHES, wanted)]
    for (level, first, end), hashes in zip(tiles, found, strict=True):
        if len(hashes) != (end - first) * HASH_BYTES:
            msg = f"log {log.origin} lacks hashes of level {level} between {first} and {end}, below its size"
            raise LedgerStateError(msg)
    return found


def _tile_of(node: NodeId, size: int) -> Tile:
    span = stored_span(node)
    first = span.first - span.first % _TILE_WIDTH
    return span.level, first, min(first + _TILE_WIDTH, size >> span.level)


def _rows(hashes: bytes) -> Iterable[bytes]:
    """Give the tile's own hashes, and level by level what they fold into."""
    while hashes:
        yield hashes
        pairs = range(0, len(hashes) - HASH_BYTES, 2 * HASH_BYTES)
        hashes = b"".join(
            node_hash(hashes[at : at + HASH_BYTES], hashes[at + HASH_BYTES : at + 2 * HASH_BYTES]) for at in pairs
        )


def _cut(rows: tuple[bytes, ...], tile: Tile, node: NodeId) -> bytes:
    height = node.level - tile[0]
    at = (node.index - (tile[1] >> height)) * HASH_BYTES
    found = rows[height][at : at + HASH_BYTES] if height < len(rows) else b""
    if not found:
        msg = f"subtree {node} ends beyond its log"
        raise LedgerStateError(msg)
    return found
