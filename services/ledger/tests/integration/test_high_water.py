"""Restores are not hidden: what the ledger signs continues what it has signed, whatever database it wakes up with."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs
from tallystick_chassis.database import DutyDatabase
from tallystick_chassis.ids import TenantId
from tallystick_cli.stack import database_setup
from tallystick_cli.stack.temporary import Databases
from tallystick_contracts.message import LogKind
from tallystick_contracts.topology import ServiceName, event_subject
from tallystick_ledger.errors import LogBusyError, LogFrozenError
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.mark import Head, MarkMovedError, Verdict
from tallystick_ledger.high_water.watch import BreakWatch
from tallystick_ledger.keys.ring import KeyRing
from tallystick_ledger.keys.signing import CheckpointKeys
from tallystick_ledger.logs.domain import origin_of
from tallystick_ledger.writing.job import WriterJob
from tallystick_ledger.writing.writer import LedgerWriter
from tallystick_tlog.receipt import Receipt

from .conftest import PREFIX, SEED, LedgerReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from bucket import Bucket
    from tallystick_chassis.bus import BusMessage
    from tallystick_ledger.high_water.guard import HighWater
    from tallystick_ledger.writing.arrival import Arrival

    from .conftest import FakeSource, SettableClock, StoredLog

L, A = LogKind.COMPLIANCE, LogKind.AUDIT


class Killed(BaseException):
    """The process ends here, between two statements."""


class KilledBefore:
    """Marks of a process that is killed before one is raised; what it has read, it has."""

    def __init__(self, marks: HighWater) -> None:
        self._marks = marks

    async def read(self, log_name: str) -> Head | None:
        return await self._marks.read(log_name)

    async def recall(self, log_name: str) -> Head | None:
        return await self._marks.recall(log_name)

    async def read_all(self) -> Mapping[str, Head]:
        return await self._marks.read_all()

    async def compact(self) -> bool:
        return await self._marks.compact()

    async def raise_to(self, marks: Mapping[str, Head]) -> None:
        if marks:
            raise Killed


class KilledAfter(KilledBefore):
    """Marks of a process that is killed when one has been raised."""

    async def raise_to(self, marks: Mapping[str, Head]) -> None:
        await self._marks.raise_to(marks)
        raise Killed


class House:
    """A ledger that can be backed up, restored and killed; its marks and its sources lie outside the database."""

    def __init__(
        self, databases: Databases, source: FakeSource, open_marks: Callable[[str], HighWater], clock: SettableClock
    ) -> None:
        self.databases = databases
        self.source = source
        self.open_marks = open_marks
        self.marks = open_marks("true")
        self.clock = clock

    def backup(self) -> Databases:
        """Copy the database as it is; nobody may be connected."""
        name = f"t_{secrets.token_hex(6)}"
        database_setup.copy(self.databases.servers, self.databases.name, name)
        return Databases(self.databases.servers, name, self.databases.keys_name)

    def restore(self, backup: Databases) -> None:
        """Go on with the backup."""
        self.databases = backup

    @asynccontextmanager
    async def duty(self) -> AsyncIterator[DutyDatabase]:
        database = DutyDatabase(
            self.databases.dsn(ServiceName.LEDGER, "duty"),
            "ledger",
            ca_file=self.databases.servers.layout.ca_file,
            clock=self.clock,
        )
        try:
            yield database
        finally:
            await database.dispose()

    @asynccontextmanager
    async def writer(self, marks: KilledBefore | None = None) -> AsyncIterator[LedgerWriter]:
        """One process of the writer."""
        async with self.duty() as duty:
            yield LedgerWriter(
                duty=duty,
                feeds=self.source,
                prefix=PREFIX,
                keys=CheckpointKeys(KeyRing(SEED), PREFIX),
                clock=self.clock,
                high_water=HighWaterGuard(marks or self.marks),
            )

    async def record(self, tenant: TenantId, count: int, kind: LogKind = L) -> None:
        """Record new events in a process of its own."""
        async with self.writer() as writer:
            emit = self.source.compliance if kind is L else self.source.audit
            await writer.record(tenant, kind, emit(tenant, count))

    async def stored(self, tenant: TenantId, place: int = 0) -> StoredLog:
        """Return everything that the database has of one of the tenant's logs."""
        tls = ssl.create_default_context(cafile=str(self.databases.servers.layout.ca_file))
        superuser = await asyncpg.connect(self.databases.superuser_dsn(), ssl=tls)
        try:
            return (await LedgerReader(superuser).logs(tenant))[place]
        finally:
            await superuser.close()

    async def breaks(self) -> dict[str, tuple[Verdict, int, int]]:
        """Return what the watch finds: by log, the verdict, what was signed, and what is there."""
        async with self.duty() as duty:
            watch = BreakWatch(duty=duty, marks=self.marks, prefix=PREFIX, clock=self.clock)
            return {one.origin: (one.verdict, one.marked.size, one.kept.size) for one in await watch.find()}


