"""A source and a consumer: databases, buses, and short ways to commit events and to look at what came of them."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import nats
import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import insert, select
from tallystick_chassis.bus import Bus, BusMessage, BusUnavailableError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import dead_letters, feed, misses, outbox, source_cursors
from tallystick_chassis.transaction import EventDraft, Transaction
from tallystick_contracts.generated.identity import OrgUnitCreated, TenantCreated
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tallystick_cli.stack.temporary import Databases, RunningServers
    from tallystick_contracts.envelope import Event

DRAFTS = {
    "tenant": lambda: EventDraft(TenantCreated(slug="north", name="North")),
    "org_unit": lambda: EventDraft(OrgUnitCreated(unit_id=str(uuid4()), name="Blue", path="blue")),
}


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing may catch it."""


@dataclass
class House:
    """Databases of the services by name, opened at first use."""

    databases: Databases
    opened: list[Database | DutyDatabase] = field(default_factory=list)

    def app(self, service: str) -> Database:
        database = Database(self.databases.dsn(ServiceName(service), "app"), service, pool_size=6, ca_file=self.ca_file)
        self.opened.append(database)
        return database

    def duty(self, service: str) -> DutyDatabase:
        database = DutyDatabase(
            self.databases.dsn(ServiceName(service), "duty"), service, pool_size=4, ca_file=self.ca_file
        )
        self.opened.append(database)
        return database

    @property
    def ca_file(self):
        return self.databases.servers.layout.ca_file

    async def close(self) -> None:
        for database in self.opened:
            await database.dispose()
        self.opened.clear()


@pytest.fixture
async def house(chassis_databases: Databases) -> AsyncIterator[House]:
    house = House(chassis_databases)
    yield house
    await house.close()


@pytest.fixture
def tenant() -> TenantId:
    return TenantId(uuid4())


class Buses:
    """Each service's own NATS user, and the administrator for what tests do to the broker."""

    def __init__(self, stack: RunningServers) -> None:
        self.stack = stack
        self.opened: list[Bus] = []

    def of(self, service: str) -> Bus:
        bus = Bus(
            self.stack.nats_url,
            name=service,
            seed=self.stack.nats_seed(service).read_text().strip(),
            ca_file=self.stack.ca_file,
        )
        self.opened.append(bus)
        return bus

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[nats.js.JetStreamContext]:
        client = await nats.connect(
            self.stack.nats_url,
            nkeys_seed_str=self.stack.nats_seed("admin").read_text().strip(),
            tls=ssl.create_default_context(cafile=str(self.stack.ca_file)),
        )
        try:
            yield client.jetstream()
        finally:
            await client.close()

    async def purge(self) -> None:
        async with self.admin() as admin:
            await admin.purge_stream("EVT")
            await admin.purge_stream("RCPT")

    async def stored(self, subject: str) -> int:
        async with self.admin() as admin:
            info = await admin.stream_info("EVT", subjects_filter=subject)
            return sum((info.state.subjects or {}).values())


@pytest.fixture
async def buses(stack: RunningServers) -> AsyncIterator[Buses]:
    buses = Buses(stack)
    await buses.purge()
    yield buses
    for bus in buses.opened:
        await bus.close()


async def commit(database: Database, tenant: TenantId, *aggregates: str) -> list[UUID]:
    """Commit one event for each aggregate named, in one transaction; return their ids."""
    async with database.transaction(Scope.for_duty(tenant, database.service, correlation="c-1")) as tx:
        stored = [(await tx.append(f"{aggregate}-{uuid4()}", 0, [DRAFTS[aggregate]()]))[0] for aggregate in aggregates]
    return [one.id for one in stored]


async def numbers(duty: DutyDatabase, tenant: TenantId) -> dict[str, list[tuple[int, UUID]]]:
    """Return the feed: by aggregate, (source_seq, event id) in order."""
    async with duty.duty() as connection:
        rows = await connection.execute(
            select(feed.c.aggregate, feed.c.source_seq, feed.c.event_id)
            .where(feed.c.tenant_id == tenant)
            .order_by(feed.c.aggregate, feed.c.source_seq)
        )
        found: dict[str, list[tuple[int, UUID]]] = {}
        for aggregate, seq, event_id in rows:
            found.setdefault(aggregate, []).append((seq, event_id))
        return found


