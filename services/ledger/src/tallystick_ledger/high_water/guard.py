"""The gate between what the database says and what the ledger signs and hands out.

Two rules make a restore visible, whatever is killed between two steps:

- Nothing goes out above the mark. After a batch has committed and before its receipts are given, the mark is
  raised, durably; and whoever hands out a checkpoint, entries or their hashes raises the mark to them first.
- Nothing is signed on a log that does not continue its mark.

So a crash can leave a log a few batches ahead of its mark, and those were shown to nobody. A log that is behind its
mark, or beside it, has lost something that may have been shown: only a restored or edited database looks like that.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from tallystick_ledger.errors import LogFrozen, LogFrozenError
from tallystick_ledger.high_water.mark import NOTHING, Head, MarkMovedError, Verdict, judge
from tallystick_ledger.high_water.store import see_from_mark, show_from_mark
from tallystick_ledger.reading.store import get_checkpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import asyncpg
    from tallystick_chassis.transaction import Transaction
    from tallystick_tlog.tree import CompactRange

    from tallystick_ledger.logs.domain import Log

_JUDGEMENTS: Final = 4
"""How often a log is held against a mark that others raise meanwhile."""

log = structlog.get_logger(__name__)


class HighWater(Protocol):
    """Where marks are kept: outside the database, and not restored with it."""

    async def read(self, log_name: str) -> Head | None:
        """Return a log's mark, whichever process wrote it."""

    async def recall(self, log_name: str) -> Head | None:
        """Return what was a log's mark a second ago or later: for whoever sends the next batch of many."""

    async def read_all(self) -> Mapping[str, Head]:
        """Return every log's mark by the log's name."""

    async def raise_to(self, marks: Mapping[str, Head]) -> None:
        """Raise marks; they are durable when this returns. A mark that is higher already stays.

        Raises:
            OSError: it is not known that they are. Nothing that was signed above the old marks may go out.
            MarkMovedError: one of these, where another process raised the mark after it was read here.
            MarkConflictError: a log has a mark of this size and another root.
        """

    async def compact(self) -> bool:
        """Drop what is no longer needed, now and then; say that there is no more to do."""


class HighWaterGuard:
    """Refuses to go on with a log that does not continue its mark."""

    def __init__(self, marks: HighWater) -> None:
        self._marks = marks
        self._covered: dict[str, int] = {}
        """What was seen to lie below a log's mark: it does so for ever, for marks only rise."""

    async def admit(self, connection: asyncpg.Connection, ledger: Log, tree: CompactRange) -> None:
        """Check a log that the writer has locked, and raise its mark to it; ``tree`` is the log's.

        Raises:
            LogFrozenError: it does not continue its mark. Nothing may be signed or confirmed.
        """
        await _judging_again(partial(self._admit, connection, ledger, tree))

    async def _admit(self, connection: asyncpg.Connection, ledger: Log, tree: CompactRange) -> None:
        head = Head(ledger.size, tree.root())
        found = await self._marks.read(ledger.origin)
        mark = found or NOTHING
        if head == mark:
            return
        seen = await see_from_mark(connection, ledger, mark)
        verdict = judge(mark, head, root_at_mark=seen.root_at_mark, unmarked=seen.unmarked)
        if verdict.is_broken:
            raise LogFrozenError(ledger.origin, verdict, marked=mark.size, kept=head.size)
        if verdict is Verdict.AHEAD:
            # The first use with an old database, or marks that somebody took away: nothing older can be told apart.
            log.warning(
                "high_water_adopted", tenant=str(ledger.tenant), log_name=ledger.origin, size=head.size, mark=mark.size
            )
        await self.raise_to(ledger.origin, head)

    async def is_reached(self, origin: str, tree: CompactRange) -> bool:
        """Say whether a log that ends with ``tree`` has come as far as its mark; costs next to nothing.

        That the database's log does end so has to be found out otherwise, and that it had the mark's root before.
        Where the mark was raised by another process within this second, raising it after the batch says so.
        """
        mark = await self._marks.recall(origin) or NOTHING
        return mark.size < tree.end or mark == Head(tree.end, tree.root())

    async def marked_size(self, origin: str) -> int:
        """Return how far the log is marked: what lies below cannot become something else without its freezing."""
        return (await self._marks.recall(origin) or NOTHING).size

    async def show(self, tx: Transaction, ledger: Log, head: Head) -> None:
        """Let a checkpoint go out that was read from the database, after raising the mark to it.

        Raises:
            LogFrozen: its log does not continue its mark.
        """
        await _judging_again(partial(self._show, tx, ledger, head))

    async def _show(self, tx: Transaction, ledger: Log, head: Head) -> None:
        mark = await self._marks.read(ledger.origin) or NOTHING
        if head.size > mark.size:
            # The writer has committed it a moment ago, or was killed then.
            seen = await show_from_mark(tx, ledger, head, mark)
            verdict = judge(mark, head, root_at_mark=seen.root_at_mark, unmarked=seen.unmarked)
        else:
            verdict = Verdict.FORKED if head.size == mark.size and head.root != mark.root else Verdict.SOUND
        if verdict.is_broken:
            log.error("log_frozen", tenant=str(ledger.tenant), log_name=ledger.origin, reason=verdict.value)
            raise LogFrozen
        await self.raise_to(ledger.origin, head)

    async def cover(self, tx: Transaction, ledger: Log, until: int) -> None:
        """Let the log's first ``until`` entries go out, and what is made of them, after raising the mark beyond them.

        ``ledger`` is its row as ``tx`` reads it.

        Raises:
            LogFrozen: they lie above the mark, and the log does not continue it.
        """
        if not await self.is_covered(ledger.origin, until):
            # Only batches' ends are signed, so the mark goes to the log's.
            await self.show(tx, ledger, (await get_checkpoint(tx, ledger, ledger.size)).head)
            self._covered[ledger.origin] = max(ledger.size, self._covered.get(ledger.origin, 0))

    async def is_covered(self, origin: str, until: int) -> bool:
        """Say whether a log's first ``until`` entries lie below its mark; where they did before, nothing is read."""
        if until > self._covered.get(origin, 0):
            marked = await self.marked_size(origin)
            self._covered[origin] = max(marked, self._covered.get(origin, 0))
        return until <= self._covered.get(origin, 0)

    async def raise_to(self, origin: str, head: Head) -> None:
        """Raise one log's mark; call this before anything signed at ``head`` goes out."""
        if head.size:
            await self._marks.raise_to({origin: head})


async def _judging_again(judged: Callable[[], Awaitable[None]]) -> None:
    for _ in range(_JUDGEMENTS - 1):
        try:
            return await judged()
        except MarkMovedError:
            continue
    return await judged()
