"""Turning fresh arrivals into lines, leaves, tree hashes and a signed checkpoint. Pure, but for the key that signs."""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from tallystick_tlog.checkpoint import Checkpoint, sign_checkpoint
from tallystick_tlog.entry import format_recorded
from tallystick_tlog.tree import STORED_LEVEL_STEP, CompactRange, NodeId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tallystick_tlog.note import Signer

    from tallystick_ledger.logs.domain import Log
    from tallystick_ledger.writing.arrival import Arrival

_TILE_WIDTH: Final = 1 << STORED_LEVEL_STEP


class StoredNode(NamedTuple):
    """The hash of one full subtree of 256, 65,536 … leaves."""

    node: NodeId
    hash: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one transaction adds to one log: entries ``[start, size)`` and what the tree gains by them.

    ``lines`` and ``leaves`` (32 bytes each) go with ``arrivals``.
    """

    log: Log
    recorded: datetime
    arrivals: tuple[Arrival, ...]
    lines: list[bytes]
    leaves: list[bytes]
    nodes: list[StoredNode]
    before: CompactRange
    frontier: CompactRange
    root: bytes
    note: str

    @property
    def start(self) -> int:
        """The log's size before."""
        return self.log.size

    @property
    def size(self) -> int:
        """The log's size after."""
        return self.frontier.end


def build_batch(
    log: Log, frontier: CompactRange, arrivals: tuple[Arrival, ...], recorded: datetime, *signers: Signer
) -> Batch:
    """Number the arrivals, chain their lines, grow the tree and sign its new head by all ``signers``."""
    lines, leaves = chain(log, arrivals, recorded)
    grown, nodes = grow(frontier, leaves)
    root = grown.root()
    note = sign_checkpoint(Checkpoint(log.origin, grown.end, root), *signers)
    return Batch(log, recorded, arrivals, lines, leaves, nodes, frontier, grown, root, note.decode())


def chain(log: Log, arrivals: Sequence[Arrival], recorded: datetime) -> tuple[list[bytes], list[bytes]]:
    """Return the lines and their leaf hashes: what ``build_line`` gives, with what all share made once."""
    before_prev = f',"log":"{log.origin}","prev":"'.encode()
    before_seq = f'","recorded":"{format_recorded(recorded)}","seq":'.encode()
    prev = log.head
    lines, leaves = [], []
    for seq, arrival in enumerate(arrivals, start=log.size):
        line = b'{"event":%b%b%b%b%d,"source_seq":%d,"v":1}' % (
            arrival.body,
            before_prev,
            b2a_base64(prev, newline=False),
            before_seq,
            seq,
            arrival.source_seq,
        )
        prev = sha256(b"\x00" + line).digest()
        lines.append(line)
        leaves.append(prev)
    return lines, leaves


def grow(frontier: CompactRange, leaves: Sequence[bytes]) -> tuple[CompactRange, list[StoredNode]]:
    """Append leaves to the tree and collect every full subtree of a stored level that they complete.

    Each node is hashed once: the leaves go into ranges of one tile each, and the ranges are merged.
    """
    known = dict(frontier.nodes())
    split = frontier.end - frontier.end % _TILE_WIDTH
    grown = CompactRange(0, split, tuple(item for node, item in known.items() if node.level >= STORED_LEVEL_STEP))
    tile = CompactRange(
        split, frontier.end, tuple(item for node, item in known.items() if node.level < STORED_LEVEL_STEP)
    )
    completed: list[bytes] = []
    rest = leaves
    while True:
        room = split + _TILE_WIDTH * (len(completed) + 1) - tile.end
        tile = tile.extend(rest[:room])
        grown = grown.merge(tile)
        if len(rest) < room:
            break
        completed += tile.hashes
        rest = rest[room:]
        tile = CompactRange(tile.end, tile.end)
    return grown, _name_nodes(known, split >> STORED_LEVEL_STEP, completed)


def _name_nodes(known: dict[NodeId, bytes], first: int, completed: list[bytes]) -> list[StoredNode]:
    """Name the completed nodes of level 8, and complete those of levels 16, 24 … from them."""
    nodes: list[StoredNode] = []
    level = STORED_LEVEL_STEP
    while completed:
        nodes += [StoredNode(NodeId(level, first + n), item) for n, item in enumerate(completed)]
        begin = first - first % _TILE_WIDTH
        tile = CompactRange(
            begin, first, tuple(item for node, item in known.items() if 0 <= node.level - level < STORED_LEVEL_STEP)
        )
        row, completed = completed, []
        while len(row) >= begin + _TILE_WIDTH - tile.end:
            room = begin + _TILE_WIDTH - tile.end
            completed += tile.extend(row[:room]).hashes
            row = row[room:]
            begin += _TILE_WIDTH
            tile = CompactRange(begin, begin)
        first >>= STORED_LEVEL_STEP
        level += STORED_LEVEL_STEP
    return nodes