@dataclass
class FakeMessage:
    """One delivery of the durable."""

    arrival: Arrival
    delivered: int = 1
    acked: bool = False

    @property
    def subject(self) -> str:
        event = self.arrival.event
        return event_subject(self.arrival.tenant, event.source, event.aggregate, event.event_type.verb)

    @property
    def payload(self) -> bytes:
        return self.arrival.body

    @property
    def headers(self) -> Mapping[str, str]:
        return {"source-seq": str(self.arrival.source_seq)}

    async def ack(self) -> None:
        self.acked = True

    async def nak(self, delay_s: float) -> None:
        raise AssertionError(delay_s)

    async def keep(self) -> None:
        """Nothing: it is not in hand for long."""


@dataclass
class FakeBus:
    """A durable with messages in it, and the receipts that were published."""

    messages: Sequence[FakeMessage]
    receipts: list[BusMessage] = field(default_factory=list)

    async def fetch(self, limit: int, wait_s: float) -> Sequence[FakeMessage]:
        assert limit >= len(self.messages)
        assert wait_s
        return self.messages

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:
        assert timeout_s
        self.receipts += messages


@pytest.fixture
def house(
    copy_ledger: Callable[[], Databases],
    source: FakeSource,
    open_marks: Callable[[str], HighWater],
    clock: SettableClock,
) -> House:
    """A house with marks in a file, and one with marks in an object store."""
    return House(copy_ledger(), source, open_marks, clock)


@pytest.fixture
def origin(tenant: TenantId) -> str:
    return origin_of(PREFIX, tenant, None)


async def test_the_mark_follows_every_batch(house: House, tenant: TenantId, origin: str) -> None:
    for count in (3, 1, 5):
        await house.record(tenant, count)
    stored = await house.stored(tenant)
    assert await house.marks.read(origin) == Head(9, stored.checkpoints[-1]["root"])
    assert await house.breaks() == {}


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("end", [KilledBefore, KilledAfter])
async def test_a_kill_on_either_side_of_the_mark_is_no_restore(
    house: House, tenant: TenantId, origin: str, first: int, end: type[KilledBefore]
) -> None:
    if first:
        await house.record(tenant, first)
    arrivals = house.source.compliance(tenant, 3)
    async with house.writer(end(house.marks)) as killed:
        with pytest.raises(Killed):
            await killed.record(tenant, L, arrivals)
    assert await house.breaks() == {}
    async with house.writer() as next_process:
        outcome = await next_process.record(tenant, L, arrivals)
    (committed,) = outcome.committed
    assert len(committed.places) == 3
    stored = await house.stored(tenant)
    assert len(stored.lines) == first + 3
    # The receipt was given after the mark had come up to it.
    assert await house.marks.read(origin) == Head(first + 3, stored.checkpoints[-1]["root"])
    await house.record(tenant, 1)


