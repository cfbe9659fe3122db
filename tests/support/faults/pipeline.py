"""From a committed event to its receipt, in one process: identity's relay, the ledger's writer, and the way back."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from nacl.signing import SigningKey
from sqlalchemy import text
from tallystick_chassis.catch_up import OwnFeed
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.receipts import ReceiptReader
from tallystick_chassis.relay import Relay
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.identity import MagicLinkRejected, MagicLinkRejection, TenantCreated
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.writing.job import WriterJob
from tallystick_ledger.writing.writer import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tallystick_cli.stack.temporary import Databases
    from tallystick_contracts.message import LogKind
    from tallystick_ledger.writing.arrival import Arrival
    from tallystick_ledger.writing.writer import Outcome

    from faults.broker import Broker

ORIGIN = "ledger.test"
SEED = bytes(range(32))
_REPUBLISH_S = 31
_ROUNDS = 60


@dataclass
class Clock:
    """A clock that tests move, also back."""

    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


class MortalWriter(LedgerWriter):
    """The ledger's writer, which may die before and after a commit."""

    broker: Broker

    async def record(
        self, tenant: TenantId, kind: LogKind, arrivals: Sequence[Arrival], *, patience_s: float = 0.0
    ) -> Outcome:
        self.broker.fuse.burn("before commit")
        outcome = await super().record(tenant, kind, arrivals, patience_s=patience_s)
        self.broker.fuse.burn("after commit")
        return outcome


@dataclass
class Entry:
    """What the tests look at of an entry."""

    log: str
    seq: int
    recorded: datetime
    aggregate: str
    source_seq: int
    event_id: UUID


@dataclass
class Pipeline:
    """Everything between the two ends. ``restart`` is what a new process would begin with."""

    broker: Broker
    identity: Database
    identity_duty: DutyDatabase
    ledger_duty: DutyDatabase
    marks: FileHighWater
    clock: Clock = field(default_factory=Clock)
    tenant: TenantId = field(default_factory=lambda: TenantId(uuid4()))
    committed: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        for task in asyncio.all_tasks():
            if "Lane." in repr(task.get_coro()):
                task.cancel()  # it dies with its process
        self.broker.take_back()
        self.relay = Relay(duty=self.identity_duty, bus=self.broker, service="identity", clock=self.clock)
        self.reader = ReceiptReader(
            duty=self.identity_duty,
            pull=self.broker.pull("rcpt"),
            ledger_key=bytes(SigningKey(SEED).verify_key),
            origin=ORIGIN,
        )
        self.job = self.another_writer()

    def another_writer(self) -> WriterJob:
        """Return the loop of one more replica."""
        writer = MortalWriter(
            duty=self.ledger_duty,
            feeds=OwnFeed(self.identity),
            prefix=ORIGIN,
            keys=CheckpointKeys(KeyRing(SEED), ORIGIN),
            clock=self.clock,
            high_water=HighWaterGuard(self.marks),
        )
        writer.broker = self.broker
        return WriterJob(writer=writer, source=self.broker.pull("evt"), receipts=self.broker)

    async def commit(self, count: int = 1, *, audit: bool = False) -> None:
        """Commit events, which go to the compliance log, or to the audit log."""
        async with self.identity.transaction(Scope.for_duty(self.tenant, "identity")) as tx:
            for _ in range(count):
                data = (
                    MagicLinkRejected(reason=MagicLinkRejection.EXPIRED)
                    if audit
                    else TenantCreated(slug=f"t{uuid4().hex[:8]}", name="A")
                )
                (stored,) = await tx.append(f"x-{uuid4()}", 0, [EventDraft(data)])
                self.committed.append(stored.id)

    async def step(self) -> None:
        """Let everybody do a step."""
        await self.relay.step()
        while await self.job.step():
            pass
        for delivery in await self.reader._pull.fetch(50, 0.0):
            await self.reader._take(delivery)

    async def settle(self) -> None:
        """Go on until there is a receipt for everything; time passes, so that what was lost is published again."""
        for _ in range(_ROUNDS):
            await self.step()
            if not await self.waiting():
                return
            self.clock.advance(seconds=_REPUBLISH_S)
        msg = f"{await self.waiting()} events have no receipt"
        raise AssertionError(msg)

    async def waiting(self) -> int:
        async with self.identity_duty.duty() as connection:
            found = await connection.execute(
                text("select count(*) from identity.outbox where tenant_id = :tenant"), {"tenant": self.tenant}
            )
            return int(found.scalar_one())

    async def entries(self) -> list[Entry]:
        """Return the tenant's entries, log by log."""
        async with self.ledger_duty.duty() as connection:
            rows = await connection.execute(
                text(
                    "select origin, seq, recorded, aggregate, source_seq, event_id from ledger.entries"
                    " where tenant_id = :tenant order by origin, seq"
                ),
                {"tenant": self.tenant},
            )
            return [Entry(*row) for row in rows]

    async def quarantined(self) -> list[str]:
        async with self.ledger_duty.duty() as connection:
            rows = await connection.execute(
                text("select reason from ledger.quarantine where tenant_id = :tenant order by 1"),
                {"tenant": self.tenant},
            )
            return list(rows.scalars())

    async def expect_each_once_and_in_order(self) -> None:
        """Each committed event is one entry; positions and source sequences have neither gaps nor repeats."""
        entries = await self.entries()
        assert sorted(one.event_id for one in entries) == sorted(self.committed)
        for log in {one.log for one in entries}:
            ours = [one for one in entries if one.log == log]
            assert [one.seq for one in ours] == list(range(len(ours)))
        for aggregate in {one.aggregate for one in entries}:
            numbers = [one.source_seq for one in entries if one.aggregate == aggregate]
            assert numbers == list(range(1, len(numbers) + 1))


@asynccontextmanager
async def pipeline(databases: Databases, broker: Broker, marks: Path) -> AsyncIterator[Pipeline]:
    """Connect it to databases that have identity's and the ledger's tables; ``marks``: where high-water marks go."""
    ca_file, clock = databases.servers.layout.ca_file, Clock()
    identity = Database(databases.dsn(ServiceName.IDENTITY, "app"), "identity", ca_file=ca_file, clock=clock)
    duties = [
        DutyDatabase(databases.dsn(service, "duty"), service, ca_file=ca_file, clock=clock)
        for service in (ServiceName.IDENTITY, ServiceName.LEDGER)
    ]
    try:
        yield Pipeline(broker, identity, duties[0], duties[1], FileHighWater(marks), clock)
    finally:
        for opened in (identity, *duties):
            await opened.dispose()
