"""What the ledger's integration tests start from: its tables in a database, a clock, and a source of events."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from tallystick_chassis.catch_up import FeedEvent, FeedPage, FeedUnavailableError
from tallystick_chassis.database import Database, DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_chassis.migrate import migrate
from tallystick_cli.stack import database_setup
from tallystick_cli.stack.temporary import Databases, RunningServers
from tallystick_contracts.envelope import encode_event
from tallystick_contracts.generated import identity, ledger
from tallystick_contracts.message import EventData
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.watch import BreakWatch
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.writing.arrival import Arrival, read_event
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog.note import Signer, VerifierKey

SEED = bytes(range(32))
PREFIX = "ledger.test"


@pytest.fixture(scope="session")
def ledger_template(stack: RunningServers) -> Databases:
    """A database with the ledger's tables; copy it, do not use it."""
    template = stack.fresh_databases()
    asyncio.run(
        migrate(
            template.dsn(ServiceName.LEDGER, "migrate"),
            service="ledger",
            package="tallystick_ledger",
            ca_file=stack.ca_file,
        )
    )
    return template


@pytest.fixture(scope="session")
def copy_ledger(ledger_template: Databases) -> Callable[[], Databases]:
    """Make a new database with the ledger's tables, empty: a tenth of a second where migrations take two."""

    def copy() -> Databases:
        name = f"t_{secrets.token_hex(6)}"
        database_setup.copy(ledger_template.servers, ledger_template.name, name)
        return Databases(ledger_template.servers, name, ledger_template.keys_name)

    return copy


@pytest.fixture(scope="module")
def ledger_databases(copy_ledger: Callable[[], Databases]) -> Databases:
    """A database with the ledger's tables, new for each module: every test has a tenant of its own."""
    return copy_ledger()


@dataclass
class SettableClock:
    """A clock that tests move."""

    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
async def duty(ledger_databases: Databases, clock: SettableClock) -> AsyncIterator[DutyDatabase]:
    """The ledger writer's role."""
    database = DutyDatabase(
        ledger_databases.dsn(ServiceName.LEDGER, "duty"),
        "ledger",
        ca_file=ledger_databases.servers.layout.ca_file,
        clock=clock,
    )
    yield database
    await database.dispose()


@pytest.fixture
async def database(ledger_databases: Databases, clock: SettableClock) -> AsyncIterator[Database]:
    """The ledger's runtime role."""
    database = Database(
        ledger_databases.dsn(ServiceName.LEDGER, "app"),
        "ledger",
        ca_file=ledger_databases.servers.layout.ca_file,
        clock=clock,
    )
    yield database
    await database.dispose()


@pytest.fixture
async def superuser(ledger_databases: Databases) -> AsyncIterator[asyncpg.Connection]:
    """A connection that row-level security does not bind: what it is refused, triggers and checks refuse."""
    tls = ssl.create_default_context(cafile=str(ledger_databases.servers.layout.ca_file))
    connection = await asyncpg.connect(ledger_databases.superuser_dsn(), ssl=tls)
    yield connection
    await connection.close()


