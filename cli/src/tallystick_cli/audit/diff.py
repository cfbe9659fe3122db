"""Comparing two exports of one log: how far they agree, where they part, and what each has beyond."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from tallystick_tlog import (
    Checkpoint,
    CheckpointError,
    CompactRange,
    NoteError,
    VerifierKey,
    leaf_hash,
    read_checkpoint,
    to_base64,
)

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.sources import CHECKPOINT, LogSource
from tallystick_cli.audit.verify import check_signature
from tallystick_cli.audit.walk import bare_lines

_MAX_SHOWN = 4_000


class DiffSide(msgspec.Struct, frozen=True):
    """One export: entries in its file, entries its checkpoint counts, and whether they are the checkpoint's."""

    source: str
    entries: int
    checkpoint_size: int
    beyond: int
    matches_checkpoint: bool
    line: str | None
    """Its first line that differs, cut after 4,000 characters; None where it has ended."""


class Diff(msgspec.Struct, frozen=True):
    """The comparison; ``common_root`` is the base64 root of the ``common`` entries."""

    verdict: Literal["same", "prefix", "fork"]
    log: str
    common: int
    common_root: str
    differing_fields: tuple[str, ...]
    a: DiffSide
    b: DiffSide
    problems: tuple[str, ...]


class _Side:
    def __init__(self, source: LogSource, name: str, keys: tuple[VerifierKey, ...], advance: Advance) -> None:
        self.source, self.name = source, name
        note = source.read_small(CHECKPOINT)
        try:
            self.checkpoint: Checkpoint = read_checkpoint(note)
        except (NoteError, CheckpointError) as error:
            message = f"the checkpoint of {name} is not one: {error}"
            raise AuditError(message) from error
        findings = check_signature(note, keys, f"the checkpoint of {name}") if keys else []
        self.problems = [finding.message for finding in findings]
        self.tree = CompactRange()
        self._chunks: Iterator[list[bytes]] = bare_lines(source, 2**62, advance)
        self.held: list[bytes] = []
        self.root_at_checkpoint: bytes | None = self.tree.root() if not self.checkpoint.size else None

    def fill(self) -> bool:
        """Have lines at hand; False at the end."""
        while not self.held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self.held = chunk
        return True

    def take(self, count: int) -> None:
        """Move past lines, hashing them."""
        lines, self.held = self.held[:count], self.held[count:]
        leaves = [leaf_hash(line) for line in lines]
        before = leaves[: max(self.checkpoint.size - self.tree.end, 0)]
        self.tree = self.tree.extend(before)
        if before and self.tree.end == self.checkpoint.size:
            self.root_at_checkpoint = self.tree.root()
        self.tree = self.tree.extend(leaves[len(before) :])

    def finish(self, common: int, line: bytes | None) -> DiffSide:
        """Go on to the end."""
        while self.fill():
            self.take(len(self.held))
        matches = self.tree.end == self.checkpoint.size and self.root_at_checkpoint == self.checkpoint.root
        if not matches:
            self.problems.append(f"the entries of {self.name} are not the {self.checkpoint.size} of its checkpoint")
        shown = None if line is None else line.decode("utf-8", "replace")[:_MAX_SHOWN]
        return DiffSide(
            source=self.source.name,
            entries=self.tree.end,
            checkpoint_size=self.checkpoint.size,
            beyond=self.tree.end - common,
            matches_checkpoint=matches,
            line=shown,
        )


def compare(first: LogSource, second: LogSource, keys: tuple[VerifierKey, ...], advance: Advance) -> Diff:
    """Read two exports side by side.

    Raises:
        AuditError: one cannot be read, or they are of two logs.

    """
    a, b = _Side(first, "A", keys, advance), _Side(second, "B", keys, advance)
    if a.checkpoint.origin != b.checkpoint.origin:
        message = f"A is of log {a.checkpoint.origin}, B of {b.checkpoint.origin}"
        raise AuditError(message)
    while a.fill() and b.fill():
        count = min(len(a.held), len(b.held))
        if a.held[:count] != b.held[:count]:
            count = next(at for at in range(count) if a.held[at] != b.held[at])
            a.take(count)
            b.take(count)
            break
        a.take(count)
        b.take(count)
    common, root = a.tree.end, a.tree.root()
    line_a, line_b = (side.held[0] if side.fill() else None for side in (a, b))
    forked = line_a is not None and line_b is not None
    fields = _differing(line_a, line_b) if line_a is not None and line_b is not None else ()
    shown_a, shown_b = a.finish(common, line_a), b.finish(common, line_b)
    return Diff(
        verdict="fork" if forked else "same" if line_a is line_b else "prefix",
        log=a.checkpoint.origin,
        common=common,
        common_root=to_base64(root),
        differing_fields=fields,
        a=shown_a,
        b=shown_b,
        problems=(*a.problems, *b.problems),
    )


def _differing(line_a: bytes, line_b: bytes) -> tuple[str, ...]:
    """Name the fields in which two entries differ, dotted."""
    try:
        return tuple(_walk(msgspec.json.decode(line_a), msgspec.json.decode(line_b), ""))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ()  # both lines are shown


def _walk(value_a: object, value_b: object, path: str) -> Iterator[str]:
    if isinstance(value_a, dict) and isinstance(value_b, dict):
        for key in sorted(value_a.keys() | value_b.keys()):
            yield from _walk(value_a.get(key), value_b.get(key), f"{path}.{key}" if path else key)
    elif value_a != value_b:
        yield path
