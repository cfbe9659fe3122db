"""The end of a log as the writer remembers it, so that the next batch can be built before the database is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from tallystick_tlog.tree import CompactRange

    from tallystick_ledger.logs.domain import Log
    from tallystick_ledger.writing.arrival import Feed
    from tallystick_ledger.writing.batch import Batch


@dataclass(frozen=True, slots=True)
class Tail:
    """What the next entries of a log depend on. ``heads`` has the last number of the feeds met so far (0: none yet).

    It is a guess, which the database checks: another writer may have been there.
    """

    log: Log
    frontier: CompactRange
    heads: Mapping[Feed, int]

    def after(self, batch: Batch) -> Self:
        """Return the tail that ``batch`` leaves."""
        log = replace(self.log, size=batch.size, head=batch.leaves[-1], last_recorded=batch.recorded)
        reached = {arrival.feed: arrival.source_seq for arrival in batch.arrivals}
        return replace(self, log=log, frontier=batch.frontier, heads={**self.heads, **reached})
