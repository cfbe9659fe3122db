"""The worker's job that fills the index behind the writer, log by log, in the entries' order.

A chunk and the cursor behind it are one transaction, under a lock on the cursor: whatever dies or runs twice, each
entry is indexed once. Every log that is behind gets one chunk a round, so a long one does not hold back the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.search import store

if TYPE_CHECKING:
    from tallystick_chassis.database import DutyDatabase

    from tallystick_ledger.search.store import Behind

CHUNK_ENTRIES: Final = 2_000
LOGS_AT_ONCE: Final = 200

log = structlog.get_logger(__name__)


class Indexer:
    """Copies what can be searched for from the entries to the index, for any tenant, as the service's duty role."""

    def __init__(self, duty: DutyDatabase, *, chunk_entries: int = CHUNK_ENTRIES) -> None:
        self._duty = duty
        self._chunk_entries = chunk_entries

    async def step(self) -> bool:
        """Index a chunk of each log that is behind; say whether there is more."""
        async with self._duty.duty() as connection:
            behind = await store.find_behind(connection, LOGS_AT_ONCE)
        more = len(behind) == LOGS_AT_ONCE
        for one in behind:
            try:
                more |= await self._index(one)
            except LedgerStateError as error:
                # The other logs go on; this one's newest entries are still found by their tail.
                log.error("search_index_stuck", tenant=str(one.tenant), log_id=str(one.log), error=str(error))  # noqa: TRY400 - known
        return more

    async def _index(self, behind: Behind) -> bool:
        async with self._duty.duty() as connection:
            start = await store.lock_cursor(connection, behind)
            if start is None or start >= behind.size:
                return False
            until = min(start + self._chunk_entries, behind.size)
            if await store.index(connection, behind, start, until) != until - start:
                msg = f"entries are missing between {start} and {until}"
                raise LedgerStateError(msg)
        return until < behind.size
