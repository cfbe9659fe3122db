"""The worker's job that streams to SIEMs: every destination by itself, so that none waits for another.

A turn is: take the destination's lease, read a batch, send it, note what became of it. Whatever dies in between leaves
the cursor where it was, so the batch is sent again when the lease is over: at least once, never not at all. Only a
batch that the receiver took moves the cursor. What it refuses is halved until one entry is left; that becomes a dead
letter, and the stream goes on. Of what has no acknowledgement within its time, nobody knows: it is sent again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from secrets import SystemRandom
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

import structlog
from tallystick_chassis.ids import new_id
from tallystick_chassis.metric_catalogue import SIEM_BATCHES, SIEM_DEAD_LETTERS, SIEM_ENTRIES, SIEM_WAITING
from tallystick_chassis.metrics import count, gauge
from tallystick_chassis.scope import Scope

from tallystick_ledger.errors import LedgerStateError, LogFrozen
from tallystick_ledger.reading.store import get_checkpoint, get_lines, get_log
from tallystick_ledger.siem import progress
from tallystick_ledger.siem.domain import BATCH_BYTES, DEAD_IN_A_ROW, Batch, Outcome, back_off_s
from tallystick_ledger.siem.ocsf import checkpoint_event, heartbeat_event, ocsf_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_chassis.transaction import Transaction

    from tallystick_ledger.high_water.guard import HighWaterGuard
    from tallystick_ledger.reading.store import Line, SignedHead
    from tallystick_ledger.siem.domain import Destination, Kind, Sent
    from tallystick_ledger.siem.progress import Due, Held, News
    from tallystick_ledger.siem.receivers import Receiver

STREAMING_INTERVAL_S: Final = 1.0
MEASURE_INTERVAL_S: Final = 15.0
LEASE_S: Final = 60.0
"""Longer than a turn takes: sending ends after 15 s, and what is around it are short transactions."""
AT_ONCE: Final = 16

_JITTER: Final = SystemRandom()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """Where a turn reads and writes. ``high_water`` is asked before a checkpoint goes out."""

    database: Database
    duty: DutyDatabase
    high_water: HighWaterGuard
    clock: Clock


def count_from_nothing() -> None:
    """Let what is counted begin with 0, so that the first of it is an increase."""
    for outcome in Outcome:
        count(SIEM_BATCHES, 0, {"tallystick.outcome": outcome.value})
    count(SIEM_ENTRIES, 0)
    count(SIEM_DEAD_LETTERS, 0)


class Streamer:
    """Sends to the destinations of all tenants, ``AT_ONCE`` of them side by side. Any number of workers may."""

    def __init__(
        self, *, stores: Stores, receivers: Mapping[Kind, Receiver], version: str, lease_s: float = LEASE_S
    ) -> None:
        self._stores = stores
        self._receivers = receivers
        self._version = version
        self._lease_s = lease_s
        self._running: dict[UUID, asyncio.Task[None]] = {}

    async def step(self) -> bool:
        """Begin to send to what is due and not being sent to by this worker; wait for nobody."""
        self._running = {key: task for key, task in self._running.items() if not task.done()}
        free = AT_ONCE - len(self._running)
        if free > 0:
            async with self._stores.duty.glance() as connection:
                # Those that are being sent to here are not due: somebody has their lease.
                due = await progress.find_due(connection, free)
            for one in due:
                if one.id not in self._running:
                    self._running[one.id] = asyncio.create_task(self._stream(one), name=f"siem-{one.id}")
        return False

    async def measure(self) -> bool:
        """Say how far behind the slowest destination is."""
        async with self._stores.duty.glance() as connection:
            gauge(SIEM_WAITING, await progress.longest_wait(connection))
        return False

    async def close(self) -> None:
        """Stop sending; what is under way is sent again by whoever comes next."""
        tasks, self._running = list(self._running.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def turn(self, due: Due) -> bool:
        """Send one batch to a destination; say whether there may be more to send at once."""
        scope = Scope.for_duty(due.tenant, self._stores.database.service)
        async with self._stores.database.transaction(scope) as tx:
            held = await progress.take(tx, due.id, new_id(), self._lease_s)
        if held is None:
            return False
        try:
            batch = await self._read(scope, held.destination)
            if batch is not None:
                sent = await self._receivers[held.destination.kind].send(held.destination, batch)
                return await self._settle(scope, held, batch, sent)
        except Exception:
            # A fault of our own, which will be there again: not every second.
            async with self._stores.database.transaction(scope) as tx:
                await self._postpone(tx, held, "a fault of the ledger; see its log")
            raise
        except BaseException:
            await self._release(scope, held)
            raise
        await self._release(scope, held)
        return False

    async def _stream(self, due: Due) -> None:
        try:
            while await self.turn(due):
                pass
        except Exception as error:
            # The edge of one destination's work: the others go on, and this one is due again.
            log.exception(
                "siem_turn_failed", tenant=str(due.tenant), destination=str(due.id), error=type(error).__name__
            )

    @staticmethod
    async def _postpone(tx: Transaction, held: Held, fault: str | None, retry_after_s: float | None = None) -> bool:
        wait_s = back_off_s(held.destination.attempts + 1, retry_after_s, share=_JITTER.random())
        return await progress.note_failed(tx, held, fault, wait_s, was_test=held.destination.is_test)

    async def _release(self, scope: Scope, held: Held) -> None:
        async with self._stores.database.transaction(scope) as tx:
            await progress.release(tx, held)

    async def _read(self, scope: Scope, destination: Destination) -> Batch | None:
        async with self._stores.database.transaction(scope) as tx:
            if not destination.is_test:
                for one in await progress.news(tx, destination.id):
                    try:
                        return await self._entries(tx, destination, one)
                    except LogFrozen:
                        continue  # it stands still until an operator has decided; so does its stream
                if not destination.is_silent:
                    return None
            return await self._heartbeat(tx, destination)

    async def _entries(self, tx: Transaction, destination: Destination, one: News) -> Batch:
        ledger = await get_log(tx, one.log)
        head = await get_checkpoint(tx, ledger, ledger.size)
        await self._stores.high_water.show(tx, ledger, head.head)
        until = min(one.next_seq + destination.batch_entries, ledger.size)
        lines = _within(BATCH_BYTES, await get_lines(tx, ledger, one.next_seq, until))
        if not lines or [line.seq for line in lines] != list(range(one.next_seq, one.next_seq + len(lines))):
            msg = f"entries are missing between {one.next_seq} and {until}"
            raise LedgerStateError(msg)
        tenant, version = destination.tenant, self._version
        events = [ocsf_event(line.line, tenant=tenant, version=version) for line in lines]
        events.append(
            checkpoint_event(
                ledger.origin, head, log=ledger.id, tenant=tenant, version=version, now=self._stores.clock()
            )
        )
        until = one.next_seq + len(lines)
        return Batch(uuid5(destination.id, f"{one.log}:{one.next_seq}:{until}"), one.log, one.next_seq, until, events)

    async def _heartbeat(self, tx: Transaction, destination: Destination) -> Batch:
        heads: list[tuple[str, SignedHead]] = []
        for one in await progress.open_logs(tx, destination.id):
            ledger = await get_log(tx, one)
            head = await get_checkpoint(tx, ledger, ledger.size)
            try:
                await self._stores.high_water.show(tx, ledger, head.head)
            except LogFrozen:
                continue
            heads.append((ledger.origin, head))
        uid = new_id()
        event = heartbeat_event(
            uid,
            heads,
            tenant=destination.tenant,
            version=self._version,
            now=self._stores.clock(),
            is_test=destination.is_test,
        )
        return Batch(uid, None, 0, 0, [event])

    async def _settle(self, scope: Scope, held: Held, batch: Batch, sent: Sent) -> bool:
        """Note what became of the batch; say whether the next may follow at once."""
        destination = held.destination
        async with self._stores.database.transaction(scope) as tx:
            is_dead = (
                sent.outcome is Outcome.REFUSED
                and batch.entries == 1
                and sent.status is not None
                and destination.refused_in_row < DEAD_IN_A_ROW
            )
            if sent.outcome is Outcome.TAKEN:
                goes_on = is_ours = await progress.note_taken(tx, held, batch)
            elif sent.outcome is Outcome.REFUSED and batch.entries > 1:
                goes_on = is_ours = await progress.note_shrunk(tx, held, batch, sent.fault)
            elif is_dead:
                goes_on = is_ours = await progress.bury(tx, held, batch, sent.fault, sent.status or 0)
            else:
                is_ours, goes_on = await self._postpone(tx, held, sent.fault, sent.retry_after_s), False
        about = {"tenant": str(destination.tenant), "destination": str(destination.id)}
        count(SIEM_BATCHES, 1, {"tallystick.outcome": sent.outcome.value})
        if not is_ours:
            log.warning("siem_lease_lost", **about)
        elif sent.outcome is Outcome.TAKEN:
            count(SIEM_ENTRIES, batch.entries)
        elif is_dead:
            count(SIEM_DEAD_LETTERS)
            log.warning("siem_dead_letter", **about, log_id=str(batch.log), seq=batch.start, reason=sent.fault)
        elif not goes_on:
            log.warning("siem_not_sent", **about, reason=sent.fault, tries=destination.attempts + 1)
        return goes_on


def _within(limit: int, lines: list[Line]) -> list[Line]:
    """Return the first lines whose bytes fit, one at least."""
    total, fitting = 0, 0
    for line in lines:
        total += len(line.line)
        if fitting and total > limit:
            break
        fitting += 1
    return lines[:fitting]
