"""The high-water mark of a log, and what it says about the log that the database has. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tallystick_tlog.tree import CompactRange


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """How far a log has come: its number of entries and the root (32 bytes) of their tree."""

    size: int
    root: bytes


NOTHING: Final = Head(0, CompactRange().root())
"""The head of an empty log."""


class MarkConflictError(Exception):
    """Two trees of one size were signed for a log. The first mark stays."""


class MarkMovedError(OSError):
    """Another process has raised the mark since this one held the log against it: that has to be done again."""


MOST_UNMARKED: Final = 4
"""Batches that a kill may leave unmarked: a writer has two of a log in hand, and may be killed twice in a row."""


class Verdict(StrEnum):
    """What the database's log is, held against its mark."""

    SOUND = "sound"
    AHEAD = "ahead"
    """It goes on from the mark by more batches than a crash can leave unmarked: the mark was lost."""
    BEHIND = "behind"
    """It ends before the mark: an older backup was restored, or its tail was cut off."""
    FORKED = "forked"
    """It does not have the mark's tree at the mark's size: another history was signed."""

    @property
    def is_broken(self) -> bool:
        """Whether nothing may be signed on top of this log."""
        return self in {Verdict.BEHIND, Verdict.FORKED}


def judge(mark: Head, head: Head, *, root_at_mark: bytes | None, unmarked: int) -> Verdict:
    """Hold a log's ``head`` against its ``mark``.

    ``root_at_mark`` is the root that the database has signed at the mark's size, ``None`` if it has no
    such checkpoint; ``unmarked`` the number of its checkpoints beyond that. Both matter only where ``head`` is beyond.
    """
    if head.size < mark.size:
        return Verdict.BEHIND
    if head.size == mark.size:
        return Verdict.SOUND if head.root == mark.root else Verdict.FORKED
    if mark.size and root_at_mark != mark.root:
        return Verdict.FORKED
    return Verdict.SOUND if unmarked <= MOST_UNMARKED else Verdict.AHEAD
