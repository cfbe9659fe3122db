"""Putting arrivals at the end of their log: from memory in one statement, or under the log's lock.

As long as this process alone writes a log, a batch is built on the one before it while that is on its way to the disk,
and sent after it in one round trip, on a connection of its own (docs/adr/0025, 0070). The database takes it only if the
log ends where we think when its turn comes. If it does not, or if we know nothing yet, the log is locked and read
first. Nothing remembered here has to be right.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, Self

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

MOST_AT_ONCE: Final = 6
"""Batches that one process sends at the same moment; the others wait for a connection here, not in the database."""

_REMEMBERED: Final = 2_000  # logs; a tail takes a few kB


class _Turn:
    """One call's place in the line of those who append to a tenant's logs of a kind.

    ``tail`` is where the call leaves the log, as far as we know: ``known`` is set as soon as there is no more to know
    for now. ``done`` ends when this call and all before it have ended, well or not.
    """

    def __init__(self) -> None:
        self.tail: Tail | None = None
        self.known = asyncio.Event()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    def ended(cls) -> Self:
        """Stand before the first call for a log, of which nothing is known."""
        turn = cls()
        turn.known.set()
        turn.done.set_result(None)
        return turn

    def know(self, tail: Tail) -> None:
        """Let the next call go on from ``tail``."""
        self.tail = tail
        self.known.set()

    def forget(self) -> None:
        """Let the next call wait for what this one will know."""
        self.tail = None
        self.known.clear()

    def end(self, before: _Turn) -> None:
        """Be done as soon as the one before is."""
        self.known.set()
        before.done.add_done_callback(lambda _: self.done.set_result(None))


class _Recorded(NamedTuple):
    """What became of a call's arrivals; ``batch`` is ``None`` where the plan had nothing fresh."""

    done: Plan
    batch: Batch | None
    keys: tuple[str, ...]


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
        self._last: dict[tuple[TenantId, LogKind], _Turn] = {}

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
        before, turn = self._join(tenant, kind)
        try:
            try:
                recorded = await self._append_ahead(before, turn, arrivals) if taken is None else None
                if recorded is None:
                    await asyncio.wait((before.done,))
                    recorded = await self._append_under_lock(turn, tenant, kind, arrivals, taken)
            finally:
                turn.end(before)
            done, batch, keys = recorded
            if batch is not None:
                # Committed, and nobody has seen it: only below its mark may it be shown. The next one need not wait.
                await self._high_water.raise_to(batch.log.origin, Head(batch.size, batch.root))
        except BaseException:
            turn.tail = self._last.get((tenant, kind), turn).tail = None  # whoever comes next asks the database
            raise
        return done, [] if batch is None else [Committed.of(batch, keys)]

    async def heads(self, tenant: TenantId, kind: LogKind, feeds: Collection[Feed]) -> dict[Feed, int]:
        """Return the last recorded number of each feed (0: none yet), read under the log's lock.

        Raises:
            LogBusyError: another process holds the log.
        """
        async with self._transaction() as connection:
            _, tail = await self._read(connection, tenant, kind, feeds)
            return {feed: tail.heads[feed] for feed in feeds}

    def _join(self, tenant: TenantId, kind: LogKind) -> tuple[_Turn, _Turn]:
        """Return whoever is last in the line, and stand behind."""
        key = (tenant, kind)
        before = self._last.pop(key, None) or _Turn.ended()
        turn = self._last[key] = _Turn()  # the newest is last
        if len(self._last) > _REMEMBERED:
            oldest = next(iter(self._last))
            if self._last[oldest].done.done():
                del self._last[oldest]
        return before, turn

    async def _append_ahead(self, before: _Turn, turn: _Turn, arrivals: Sequence[Arrival]) -> _Recorded | None:
        """Record arrivals upon what the call before leaves; ``None``: that is not known, or was not so."""
        # Where it is known there is no await before the one for a connection, and those are given in order: so batches
        # are sent in the order of the calls.
        await before.known.wait()
        tail = before.tail
        recorded = await self._put(turn, tail, arrivals)
        if recorded is None:
            turn.forget()
            await asyncio.wait((before.done,))
            if before.tail is not tail:  # it had to be built again as well
                recorded = await self._put(turn, before.tail, arrivals)
        return recorded

    async def _put(self, turn: _Turn, tail: Tail | None, arrivals: Sequence[Arrival]) -> _Recorded | None:
        now = self._clock()
        built = None if tail is None else self._build_ahead(tail, arrivals, now)
        if tail is None or built is None:
            return None
        done, batch, keys = built
        turn.know(tail.after(batch))
        if not await self._high_water.is_reached(batch.log.origin, batch.before):
            return None
        try:
            async with self._slots, _not_waiting(), raw_connection(self._duty) as connection:
                stored = await store.append(connection, batch, signed_at=now)
        except asyncpg.IntegrityConstraintViolationError:
            return None  # under the lock it shows why
        return _Recorded(done, batch, keys) if stored else None

    def _build_ahead(
        self, tail: Tail, arrivals: Sequence[Arrival], now: datetime
    ) -> tuple[Plan, Batch, tuple[str, ...]] | None:
        if not all(arrival.feed in tail.heads for arrival in arrivals):
            return None
        if tail.log.period is not None and tail.log.period != period_to_write(tail.log, now):
            return None  # a month has begun
        done = plan(arrivals, tail.heads)
        if done.gaps or not done.fresh:
            return None  # a gap may be filled by another writer, and what is known may be only in our memory
        known = self._keys.ahead(tail.log, done.fresh, now)
        if known is None:
            return None
        signers, keys = known
        return done, _build(tail, done, now, signers), keys

    async def _append_under_lock(
        self,
        turn: _Turn,
        tenant: TenantId,
        kind: LogKind,
        arrivals: Sequence[Arrival],
        taken: Collection[UUID] | None,
    ) -> _Recorded:
        try:
            async with self._transaction() as connection:
                now, tail = await self._read(connection, tenant, kind, {arrival.feed for arrival in arrivals})
                done = _refuse_nothing(plan(arrivals, tail.heads, taken), tail)
                key, signers = await self._keys.signers(connection, tail.log, done.fresh, now)
                batch = _build(tail, done, now, signers)
                if not await store.append(connection, batch, signed_at=now):
                    _refuse_moved(tail)
                keys = await self._keys.chain(connection, key.public)
        except _NothingNewError as nothing:
            turn.know(nothing.tail)
            return _Recorded(nothing.done, None, ())
        turn.know(replace(tail, log=replace(tail.log, key=key)).after(batch))
        return _Recorded(done, batch, keys)

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

    def __init__(self, done: Plan, tail: Tail) -> None:
        self.done = done
        self.tail = tail
        super().__init__()


def _refuse_nothing(done: Plan, tail: Tail) -> Plan:
    if not done.fresh:
        raise _NothingNewError(done, tail)
    return done


def _refuse_moved(tail: Tail) -> NoReturn:
    msg = f"log {tail.log.origin} moved while it was locked"
    raise LedgerStateError(msg)


@asynccontextmanager
async def _not_waiting() -> AsyncIterator[None]:
    try:
        yield
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
        raise LogBusyError from error
