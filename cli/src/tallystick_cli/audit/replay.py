"""Replaying a log entry by entry, and naming the first that does not hold."""

import re
from typing import Final, Self

import msgspec
from tallystick_tlog import (
    FIRST_PREV,
    CompactRange,
    Entry,
    EntryError,
    KeyHistory,
    RotationError,
    leaf_hash,
    parse_entry,
)

from tallystick_cli.audit.blocks import Block
from tallystick_cli.audit.dropped import MAX_NOTES, DroppedLog, dropped_in
from tallystick_cli.audit.fast import Digest, Series, digest
from tallystick_cli.audit.findings import Code, Finding
from tallystick_cli.audit.key_history import TYPES, KeptRotation, statement_of

MAX_SERIES: Final = 4_096
"""Number series (source and aggregate) in one log: a bound on memory that no real log comes near."""

MAX_NAME: Final = 512
"""Characters of a source's and an aggregate's names together: with the bound above, no more than some megabytes."""

_CONTINUED_LOG: Final = re.compile(r".*/(audit-[0-9]{4}-[0-9]{2}([.][0-9]+)?|compliance[.][0-9]+)")


class Suspicion(msgspec.Struct, frozen=True):
    """A broken link between the log's last two entries, which only the signed root can pin on one of them.

    If ``amended``, the root with the hash that the last entry claims for the one before it, is the signed one, then
    the entry before was changed; else the last one was.
    """

    amended: bytes
    if_amended: Finding
    otherwise: Finding


class ReplayState(msgspec.Struct, frozen=True):
    """Where a replay stands, to be kept: ``tree`` is :meth:`CompactRange.to_bytes`, ``leaf`` the last leaf's hash.

    ``first_leaf`` is empty where it was kept by an older version.
    """

    log: str
    tree: bytes
    leaf: bytes
    recorded: str
    series: tuple[Series, ...]
    rotations: tuple[KeptRotation, ...] = ()
    first_leaf: bytes = b""
    dropped: tuple[DroppedLog, ...] = ()