async def outbox_rows(duty: DutyDatabase, tenant: TenantId) -> list:
    async with duty.duty() as connection:
        rows = await connection.execute(select(outbox).where(outbox.c.tenant_id == tenant).order_by(outbox.c.position))
        return list(rows.all())


async def on_event(tx: Transaction, event: Event) -> None:
    """The effect of the tests: a row that would stand there twice if it happened twice."""
    await tx.execute(
        insert(misses)
        .inline()
        .values(
            tenant_id=tx.scope.tenant,
            id=event.id,
            route=f"{event.source}.{event.aggregate} {event.source_seq}",
            actor=tx.scope.actor,
            correlation=tx.scope.correlation,
            at=utc_now(),
        )
    )


async def effects(duty: DutyDatabase, tenant: TenantId) -> list[str]:
    """Return the effects in the order in which they happened, as ``source.aggregate seq``."""
    async with duty.duty() as connection:
        rows = await connection.execute(
            select(misses.c.route).where(misses.c.tenant_id == tenant).order_by(misses.c.position)
        )
        return list(rows.scalars())


async def cursor_row(duty: DutyDatabase, tenant: TenantId, aggregate: str):
    async with duty.duty() as connection:
        rows = await connection.execute(
            select(source_cursors).where(source_cursors.c.tenant_id == tenant, source_cursors.c.aggregate == aggregate)
        )
        return rows.first()


async def letters(duty: DutyDatabase, tenant: TenantId) -> list:
    async with duty.duty() as connection:
        return list((await connection.execute(select(dead_letters).where(dead_letters.c.tenant_id == tenant))).all())


class Tape:
    """A bus that keeps what was published, and fails when told to."""

    def __init__(self) -> None:
        self.messages: list[BusMessage] = []
        self.fail: str | None = None  # "before" or "after" storing
        self.hold: asyncio.Event | None = None

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:  # noqa: ARG002 - the bus's own signature
        if self.hold is not None:
            await self.hold.wait()
        if self.fail == "before":
            raise BusUnavailableError(self.fail)
        self.messages.extend(messages)
        if self.fail == "after":
            raise BusUnavailableError(self.fail)


@dataclass
class TapeDelivery:
    """A delivery from a tape; it remembers how it was answered."""

    message: BusMessage
    answer: str = ""
    delay_s: float = 0.0

    @property
    def subject(self) -> str:
        return self.message.subject

    @property
    def payload(self) -> bytes:
        return self.message.payload

    @property
    def headers(self):
        return self.message.headers

    async def ack(self) -> None:
        self.answer = "ack"

    async def nak(self, delay_s: float) -> None:
        self.answer, self.delay_s = "nak", delay_s

    async def term(self) -> None:
        self.answer = "term"


class TapePull:
    """A durable that delivers what the test puts in."""

    def __init__(self) -> None:
        self.waiting: list[TapeDelivery] = []

    async def fetch(self, limit: int, wait_s: float) -> list[TapeDelivery]:  # noqa: ARG002 - the pull's own signature
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken


class CrashPoints:
    """Lets the process die before the n-th statement or commit on one database."""

    def __init__(self, database: Database | DutyDatabase) -> None:
        self.left: int | None = None
        sqlalchemy_event.listen(database.engine.sync_engine, "before_cursor_execute", self._statement)
        sqlalchemy_event.listen(database.engine.sync_engine, "commit", self._commit)

    def arm(self, after: int | None) -> None:
        self.left = after

    def _statement(self, *_arguments: object) -> None:
        self._count()

    def _commit(self, _connection: object) -> None:
        self._count()

    def _count(self) -> None:
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise Crash
        self.left -= 1


@pytest.fixture
def tools() -> type[Tools]:
    return Tools


class Tools:
    """The functions and classes above, by way of a fixture: test files cannot import each other."""

    Tape = Tape
    TapeDelivery = TapeDelivery
    TapePull = TapePull
    CrashPoints = CrashPoints
    Crash = Crash
    House = House
    commit = staticmethod(commit)
    numbers = staticmethod(numbers)
    outbox_rows = staticmethod(outbox_rows)
    on_event = staticmethod(on_event)
    effects = staticmethod(effects)
    cursor_row = staticmethod(cursor_row)
    letters = staticmethod(letters)
    drafts = DRAFTS
