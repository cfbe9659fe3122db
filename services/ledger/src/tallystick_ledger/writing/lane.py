"""One log's messages in hand: recorded in order, given back if that fails, let go if another holds the log for long.

To let a message go is to acknowledge it unrecorded. That is safe: its source keeps the event until it has a receipt.
So a log that cannot be written takes neither memory here nor places among the broker's unacknowledged messages, which
all logs share; and as soon as it can be written, its sources are asked for what was let go.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from tallystick_ledger.errors import LogBusyError, LogFrozenError, Refusal, RefusedEventError
from tallystick_ledger.writing.message import backoff_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from tallystick_chassis.ids import TenantId
    from tallystick_contracts.message import LogKind

    from tallystick_ledger.writing.arrival import Arrival, Feed
    from tallystick_ledger.writing.message import Message
    from tallystick_ledger.writing.receipts import Committed
    from tallystick_ledger.writing.writer import LedgerWriter, Outcome

BATCH: Final = 500
AHEAD: Final = 3
"""Batches of one log in hand: one on its way to the disk, one at its checks, one being built."""

_PATIENCE_S: Final = 0.1  # with a gap that another replica may be about to fill
_TRIES_FOR_A_GAP: Final = 5
_GAP_RETRY_S: Final = 0.5
_BUSY_RETRY_S: Final = 0.1
_BUSY_RETRY_MAX_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _InHand:
    arrival: Arrival
    message: Message
    since: float
    answered: bool = False

    async def ack(self) -> None:
        if not self.answered:
            self.answered = True
            await self.message.ack()

    async def keep(self, now: float) -> None:
        if not self.answered:
            self.since = now
            await self.message.keep()

    async def nak(self, delay_s: float) -> None:
        if not self.answered:
            self.answered = True
            await self.message.nak(delay_s)


class Lane:
    """The way into one tenant's logs of a kind. ``give_receipts`` is called after each commit."""

    def __init__(
        self,
        tenant: TenantId,
        kind: LogKind,
        *,
        writer: LedgerWriter,
        give_receipts: Callable[[Sequence[Committed]], Awaitable[None]],
    ) -> None:
        self._tenant = tenant
        self._kind = kind
        self._writer = writer
        self._give_receipts = give_receipts
        self._names = {"tenant": str(tenant), "kind": kind.value}
        self._waiting: deque[_InHand] = deque()
        self._under_way: list[list[_InHand]] = []
        self._is_busy = False  # another process has the log's lock
        self._is_held = False  # and has had it for long: what arrives is let go
        self._missed: set[Feed] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """What is under way; empty when nothing is in hand."""
        self.failure: BaseException | None = None
        """What ended a task that nothing should have ended."""

    @property
    def in_hand(self) -> int:
        """How many messages are not answered yet."""
        return sum(not one.answered for one in self._all())

    @property
    def oldest_s(self) -> float:
        """How long the oldest of them has been in hand."""
        return time.monotonic() - min((one.since for one in self._all() if not one.answered), default=time.monotonic())

    async def take(self, arrivals: Sequence[tuple[Arrival, Message]]) -> None:
        """Take messages in hand; they are answered later."""
        now = time.monotonic()
        self._waiting += [_InHand(arrival, message, now) for arrival, message in arrivals]
        if self._is_held:
            await self.let_go()
        else:
            self._go_on()

    async def tend(self) -> None:
        """Do something about messages that have been in hand for long: keep them, or let them go."""
        if self._is_busy:
            await self.let_go()
            return
        now = time.monotonic()
        for one in list(self._all()):
            await one.keep(now)

    async def let_go(self) -> None:
        """Acknowledge all that is in hand, and ask its sources for it when the log can be written again."""
        letting_go = [one for one in self._all() if not one.answered]
        self._waiting.clear()
        self._missed |= {one.arrival.feed for one in letting_go}
        if not self._is_held:
            self._is_held = True
            log.warning("ledger_log_waits", **self._names, messages=len(letting_go))
            self._start(self._catch_up())
        for one in letting_go:
            await one.ack()

    async def give_back(self) -> None:
        """Let another process have what is in hand."""
        for one in list(self._all()):
            await one.nak(0.0)
        self._waiting.clear()

    def _all(self) -> Iterable[_InHand]:
        for batch in self._under_way:
            yield from batch
        yield from self._waiting

    def _go_on(self) -> None:
        while self._waiting and len(self._under_way) < AHEAD:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._under_way.append(batch)
            self._start(self._record(batch))

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            self.failure = self.failure or task.exception()

    async def _record(self, batch: list[_InHand]) -> None:
        try:
            wait_s = _BUSY_RETRY_S
            while not all(one.answered for one in batch):
                try:
                    await self._record_once(batch)
                    self._is_busy = False
                except LogBusyError:
                    self._is_busy = True
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, _BUSY_RETRY_MAX_S)
        finally:
            self._under_way.remove(batch)
            self._go_on()

    async def _record_once(self, batch: list[_InHand]) -> None:
        arrivals = [one.arrival for one in batch]
        try:
            outcome = await self._writer.record(self._tenant, self._kind, arrivals, patience_s=_PATIENCE_S)
            await self._quarantine(outcome, {id(one.arrival): one.message.subject for one in batch})
        except LogBusyError:
            raise
        except LogFrozenError as error:
            # Without a receipt the outbox rows stay and come again; kept pending here they would hold others back.
            log.error("log_frozen", **self._names, log_name=error.origin, reason=str(error))  # noqa: TRY400 - the trace would add nothing
            for one in batch:
                await one.ack()
            return
        except Exception as error:
            # The consumer loop: other tenants' logs go on, and this one is tried again.
            log.exception("ledger_batch_failed", **self._names, error=type(error).__name__)
            for one in batch:
                await one.nak(backoff_s(one.message))
            return
        held = {id(arrival) for arrival in outcome.held}
        for one in batch:
            if id(one.arrival) in held and one.message.delivered < _TRIES_FOR_A_GAP:
                await one.nak(_GAP_RETRY_S * one.message.delivered)
            else:
                # What stays behind a gap is let go at last: without a receipt its outbox row publishes it again.
                await one.ack()
        await self._give_receipts(outcome.committed)

    async def _catch_up(self) -> None:
        wait_s = _BUSY_RETRY_S
        try:
            while self._missed:
                feeds, self._missed = self._missed, set()
                try:
                    outcome = await self._writer.catch_up(self._tenant, self._kind, feeds)
                except LogBusyError:
                    self._missed |= feeds
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, _BUSY_RETRY_MAX_S)
                    continue
                # It can be written again. What was let go while we caught up is still missing: once more.
                self._is_held = self._is_busy = False
                await self._quarantine(outcome, {})
                await self._give_receipts(outcome.committed)
        except Exception as error:
            # The consumer loop: the sources publish again what has no receipt.
            log.exception("ledger_catch_up_failed", **self._names, error=type(error).__name__)
            self._missed.clear()
        finally:
            self._is_held = False

    async def _quarantine(self, outcome: Outcome, subjects: dict[int, str]) -> None:
        for arrival in outcome.conflicts:
            await self._writer.quarantine(
                arrival.tenant,
                RefusedEventError(Refusal.CONFLICT, "another event has this number or this id"),
                subject=subjects.get(id(arrival), ""),
                source_seq=arrival.source_seq,
                body=arrival.body,
            )