class Replay:
    """The state of a replay: everything before ``tree.end`` holds.

    ``finding`` is the first thing that does not; after it nothing more is replayed. ``first_leaf`` is the hash of the
    log's first entry, empty as long as none is known.
    """

    def __init__(self, log: str, kept_sizes: frozenset[int] = frozenset()) -> None:
        """Begin at the first entry of ``log``; remember the roots at ``kept_sizes``."""
        self.log = log
        self.history = KeyHistory(log)
        self.tree = CompactRange()
        self.finding: Finding | None = None
        self.suspicion: Suspicion | None = None
        self.roots = {0: self.tree.root()}
        self.dropped: tuple[DroppedLog, ...] = ()
        self.first_leaf = b""
        self._kept_sizes = kept_sizes
        self._rotations: tuple[KeptRotation, ...] = ()
        self._leaf = FIRST_PREV
        self._recorded = ""
        self._numbers: dict[tuple[str, str], int] = {}
        self._first_numbers: dict[tuple[str, str], int] = {}
        # An audit log is one month of a series that goes on over the months, a successor goes on after a break: they
        # may begin at any number.
        self._starts_at_one = not _CONTINUED_LOG.fullmatch(log)

    def add(self, block: Block, known: Digest | None = None) -> None:
        """Replay one block; ``known`` is its digest, if another process has already made it."""
        found = known or (None if block.cut else digest(block.data, self.log))
        if found is None or not self.accept(found):
            self._replay(block)

    def accept(self, found: Digest) -> bool:
        """Go on over a digested block if it continues the replay without a doubt; else change nothing."""
        start, end = self.tree.end, found.tree.end
        numbers = {(item.source, item.aggregate): item for item in found.series}
        if (
            found.tree.start != start
            or found.first_prev != self._leaf
            or found.first_recorded < self._recorded
            or any(start < size <= end for size in self._kept_sizes)
            or any(item.first != self._next_number(key, item.first) for key, item in numbers.items())
            or len(self._numbers.keys() | numbers.keys()) > MAX_SERIES
            or any(len(source) + len(aggregate) > MAX_NAME for source, aggregate in numbers)
        ):
            return False
        if not start:
            self.first_leaf = found.first_leaf
        self.tree = self.tree.merge(found.tree)
        self._leaf, self._recorded = found.last_leaf, found.last_recorded
        self._numbers.update((key, item.last) for key, item in numbers.items())
        for key, item in numbers.items():
            self._first_numbers.setdefault(key, item.first)
        if found.dropped:
            self._note(found.dropped)
        return True

    def series(self) -> tuple[Series, ...]:
        """List each source and aggregate with the first and last number seen, all numbers between included."""
        return tuple(Series(*key, self._first_numbers[key], last) for key, last in sorted(self._numbers.items()))

    def continued(self) -> tuple[str, ...]:
        """Name the series that do not begin here, with their first numbers."""
        return tuple(f"{one.source}/{one.aggregate} goes on at {one.first}" for one in self.series() if one.first > 1)

    def state(self) -> ReplayState:
        """Say where the replay stands; only of use while nothing has been found."""
        return ReplayState(
            self.log,
            self.tree.to_bytes(),
            self._leaf,
            self._recorded,
            self.series(),
            self._rotations,
            self.first_leaf,
            self.dropped,
        )

    @classmethod
    def resume(cls, state: ReplayState) -> Self:
        """Go on where another replay stood; the next entry is the one after its tree.

        Raises:
            TreeError: the state's tree is not one.
            RotationError: a kept rotation does not hold.

        """
        replay = cls(state.log)
        for kept in state.rotations:
            replay.history = replay.history.add(kept.seq, kept.statement)
        replay._rotations = state.rotations
        replay.tree = CompactRange.from_bytes(state.tree)
        replay.roots = {replay.tree.end: replay.tree.root()}
        replay._leaf, replay._recorded, replay.first_leaf = state.leaf, state.recorded, state.first_leaf
        replay.dropped = state.dropped
        replay._numbers = {(item.source, item.aggregate): item.last for item in state.series}
        replay._first_numbers = {(item.source, item.aggregate): item.first for item in state.series}
        return replay

    def _replay(self, block: Block) -> None:
        whole = block.data.endswith(b"\n")
        lines = block.data.split(b"\n")
        if whole:
            lines.pop()
        leaves: list[bytes] = []
        for offset, line in enumerate(lines):
            is_last = offset == len(lines) - 1
            following = block.following if is_last else lines[offset + 1]
            entry = self._read(line, len(leaves), whole=whole or not is_last)
            if entry is not None:
                self._check(entry, line, following, leaves)
            if entry is None or self.finding is not None or self.suspicion is not None:
                break
            self._leaf, self._recorded = leaf_hash(line), entry.recorded
            if not entry.seq:
                self.first_leaf = self._leaf
            key = entry.event.source, entry.event.aggregate
            self._numbers[key] = entry.source_seq
            self._first_numbers.setdefault(key, entry.source_seq)
            leaves.append(self._leaf)
            self._note(dropped_in(line))
            if self.tree.end + len(leaves) in self._kept_sizes:
                self.tree, leaves = self.tree.extend(leaves), []
                self.roots[self.tree.end] = self.tree.root()
        self.tree = self.tree.extend(leaves)

    def _note(self, dropped: tuple[DroppedLog, ...]) -> None:
        self.dropped = (self.dropped + dropped)[:MAX_NOTES]

    def _read(self, line: bytes, ahead: int, *, whole: bool) -> Entry | None:
        try:
            entry = parse_entry(line)
        except EntryError as error:
            if whole or error.code == "size":
                self._find(ahead, "size" if error.code == "size" else "format", str(error))
                return None
            entry = None
        if not whole:
            self._find(ahead, "truncated", "the last line does not end in a line feed")
            return None
        return entry

    def _check(self, entry: Entry, line: bytes, following: bytes | None, leaves: list[bytes]) -> None:
        ahead, expected = len(leaves), self.tree.end + len(leaves)
        key = entry.event.source, entry.event.aggregate
        number = self._next_number(key, entry.source_seq)
        if entry.log != self.log:
            self._find(ahead, "log", f"the entry is of log {entry.log}, the checkpoint of {self.log}")
        elif entry.seq != expected:
            what = "entries are missing or moved" if entry.seq > expected else "an entry is repeated or moved"
            self._find(ahead, "order", f"seq is {entry.seq} where {expected} is due: {what}")
        elif entry.prev != self._leaf:
            self._blame(entry, line, following, leaves)
        elif entry.recorded < self._recorded:
            self._find(ahead, "time", f"recorded goes back from {self._recorded} to {entry.recorded}")
        elif entry.source_seq != number:
            name = f"{key[0]}/{key[1]}"[:200]
            self._find(ahead, "source_gap", f"source_seq of {name} is {entry.source_seq} where {number} is due")
        elif len(key[0]) + len(key[1]) > MAX_NAME:
            self._find(ahead, "format", f"the names of a source and an aggregate have more than {MAX_NAME} characters")
        elif key not in self._numbers and len(self._numbers) >= MAX_SERIES:
            self._find(ahead, "format", f"the log has more than {MAX_SERIES} sources and aggregates")
        elif entry.event.type in TYPES:
            self._rotate(expected, line, ahead)

    def _rotate(self, seq: int, line: bytes, ahead: int) -> None:
        """Follow a rotation of the key that signs the checkpoints."""
        try:
            statement = statement_of(line)
            self.history = self.history.add(seq, statement)
        except RotationError as error:
            self._find(ahead, "key", str(error))
            return
        self._rotations = (*self._rotations, KeptRotation(seq, statement))

    def _blame(self, entry: Entry, line: bytes, following: bytes | None, leaves: list[bytes]) -> None:
        """Find out which end of a broken link was changed: the entry before, or this one's ``prev``."""
        ahead = len(leaves)
        changed = f"entry {entry.seq} records another hash of it: its bytes were changed"
        broken = "prev is not the 32 zero bytes of a first entry"
        if entry.seq:
            broken = f"prev is not the hash of entry {entry.seq - 1}: this entry was changed, or both were"
        this = self._at(ahead, "chain", broken)
        before = self._at(ahead - 1, "hash", changed)
        if entry.seq == 0:
            self.finding = this
        elif following is not None:
            self.finding = before if _prev_of(following) == leaf_hash(line) else this
        else:
            # Take back the last leaf; the reader sees to it that the log's last block has the last two entries.
            if not leaves:
                self.finding = before
                return
            amended = self.tree.extend([*leaves[:-1], entry.prev, leaf_hash(line)])
            self.suspicion = Suspicion(amended.root(), before, this)

    def _next_number(self, key: tuple[str, str], given: int) -> int:
        known = self._numbers.get(key)
        if known is not None:
            return known + 1
        return 1 if self._starts_at_one else given

    def _find(self, ahead: int, code: Code, message: str) -> None:
        self.finding = self._at(ahead, code, message)

    def _at(self, ahead: int, code: Code, message: str) -> Finding:
        seq = self.tree.end + ahead
        return Finding(code, message, seq=seq, line=seq + 1)


def _prev_of(line: bytes) -> bytes | None:
    try:
        return parse_entry(line).prev
    except EntryError:
        return None
