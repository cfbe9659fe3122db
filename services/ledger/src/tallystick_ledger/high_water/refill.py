"""Filling a successor with what the restore took: every source still has its numbered events, and gives them again.

The heads of the feeds that the restored database has are where to ask on from. What is lost in between two steps is
asked for again: the numbers tell what is recorded.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

import structlog
from tallystick_chassis.catch_up import FeedUnavailableError
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import ServiceName

from tallystick_ledger.errors import LogBusyError, LogFrozenError, RefusedEventError
from tallystick_ledger.high_water.store import list_breaks, note_refilled, read_source_heads
from tallystick_ledger.writing.arrival import Feed, read_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.catch_up import FeedClient
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.ids import TenantId
    from tallystick_contracts.message import LogKind

    from tallystick_ledger.high_water.store import Break
    from tallystick_ledger.writing.writer import LedgerWriter

REFILL_INTERVAL_S: Final = 5.0

log = structlog.get_logger(__name__)


def feeds_of(kind: LogKind) -> list[Feed]:
    """Return every feed whose events go to logs of this kind."""
    feeds = {
        Feed(source, entry.aggregate)
        for entry in REGISTRY
        for source in ((entry.service,) if entry.service else tuple(map(str, ServiceName)))
    }
    return sorted(feed for feed in feeds if REGISTRY.log_of(*feed) is kind)


class Refill:
    """Asks the sources for what successors lack."""

    def __init__(self, *, duty: DutyDatabase, feeds: FeedClient, writer: LedgerWriter, clock: Clock) -> None:
        self._duty = duty
        self._feeds = feeds
        self._writer = writer
        self._clock = clock

    async def step(self) -> bool:
        """Fill what waits for it; a source that is away is asked again with the next step."""
        async with self._duty.duty() as connection:
            waiting = [one for one in await list_breaks(connection) if one.successor and one.refilled_at is None]
        for (tenant, kind), breaks in groupby(
            sorted(waiting, key=lambda one: (one.tenant, one.kind)), key=lambda one: (one.tenant, one.kind)
        ):
            await self._refill(tenant, kind, list(breaks))
        return False

    async def _refill(self, tenant: TenantId, kind: LogKind, breaks: Sequence[Break]) -> None:
        recorded = 0
        try:
            for feed in feeds_of(kind):
                recorded += await self._fill(tenant, kind, feed)
        except (FeedUnavailableError, LogBusyError, LogFrozenError) as error:
            log.warning("refill_waits", tenant=str(tenant), kind=kind.value, error=type(error).__name__)
            return
        async with self._duty.duty() as connection:
            await note_refilled(connection, tenant, [one.origin for one in breaks], self._clock())
        log.info("log_refilled", tenant=str(tenant), kind=kind.value, count=recorded)

    async def _fill(self, tenant: TenantId, kind: LogKind, feed: Feed) -> int:
        """Record what the source has beyond our last number; return how many events that were."""
        first = last = await self._last(tenant, feed)
        while True:
            page = await self._feeds.read(tenant, *feed, last)
            if not page.events:
                return last - first
            arrivals = []
            for one in page.events:
                body = one.body.encode()
                try:
                    arrivals.append(read_event(tenant, one.source_seq, body))
                except RefusedEventError as error:
                    await self._writer.quarantine(tenant, error, subject="", source_seq=one.source_seq, body=body)
                    break
            await self._writer.record(tenant, kind, arrivals)
            before, last = last, await self._last(tenant, feed)
            if last == before:
                return last - first  # quarantined: its feed stands still there, as it would have without a restore

    async def _last(self, tenant: TenantId, feed: Feed) -> int:
        async with self._duty.duty() as connection:
            return await read_source_heads(connection, tenant, feed)
