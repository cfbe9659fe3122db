"""The writer's loop: fetch from the durable, sort by log, and let each log's lane record at its own pace.

Any number of processes share the durable. Whoever has a message in hand records it, and the log's lock and the feeds'
numbers make one order of it (docs/adr/0024).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from tallystick_chassis.bus import MAX_BATCH, BusUnavailableError
from tallystick_chassis.ids import TenantId

from tallystick_ledger.errors import RefusedEventError
from tallystick_ledger.writing.arrival import read_message, tenant_of
from tallystick_ledger.writing.lane import Lane
from tallystick_ledger.writing.message import backoff_s
from tallystick_ledger.writing.receipts import receipt_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_contracts.message import LogKind

    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.message import Message, ReceiptPublisher, Source
    from tallystick_ledger.writing.receipts import Committed
    from tallystick_ledger.writing.writer import LedgerWriter

FETCH_WAIT_S: Final = 1.0
TEND_AFTER_S: Final = 2.0
"""After how long the broker hears of a message in hand; less than the durable's ack_wait, so nobody else gets it."""

PLATFORM_TENANT: Final = TenantId(UUID(int=0))
"""Where a message is quarantined whose subject names no tenant."""

_MOST_IN_HAND: Final = 3 * MAX_BATCH
_TEND_WHEN_FULL_S: Final = 0.5
_LOOK_S: Final = 0.1
_RECEIPT_TIMEOUT_S: Final = 5.0
_CLOSING_S: Final = 3.0

log = structlog.get_logger(__name__)


class WriterJob:
    """Takes what the sources publish into the logs."""

    def __init__(self, *, writer: LedgerWriter, source: Source, receipts: ReceiptPublisher) -> None:
        self._writer = writer
        self._source = source
        self._receipts = receipts
        self._lanes: dict[tuple[TenantId, LogKind], Lane] = {}

    async def step(self) -> bool:
        """Take one fetch in hand; say whether there was anything, or still is."""
        room = await self._make_room()
        messages = await self._source.fetch(min(MAX_BATCH, room), FETCH_WAIT_S if not self._lanes else _LOOK_S)
        groups: defaultdict[tuple[TenantId, LogKind], list[tuple[Arrival, Message]]] = defaultdict(list)
        for message in messages:
            try:
                arrival = read_message(message.subject, message.headers, message.payload)
            except RefusedEventError as error:
                await self._refuse(message, error)
                continue
            groups[arrival.tenant, arrival.log_kind].append((arrival, message))
        for key, group in groups.items():
            if key not in self._lanes:
                self._lanes[key] = Lane(*key, writer=self._writer, give_receipts=self._give_receipts)
            await self._lanes[key].take(group)
        if not messages:
            await self._wait_for_lanes()
        return bool(messages or self._lanes)

    async def close(self) -> None:
        """End what is under way, and give the rest back for another process to record."""
        if tasks := {task for lane in self._lanes.values() for task in lane.tasks}:
            _, late = await asyncio.wait(tasks, timeout=_CLOSING_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for lane in self._lanes.values():
            await lane.give_back()
        self._lanes.clear()

    async def _make_room(self) -> int:
        while True:
            self._forget_idle_lanes()
            room = _MOST_IN_HAND - sum(lane.in_hand for lane in self._lanes.values())
            for lane in self._lanes.values():
                if lane.oldest_s > (TEND_AFTER_S if room > 0 else _TEND_WHEN_FULL_S):
                    held = lane.in_hand
                    await lane.tend()
                    room += held - lane.in_hand
            if room > 0:
                return room
            await self._wait_for_lanes()

    async def _wait_for_lanes(self) -> None:
        if under_way := {task for lane in self._lanes.values() for task in lane.tasks}:
            await asyncio.wait(under_way, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        self._forget_idle_lanes()

    def _forget_idle_lanes(self) -> None:
        failures = [lane.failure for lane in self._lanes.values() if lane.failure is not None]
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.tasks}
        if failures:
            raise failures[0]

    async def _refuse(self, message: Message, error: RefusedEventError) -> None:
        tenant = tenant_of(message.subject) or PLATFORM_TENANT
        try:
            await self._writer.quarantine(tenant, error, subject=message.subject, source_seq=None, body=message.payload)
        except Exception as failure:
            # The consumer loop: the broker keeps it until it can be kept here.
            log.exception("ledger_quarantine_failed", tenant=str(tenant), error=type(failure).__name__)
            await message.nak(backoff_s(message))
            return
        await message.ack()

    async def _give_receipts(self, committed: Sequence[Committed]) -> None:
        messages = receipt_messages(committed)
        for start in range(0, len(messages), MAX_BATCH):
            try:
                await self._receipts.publish_batch(messages[start : start + MAX_BATCH], timeout_s=_RECEIPT_TIMEOUT_S)
            except BusUnavailableError as error:
                # The sources publish again what has no receipt, and get it then.
                log.warning("ledger_receipts_not_sent", error=str(error))
                return
