"""Putting arrivals at the end of their log: from memory in one statement, or under the log's lock.

As long as this process alone writes a log, the next batch is built while the one before it is on its way to the disk,
and goes there in one round trip (docs/adr/0025). The database takes it only if the log still ends where we think. If it
does not, or if we know nothing yet, the log is locked and read first. Nothing remembered here has to be right.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NoReturn

import asyncpg

from tallystick_ledger.errors import LedgerStateError, LogBusyError
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.logs.domain import period_to_write, recorded_at
from tallystick_ledger.writing import store
from tallystick_ledger.writing.batch import build_batch
from tallystick_ledger.writing.connection import raw_connection, raw_transaction
from tallystick_ledger.writing.plan import plan
from tallystick_ledger.writing.receipts import Committed
from tallystick_ledger.writing.tail import Tail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase
    from tallystick_chassis.ids import TenantId
    from tallystick_contracts.message import LogKind
    from tallystick_tlog.note import Signer

    from tallystick_ledger.high_water.guard import HighWaterGuard
    from tallystick_ledger.keys.signing import CheckpointKeys
    from tallystick_ledger.writing.arrival import Arrival, Feed
    from tallystick_ledger.writing.batch import Batch
    from tallystick_ledger.writing.plan import Plan

MOST_AT_ONCE: Final = 4
"""Logs that one process writes to at the same moment; the others wait for a connection here, not in the database."""

_REMEMBERED: Final = 2_000  # logs; a tail takes a few kB


@dataclass(slots=True)
class _Line:
    """Who waits to append to one tenant's logs of a kind, in order; ``tail`` is where they all will have left it."""

    tail: Tail | None = None
    generation: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def remember(self, tail: Tail | None) -> None:
        """Start again from ``tail``: what was built upon the one before will be built again."""
        self.tail = tail
        self.generation += 1


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A batch built on a tail that need not be in the database yet; ``None`` where the plan had nothing fresh."""

    done: Plan
    batch: Batch | None
    keys: tuple[str, ...]
    signed_at: datetime
    generation: int


class Appender:
    """Appends to any log, as the service's duty role. Calls for one log take effect in the order in which they come."""

    def __init__(
        self,
        *,
        duty: DutyDatabase,
        prefix: str,
        keys: CheckpointKeys,
        clock: Clock,
        high_water: HighWaterGuard,
    ) -> None:
        self._duty = duty
        self._prefix = prefix
        self._keys = keys
        self._clock = clock
        self._high_water = high_water
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._lines: dict[tuple[TenantId, LogKind], _Line] = {}

    async def append(
        self, tenant: TenantId, kind: LogKind, arrivals: Sequence[Arrival], taken: Collection[UUID] | None = None
    ) -> tuple[Plan, list[Committed]]:
        """Record what of the arrivals continues its feed; say what became of each, and what was committed.

        Raises:
            LogBusyError: another process holds the log; nothing was recorded.
            LogFrozenError: the log does not continue what was signed; nothing was recorded.
            LedgerStateError: the tables contradict each other.
            asyncpg.UniqueViolationError: an event id stands in the log already (``entries_event_once``).
        """
        line = self._line(tenant, kind)
        # No await between this and the lock, which is given in order: so batches are sent in the order of building.
        ahead = self._build_ahead(line, arrivals) if taken is None else None
        try:
            async with line.turn:
                if ahead is not None and ahead.generation == line.generation and await self._put(ahead, tenant, kind):
                    done, batch, keys = ahead.done, ahead.batch, ahead.keys
                else:
                    line.remember(None)
                    done, batch, keys = await self._append_under_lock(line, tenant, kind, arrivals, taken)
            if batch is not None:
                # Committed, and nobody has seen it: only below its mark may it be shown. The next batch need not wait.
                await self._high_water.raise_to(batch.log.origin, Head(batch.size, batch.root))
        except BaseException:
            line.remember(None)
            raise
        return done, [] if batch is None else [Committed.of(batch, keys)]

    async def heads(self, tenant: TenantId, kind: LogKind, feeds: Collection[Feed]) -> dict[Feed, int]:
        """Return the last recorded number of each feed (0: none yet), read under the log's lock.

        Raises:
            LogBusyError: another process holds the log.
        """
        async with self._line(tenant, kind).turn, self._transaction() as connection:
            _, tail = await self._read(connection, tenant, kind, feeds)
            return {feed: tail.heads[feed] for feed in feeds}

    def _line(self, tenant: TenantId, kind: LogKind) -> _Line:
        key = (tenant, kind)
        line = self._lines.pop(key, None) or _Line()
        self._lines[key] = line  # the newest is last
        if len(self._lines) > _REMEMBERED:
            oldest = next(iter(self._lines))
            if not self._lines[oldest].turn.locked():
                del self._lines[oldest]
        return line

    def _build_ahead(self, line: _Line, arrivals: Sequence[Arrival]) -> _Ahead | None:
        tail, now = line.tail, self._clock()
        if tail is None or not all(arrival.feed in tail.heads for arrival in arrivals):
            return None
        if tail.log.period is not None and tail.log.period != period_to_write(tail.log, now):
            return None  # a month has begun
        done = plan(arrivals, tail.heads)
        if done.gaps:
            return None  # another writer may have filled them: the database knows
        if not done.fresh:
            return _Ahead(done, None, (), now, line.generation)
        known = self._keys.ahead(tail.log, done.fresh, now)
        if known is None:
            return None
        signers, keys = known
        batch = _build(tail, done, now, signers)
        line.tail = tail.after(batch)
        return _Ahead(done, batch, keys, now, line.generation)

    async def _put(self, ahead: _Ahead, tenant: TenantId, kind: LogKind) -> bool:
        if ahead.batch is None:
            # What is known gets its receipts again: only of a log that continues its mark, and below that.
            if known := {arrival.feed for arrival in ahead.done.known}:
                async with self._transaction() as connection:
                    await self._read(connection, tenant, kind, known)
            return True
        if not await self._high_water.is_reached(ahead.batch.log.origin, ahead.batch.before):
            return False
        async with self._slots, _not_waiting(), raw_connection(self._duty) as connection:
            return await store.append(connection, ahead.batch, signed_at=ahead.signed_at)

    async def _append_under_lock(
        self,
        line: _Line,
        tenant: TenantId,
        kind: LogKind,
        arrivals: Sequence[Arrival],
        taken: Collection[UUID] | None,
    ) -> tuple[Plan, Batch | None, tuple[str, ...]]:
        try:
            async with self._transaction() as connection:
                now, tail = await self._read(connection, tenant, kind, {arrival.feed for arrival in arrivals})
                done = _refuse_nothing(plan(arrivals, tail.heads, taken))
                key, signers = await self._keys.signers(connection, tail.log, done.fresh, now)
                batch = _build(tail, done, now, signers)
                if not await store.append(connection, batch, signed_at=now):
                    _refuse_moved(tail)
                keys = await self._keys.chain(connection, key.public)
        except _NothingNewError as nothing:
            return nothing.done, None, ()
        line.remember(replace(tail, log=replace(tail.log, key=key)).after(batch))
        return done, batch, keys

    async def _read(
        self, connection: asyncpg.Connection, tenant: TenantId, kind: LogKind, feeds: Collection[Feed]
    ) -> tuple[datetime, Tail]:
        state = None
        while state is None:
            ledger, now = await store.lock_log(connection, tenant, kind, prefix=self._prefix, clock=self._clock)
            state = await store.read_state(connection, ledger, feeds)
        frontier, heads = state
        await self._high_water.admit(connection, ledger, frontier)
        return now, Tail(ledger, frontier, heads)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._slots, _not_waiting(), raw_transaction(self._duty) as connection:
            yield connection


def _build(tail: Tail, done: Plan, now: datetime, signers: Sequence[Signer]) -> Batch:
    return build_batch(tail.log, tail.frontier, done.fresh, recorded_at(tail.log, now), *signers)


class _NothingNewError(Exception):
    """Leaves the transaction, so that a log opened for nothing is not opened."""

    def __init__(self, done: Plan) -> None:
        self.done = done
        super().__init__()


def _refuse_nothing(done: Plan) -> Plan:
    if not done.fresh:
        raise _NothingNewError(done)
    return done


def _refuse_moved(tail: Tail) -> NoReturn:
    msg = f"log {tail.log.origin} moved while it was locked"
    raise LedgerStateError(msg)


@asynccontextmanager
async def _not_waiting() -> AsyncIterator[None]:
    try:
        yield
    except asyncpg.LockNotAvailableError as error:
        raise LogBusyError from error