@dataclass
class FakeSource:
    """A source of events: it numbers what it sends per tenant and aggregate and can be asked for it again."""

    numbered: dict[tuple[UUID, str, str], list[bytes]] = field(default_factory=dict)
    down: bool = False
    asked: int = 0

    def emit(self, tenant: TenantId, data: EventData, **envelope: object) -> Arrival:
        """Number one event of ``data`` and return it as it would arrive."""
        kind = REGISTRY.by_struct(type(data))
        source = kind.service or "identity"
        feed = self.numbered.setdefault((tenant, source, kind.aggregate), [])
        fields: dict[str, object] = {
            "id": uuid4(),
            "source": source,
            "stream": f"{kind.aggregate}:{uuid4()}",
            "stream_version": 1,
            "time": datetime(2026, 11, 21, 11, tzinfo=UTC),
            "actor": source,
        }
        if not kind.public:
            fields |= {"correlation": uuid4().hex, "org_unit": tenant}
        body = encode_event(data, **{**fields, **envelope})  # type: ignore[arg-type]
        feed.append(body)
        return read_event(tenant, len(feed), body)

    def compliance(self, tenant: TenantId, count: int = 1, **envelope: object) -> list[Arrival]:
        """Emit events of an aggregate that goes to the compliance log."""
        return [self.emit(tenant, identity.TenantCreated(slug=f"t{n}", name="A"), **envelope) for n in range(count)]

    def exports(self, tenant: TenantId, count: int = 1) -> list[Arrival]:
        """Emit the ledger's own events: another source, the same log."""
        return [self.emit(tenant, ledger.ExportCreated(log=str(uuid4()), size=n, entries=n)) for n in range(count)]

    def audit(self, tenant: TenantId, count: int = 1) -> list[Arrival]:
        """Emit events of an aggregate that goes to the audit log."""
        return [
            self.emit(tenant, identity.MagicLinkRejected(reason=identity.MagicLinkRejection.EXPIRED))
            for _ in range(count)
        ]

    async def read(self, tenant: UUID, source: str, aggregate: str, after: int) -> FeedPage:
        """Answer as a source's feed does."""
        self.asked += 1
        if self.down:
            raise FeedUnavailableError(source)
        bodies = self.numbered.get((tenant, source, aggregate), [])
        page = bodies[after : after + 500]
        return FeedPage(
            tuple(FeedEvent(after + n, body.decode()) for n, body in enumerate(page, start=1)), head=len(bodies)
        )


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def tenant() -> TenantId:
    return TenantId(uuid4())


@pytest.fixture
def marks(tmp_path: Path) -> FileHighWater:
    """High-water marks, none yet."""
    return FileHighWater(tmp_path / "high-water")


@pytest.fixture
def watch(duty: DutyDatabase, marks: FileHighWater, clock: SettableClock) -> BreakWatch:
    return BreakWatch(duty=duty, marks=marks, prefix=PREFIX, clock=clock)


@pytest.fixture
def make_writer(
    duty: DutyDatabase, source: FakeSource, clock: SettableClock, marks: FileHighWater
) -> Callable[[], LedgerWriter]:
    """Make a writer that remembers nothing, as one in a new process."""
    return lambda: LedgerWriter(
        duty=duty,
        feeds=source,
        prefix=PREFIX,
        keys=CheckpointKeys(KeyRing(SEED), PREFIX),
        clock=clock,
        high_water=HighWaterGuard(marks),
    )


@pytest.fixture
def writer(make_writer: Callable[[], LedgerWriter]) -> LedgerWriter:
    return make_writer()


@dataclass(frozen=True)
class StoredLog:
    """Everything the database has of one log."""

    log: asyncpg.Record
    lines: Sequence[bytes]
    checkpoints: Sequence[asyncpg.Record]

    @property
    def verifier(self) -> VerifierKey:
        """The key that signs this log's checkpoints."""
        return Signer(self.log["origin"], SEED).verifier


@dataclass(frozen=True)
class LedgerReader:
    """Reads the tables past every policy, for tests to compare."""

    superuser: asyncpg.Connection

    async def count(self, tenants: Sequence[TenantId]) -> int:
        """Return how many entries the tenants' logs have."""
        count: int = await self.superuser.fetchval(
            "select coalesce(sum(size), 0)::bigint from ledger.logs where tenant_id = any($1)", tenants
        )
        return count

    async def logs(self, tenant: TenantId) -> list[StoredLog]:
        """Return the tenant's logs, compliance first, then by period."""
        found = []
        for log in await self.superuser.fetch(
            "select * from ledger.logs where tenant_id = $1 order by period nulls first, generation", tenant
        ):
            lines = await self.superuser.fetch(
                "select line from ledger.entries where tenant_id = $1 and log_id = $2 order by seq", tenant, log["id"]
            )
            checkpoints = await self.superuser.fetch(
                "select * from ledger.checkpoints where tenant_id = $1 and log_id = $2 order by size", tenant, log["id"]
            )
            found.append(StoredLog(log, [row["line"] for row in lines], checkpoints))
        return found


@pytest.fixture
def reader(superuser: asyncpg.Connection) -> LedgerReader:
    return LedgerReader(superuser)