async def test_a_mark_that_cannot_be_written_keeps_receipts_back(
    house: House, tenant: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = house.source.compliance(tenant, 3)

    async def full(_: Mapping[str, Head]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(house.marks, "raise_to", full)
    for _ in range(2):  # the second time the events are known, and that would give receipts again
        async with house.writer() as writer:
            with pytest.raises(OSError, match="No space"):
                await writer.record(tenant, L, arrivals)
    monkeypatch.undo()
    async with house.writer() as writer:
        assert len((await writer.record(tenant, L, arrivals)).committed) == 1


@pytest.mark.parametrize("lost", [1, 700])
async def test_nothing_is_signed_on_a_backup(house: House, tenant: TenantId, origin: str, lost: int) -> None:
    await house.record(tenant, 3)
    backup = house.backup()
    await house.record(tenant, lost)
    again = house.source.compliance(tenant, 1)
    house.restore(backup)
    for _ in range(2):
        async with house.writer() as writer:
            with pytest.raises(LogFrozenError, match=f"behind: signed up to {3 + lost}, the database has 3"):
                await writer.record(tenant, L, again)
    assert await house.breaks() == {origin: (Verdict.BEHIND, 3 + lost, 3)}


async def test_nothing_is_signed_on_a_backup_that_has_never_heard_of_the_log(
    house: House, tenant: TenantId, origin: str
) -> None:
    backup = house.backup()
    await house.record(tenant, 2)
    await house.record(tenant, 2, A)
    audit = origin_of(PREFIX, tenant, "2026-11")
    house.restore(backup)
    assert await house.breaks() == {origin: (Verdict.BEHIND, 2, 0), audit: (Verdict.BEHIND, 2, 0)}
    for kind in (L, A):
        with pytest.raises(LogFrozenError):
            await house.record(tenant, 1, kind)
    async with house.duty() as duty, duty.duty() as connection:
        assert (await connection.exec_driver_sql("select count(*) from ledger.logs")).scalar() == 0


async def test_another_history_of_the_same_length_or_longer_is_found_out(
    house: House, tenant: TenantId, origin: str
) -> None:
    await house.record(tenant, 2)
    backup = house.backup()
    await house.record(tenant, 2)
    # Somebody goes on from the backup without marks, and brings that database back.
    house.restore(backup)
    true_marks, house.marks = house.marks, house.open_marks("forged")
    house.source.numbered[tenant, "identity", "tenant"] = house.source.numbered[tenant, "identity", "tenant"][:2]
    await house.record(tenant, 2)
    house.marks = true_marks
    assert await house.breaks() == {origin: (Verdict.FORKED, 4, 4)}
    with pytest.raises(LogFrozenError):
        await house.record(tenant, 1)
    house.marks = house.open_marks("forged")
    await house.record(tenant, 2)
    house.marks = true_marks
    with pytest.raises(LogFrozenError):
        await house.record(tenant, 1)
    assert await house.breaks() == {origin: (Verdict.FORKED, 4, 4)}, "the break stays as it was found"


async def test_a_break_is_forgotten_when_the_right_database_is_back(house: House, tenant: TenantId) -> None:
    await house.record(tenant, 2)
    backup, right = house.backup(), house.databases
    await house.record(tenant, 2)
    house.restore(backup)
    assert len(await house.breaks()) == 1
    house.restore(right)
    assert await house.breaks() == {}
    await house.record(tenant, 1)


@pytest.mark.parametrize("finder", ["writer", "watch"])
async def test_a_log_of_before_there_were_marks_is_adopted_and_the_log_says_so(
    house: House, tenant: TenantId, origin: str, finder: str
) -> None:
    for _ in range(6):
        await house.record(tenant, 1)
    house.marks = house.open_marks("new")
    with capture_logs() as said:
        if finder == "watch":
            assert await house.breaks() == {}
            assert (await house.marks.read(origin) or Head(0, b"")).size == 6
        await house.record(tenant, 1)
    (adopted,) = [line for line in said if line["event"] == "high_water_adopted"]
    if finder == "watch":
        assert (adopted["count"], adopted["first_use"]) == (1, True)
    else:
        assert (adopted["log_name"], adopted["size"], adopted["mark"]) == (origin, 6, 0)
    assert (await house.marks.read(origin) or Head(0, b"")).size == 7


async def test_events_of_a_frozen_log_wait_and_other_tenants_go_on(house: House, tenant: TenantId) -> None:
    other_tenant = TenantId(uuid4())
    await house.record(tenant, 1)
    backup = house.backup()
    await house.record(tenant, 1)
    house.restore(backup)
    messages = [FakeMessage(one) for one in house.source.compliance(tenant, 3)]
    others = [FakeMessage(one) for one in house.source.compliance(other_tenant, 2)]
    bus = FakeBus(messages + others)
    async with house.writer() as writer:
        with capture_logs() as said:
            job = WriterJob(writer=writer, source=bus, receipts=bus)
            await job.step()
            await job.close()
    assert [line["log_level"] for line in said if line["event"] == "log_frozen"] == ["error"]
    assert {Receipt.from_json(one.payload).tenant for one in bus.receipts} == {str(other_tenant)}
    # Let go rather than kept pending: without a receipt their outbox rows bring them again.
    assert all(message.acked for message in messages)


async def test_two_replicas_that_write_one_log_in_turns_raise_one_mark(
    house: House, tenant: TenantId, origin: str
) -> None:
    other = KilledBefore(house.open_marks("true"))
    other.raise_to = other._marks.raise_to  # type: ignore[method-assign] - it lives, with marks of its own
    async with house.writer() as one, house.writer(other) as two:
        for turn in range(6):
            arrivals = house.source.compliance(tenant, 2)
            outcome = await (two if turn % 2 else one).record(tenant, L, arrivals)
            assert len(outcome.committed) == 1
    stored = await house.stored(tenant)
    assert await house.open_marks("true").read(origin) == Head(12, stored.checkpoints[-1]["root"])


async def test_two_replicas_that_race_for_one_log_lose_nothing(house: House, tenant: TenantId, origin: str) -> None:
    other = KilledBefore(house.open_marks("true"))
    other.raise_to = other._marks.raise_to  # type: ignore[method-assign] - it lives, with marks of its own
    async with house.writer() as one, house.writer(other) as two:
        for _ in range(5):
            arrivals = house.source.compliance(tenant, 4)
            waiting = [(one, arrivals), (two, arrivals)]
            while waiting:
                done = await asyncio.gather(
                    *(writer.record(tenant, L, same) for writer, same in waiting), return_exceptions=True
                )
                waiting = [again for again, failed in zip(waiting, done, strict=True) if _may_be_repeated(failed)]
    stored = await house.stored(tenant)
    assert len(stored.lines) == 20
    assert await house.open_marks("true").read(origin) == Head(20, stored.checkpoints[-1]["root"])
    assert await house.breaks() == {}


def _may_be_repeated(outcome: object) -> bool:
    if isinstance(outcome, BaseException) and not isinstance(outcome, LogBusyError | MarkMovedError):
        raise outcome
    return isinstance(outcome, BaseException)


async def test_nothing_is_signed_or_receipted_while_the_store_of_the_marks_fails(
    house: House, tenant: TenantId, request: pytest.FixtureRequest
) -> None:
    if isinstance(house.marks, FileHighWater):
        pytest.skip("a disk that fails has a test of its own")
    store: Bucket = request.getfixturevalue("store")
    await house.record(tenant, 2)
    arrivals = house.source.compliance(tenant, 2)
    for answers in ([500] * 60, [403] * 60, [412] * 60):
        store.answers[:] = answers
        async with house.writer() as writer:
            with pytest.raises(OSError):  # noqa: PT011 - whichever
                await writer.record(tenant, L, arrivals)
        assert len((await house.stored(tenant)).lines) == 2, "the mark could not be read: nothing is signed"
    store.answers.clear()
    async with house.writer() as writer:
        assert len((await writer.record(tenant, L, arrivals)).committed) == 1


async def test_marks_that_a_store_loses_while_a_worker_runs_are_an_alarm_and_are_put_back(
    house: House, tenant: TenantId, origin: str, address_of: Callable[[str], str], request: pytest.FixtureRequest
) -> None:
    if isinstance(house.marks, FileHighWater):
        pytest.skip("a file that is taken away has its own ways")
    store: Bucket = request.getfixturevalue("store")
    await house.record(tenant, 2)
    backup = house.backup()
    await house.record(tenant, 1)
    assert await house.breaks() == {}
    store.delete(f"{address_of('true').removeprefix('s3://marks/')}/marks/{origin}.json")
    with capture_logs() as said:
        assert await house.breaks() == {}
    assert [line["log_level"] for line in said if line["event"] == "high_water_lost"] == ["error"]
    house.marks = house.open_marks("true")
    house.restore(backup)
    with pytest.raises(LogFrozenError, match="signed up to 3, the database has 2"):
        await house.record(tenant, 1)
