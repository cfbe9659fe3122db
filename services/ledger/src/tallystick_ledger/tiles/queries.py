"""A tile's or bundle's content, from the stored leaf hashes, subtree hashes and lines: each is one range of one table.

A partial tile stays available when the log has grown past it: it is the beginning of the fuller one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick_tlog import ENTRIES_LEVEL, Tile, TileError, width_at, write_bundle
from tallystick_tlog.tree import STORED_LEVEL_STEP

from tallystick_ledger.errors import LedgerStateError, TileNotFound
from tallystick_ledger.reading.store import get_lines
from tallystick_ledger.reading.subtrees import read_hashes

if TYPE_CHECKING:
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.logs.domain import Log


def read_tile_name(name: str) -> Tile:
    """Read what follows the log's address, such as ``tile/0/000.p/5``.

    Raises:
        TileNotFound: it names no tile.
    """
    try:
        return Tile.parse(name)
    except TileError as error:
        raise TileNotFound from error


def entries_below(tile: Tile) -> int:
    """Return how long a log must be for the tile to be in it."""
    hashes = tile.first + tile.width
    return hashes if tile.level == ENTRIES_LEVEL else hashes << (tile.level * STORED_LEVEL_STEP)


async def tile_content(tx: Transaction, log: Log, tile: Tile) -> bytes:
    """Return a tile's hashes or a bundle's entries, as c2sp.org/tlog-tiles writes them.

    Raises:
        TileNotFound: the log is not that long.
    """
    if width_at(tile.level, tile.index, log.size) < tile.width:
        raise TileNotFound
    first, end = tile.first, tile.first + tile.width
    if tile.level != ENTRIES_LEVEL:
        (hashes,) = await read_hashes(tx, log, [(tile.level * STORED_LEVEL_STEP, first, end)])
        return hashes
    lines = await get_lines(tx, log, first, end)
    if len(lines) == tile.width:
        return write_bundle([line.line for line in lines])
    msg = f"log {log.origin} lacks a part of {tile.path} below its size"
    raise LedgerStateError(msg)
