"""A ledger that streams to SIEMs, for the tests of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.outbound import Outbound
from tallystick_chassis.ids import TenantId
from tallystick_chassis.keystore import KeyWrap
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import KeyEncryptionKeys, SecretKey
from tallystick_cli.stack import authority
from tallystick_contracts.message import LogKind
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.siem import commands, store
from tallystick_ledger.siem.progress import Due
from tallystick_ledger.siem.receivers import receivers
from tallystick_ledger.siem.secrets import Secret, SecretBox
from tallystick_ledger.siem.streaming import Stores, Streamer

from .conftest import LedgerReader
from .siem_receivers import Siem, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import asyncpg
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.siem.store import Settled
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource


L, A = LogKind.COMPLIANCE, LogKind.AUDIT
BOX = SecretBox(KeyWrap(KeyEncryptionKeys({"1": SecretKey(bytes(32))})))


@dataclass
class House:
    """A ledger with destinations of tenants, and workers that stream to them."""

    database: Database
    duty: DutyDatabase
    superuser: asyncpg.Connection
    guard: HighWaterGuard
    ca_file: Path | None
    certificate: tuple[Path, Path]
    reader: LedgerReader

    def worker(
        self, *, internal: tuple[str, ...] = ("127.0.0.1",), lease_s: float = 60.0, box: SecretBox = BOX
    ) -> Streamer:
        """Make a worker that remembers nothing, as one in a new process."""
        outbound = Outbound(internal_hosts=internal, ca_file=self.ca_file)
        return Streamer(
            stores=Stores(self.database, self.duty, self.guard, utc_now),
            receivers=receivers(outbound=outbound, box=box, clock=utc_now),
            version="0.1.0",
            lease_s=lease_s,
        )

    async def add(self, tenant: TenantId, address: str, *, from_beginning: bool = True, **other: Any) -> Made:
        """Make a destination as an auditor does."""
        outbound = Outbound(internal_hosts=("127.0.0.1",), ca_file=self.ca_file)
        place = commands.checked_place(address, outbound)
        wanted = store.Wanted(
            other.get("name", f"s{uuid4().hex[:8]}"),
            place.kind.value,
            address,
            other.get("log_kinds", ("audit", "compliance")),
            other.get("heartbeat_s", 300),
        )
        secret = Secret.new(other.get("authorization"))
        async with self.database.transaction(Scope.for_duty(tenant, "ledger")) as tx:
            made = await commands.add(tx, wanted, place, BOX, secret, from_beginning=from_beginning)
        return Made(Due(tenant, made.id), secret)

    async def entries(self, tenant: TenantId) -> set[tuple[str, int]]:
        """Return what a receiver must have in the end, by log and number."""
        return {(one.log["origin"], seq) for one in await self.reader.logs(tenant) for seq in range(one.log["size"])}

    async def do(self, made: Made, command: Callable[..., Any], **given: Any) -> Any:
        """Run one of the commands for a destination."""
        async with self.database.transaction(Scope.for_duty(made.due.tenant, "ledger")) as tx:
            return await command(tx, made.due.id, **given)

    async def look(self, made: Made) -> Settled:
        """Return how the destination is doing."""
        found: Settled = await self.do(made, commands.find)
        return found

    async def hurry(self, made: Made) -> None:
        """Let the time that a retry waits for have passed."""
        await self.superuser.execute("update ledger.siem_destinations set next_at = now() where id = $1", made.due.id)

    async def grow_silent(self, made: Made) -> None:
        """Let so much time have passed that a heartbeat is due."""
        await self.superuser.execute(
            "update ledger.siem_destinations set beat_at = now() - interval '1 day' where id = $1", made.due.id
        )


@dataclass(frozen=True)
class Made:
    """A destination, and the secret that was shown once."""

    due: Due
    secret: Secret


@pytest.fixture
def house(
    database: Database,
    duty: DutyDatabase,
    superuser: asyncpg.Connection,
    marks: FileHighWater,
    ledger_databases: Databases,
) -> House:
    layout = ledger_databases.servers.layout
    certificate = authority.ensure_server(layout, "siem")
    reader = LedgerReader(superuser)
    return House(database, duty, superuser, HighWaterGuard(marks), layout.ca_file, certificate, reader)


@pytest.fixture
async def siem(house: House) -> AsyncIterator[Siem]:
    """An HTTPS receiver that takes everything."""
    receiver = Siem()
    async with listening(receiver, house.certificate):
        yield receiver


@pytest.fixture
async def filled(writer: LedgerWriter, source: FakeSource, tenant: TenantId) -> TenantId:
    """A tenant with 30 entries in its compliance log and 3 in its audit log."""
    await writer.record(tenant, L, source.compliance(tenant, 30))
    await writer.record(tenant, A, source.audit(tenant, 3))
    return tenant


async def stream(worker: Streamer, made: Made) -> None:
    """Let the worker send until nothing is left or it has to wait."""
    while await worker.turn(made.due):
        pass
