"""Streaming to SIEMs: each entry at least once and in order, whatever is killed, down, slow or refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
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
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.siem import commands, progress, store, streaming
from tallystick_ledger.siem.progress import Due
from tallystick_ledger.siem.receivers import receivers
from tallystick_ledger.siem.secrets import Secret, SecretBox
from tallystick_ledger.siem.streaming import Stores, Streamer
from tallystick_tlog import open_checkpoint
from tallystick_tlog.tree import CompactRange

from .conftest import LedgerReader
from .siem_receivers import Siem, Syslog, breaking_off, listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

    import asyncpg
    from tallystick_chassis.database import Database, DutyDatabase
    from tallystick_cli.stack.temporary import Databases
    from tallystick_ledger.high_water.watch import BreakWatch
    from tallystick_ledger.siem.store import Settled
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, SettableClock

pytestmark = pytest.mark.control("EV-25e")

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

    def worker(self, *, internal: tuple[str, ...] = ("127.0.0.1",), lease_s: float = 60.0) -> Streamer:
        """Make a worker that remembers nothing, as one in a new process."""
        outbound = Outbound(internal_hosts=internal, ca_file=self.ca_file)
        return Streamer(
            stores=Stores(self.database, self.duty, self.guard, utc_now),
            receivers=receivers(outbound=outbound, box=BOX, clock=utc_now),
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


@pytest.mark.control("X-07")
async def test_every_entry_arrives_in_order_signed_and_with_the_checkpoint_over_it(
    house: House, siem: Siem, filled: TenantId
) -> None:
    made = await house.add(filled, siem.url, authorization="Splunk 12345")
    await stream(house.worker(), made)
    compliance, audit = await house.reader.logs(filled)
    assert set(siem.entries()) == await house.entries(filled)
    assert len(siem.entries()) == 33
    for one in (compliance, audit):
        origin = one.log["origin"]
        told = [event for event in siem.events() if event["metadata"].get("log_name") == origin]
        assert [event["metadata"]["sequence"] for event in told] == list(range(len(one.lines)))
        ids = [json.loads(line)["event"]["id"] for line in one.lines]
        assert [event["metadata"]["uid"] for event in told] == ids
        assert {event["metadata"]["tenant_uid"] for event in told} == {str(filled)}
        # What makes the receiver a witness: from the hashes it was sent it can compute the root that is signed.
        (signed,) = [
            checkpoint
            for event in siem.events()
            for checkpoint in event["unmapped"].get("checkpoints", ())
            if checkpoint["log_name"] == origin
        ]
        tree = CompactRange()
        for event in told:
            tree = tree.append(bytes.fromhex(event["unmapped"]["attestation_list"][0]["fingerprint"]["value"]))
        assert open_checkpoint(signed["note"].encode(), [one.verifier]).root == tree.root()
    for request in siem.requests:
        signed_text = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
        digest = hmac.new(made.secret.key, signed_text, hashlib.sha256).digest()
        assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        assert request.headers["content-type"] == "application/x-ndjson"
        assert request.headers["authorization"] == "Splunk 12345"
    assert (await house.look(made)).waiting == 0
    before = len(siem.requests)
    await stream(house.worker(), made)
    assert len(siem.requests) == before, "what was taken is not sent again"


async def test_a_new_destination_gets_what_is_recorded_from_then_on_and_logs_that_open_later_whole(
    house: House, siem: Siem, writer: LedgerWriter, source: FakeSource, tenant: TenantId
) -> None:
    await writer.record(tenant, L, source.compliance(tenant, 5))
    made = await house.add(tenant, siem.url, from_beginning=False)
    await stream(house.worker(), made)
    assert siem.entries() == []
    await writer.record(tenant, L, source.compliance(tenant, 2))
    await writer.record(tenant, A, source.audit(tenant, 2))
    await stream(house.worker(), made)
    compliance, audit = await house.reader.logs(tenant)
    assert sorted(siem.entries()) == sorted(
        [*((compliance.log["origin"], seq) for seq in (5, 6)), *((audit.log["origin"], seq) for seq in (0, 1))]
    )


async def test_a_destination_gets_the_kinds_of_logs_it_is_for(house: House, siem: Siem, filled: TenantId) -> None:
    made = await house.add(filled, siem.url, log_kinds=("audit",))
    await stream(house.worker(), made)
    assert {origin.rpartition("/")[2].split("-")[0] for origin, _ in siem.entries()} == {"audit"}


async def test_a_receiver_that_was_down_gets_everything_when_it_is_back(house: House, filled: TenantId) -> None:
    receiver = Siem()
    async with listening(receiver, house.certificate):
        port = receiver.port
    made = await house.add(filled, receiver.url)
    worker = house.worker()
    await stream(worker, made)
    down = await house.look(made)
    assert (down.attempts, down.fault, down.waiting) == (1, "no connection", 33)
    assert not await worker.turn(made.due), "it waits before it tries again"
    assert (await house.look(made)).attempts == 1
    await house.hurry(made)
    await stream(worker, made)
    assert (await house.look(made)).attempts == 2
    async with listening(receiver, house.certificate, port=port):
        await house.hurry(made)
        await stream(worker, made)
    assert set(receiver.entries()) == await house.entries(filled)
    up = await house.look(made)
    assert (up.attempts, up.fault, up.waiting) == (0, None, 0)


class KilledError(BaseException):
    """What SIGKILL leaves of a transaction: nothing."""


KILLS = {"before it was sent": "_read", "before the cursor moved": "note_taken", "before the commit": "_move"}


@pytest.mark.parametrize("moment", KILLS)
async def test_a_worker_that_is_killed_loses_nothing(
    house: House, siem: Siem, filled: TenantId, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await house.add(filled, siem.url)
    killed = house.worker(lease_s=0.2)

    async def release(*_: object) -> None:
        """A process that is killed gives nothing back."""

    async def kill(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(killed, "_release", release)
    with monkeypatch.context() as patch:
        patch.setattr(killed if moment == "before it was sent" else progress, KILLS[moment], kill)
        with pytest.raises(KilledError):
            await killed.turn(made.due)
    sent = len(siem.taken)
    assert sent == (0 if moment == "before it was sent" else 1)
    next_worker = house.worker()
    assert not await next_worker.turn(made.due), "the lease of the one that was killed still holds"
    await asyncio.sleep(0.25)
    await stream(next_worker, made)
    assert set(siem.entries()) == await house.entries(filled)
    if sent:
        first, again = siem.taken[:2]
        assert first.headers["webhook-id"] == again.headers["webhook-id"], "a receiver knows the repetition"


async def test_an_entry_that_is_refused_for_good_does_not_stop_the_others_and_a_replay_brings_it(
    house: House, siem: Siem, filled: TenantId
) -> None:
    made = await house.add(filled, siem.url, log_kinds=("compliance",))
    (compliance, _) = await house.reader.logs(filled)
    poison = json.loads(compliance.lines[17])["event"]["id"]
    siem.answer = lambda events: 422 if any(event["metadata"]["uid"] == poison for event in events) else 200
    await stream(house.worker(), made)
    assert sorted(seq for _, seq in siem.entries()) == [seq for seq in range(30) if seq != 17]
    assert len(siem.entries()) == 29
    (letter,) = await house.do(made, store.list_letters, limit=10)
    assert (letter.log, letter.seq, letter.status) == (compliance.log["id"], 17, 422)
    assert (str(letter.event_id), letter.type) == (poison, "identity.tenant.created")
    after = await house.look(made)
    assert (after.waiting, after.dead_letters, after.attempts) == (0, 1, 0)
    siem.answer = lambda _events: 200
    await house.do(made, commands.replay, log=letter.log, seq=letter.seq)
    await stream(house.worker(), made)
    assert sorted({seq for _, seq in siem.entries()}) == list(range(30))
    assert (await house.look(made)).dead_letters == 0


async def test_a_receiver_that_refuses_everything_is_at_fault_and_not_the_entries(
    house: House, siem: Siem, filled: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "DEAD_IN_A_ROW", 3)
    made = await house.add(filled, siem.url, log_kinds=("compliance",))
    siem.answer = lambda _events: 400
    await stream(house.worker(), made)
    after = await house.look(made)
    assert (after.dead_letters, after.waiting, after.attempts, after.fault) == (3, 27, 1, "answered 400")
    siem.answer = lambda _events: 200
    await house.hurry(made)
    await stream(house.worker(), made)
    assert [seq for _, seq in siem.entries()] == list(range(3, 30))


@pytest.mark.parametrize("status", [301, 401, 404, 429, 503])
async def test_what_is_not_about_the_entries_buries_none_of_them(
    house: House, siem: Siem, filled: TenantId, status: int
) -> None:
    made = await house.add(filled, siem.url)
    siem.answer = lambda _events: status
    await stream(house.worker(), made)
    after = await house.look(made)
    assert (after.dead_letters, after.waiting, after.fault) == (0, 33, f"answered {status}")
    assert len(siem.requests) == 1


async def test_silence_is_broken_by_a_heartbeat_with_the_checkpoints(
    house: House, siem: Siem, filled: TenantId
) -> None:
    made = await house.add(filled, siem.url)
    await stream(house.worker(), made)
    siem.taken.clear()
    await stream(house.worker(), made)
    assert not siem.taken, "it is not due yet"
    await house.grow_silent(made)
    await stream(house.worker(), made)
    (event,) = siem.events()
    assert (event["metadata"]["event_code"], event["class_uid"]) == ("tallystick.heartbeat", 0)
    notes = {one["log_name"]: one["note"].encode() for one in event["unmapped"]["checkpoints"]}
    logs = await house.reader.logs(filled)
    assert {one.log["origin"] for one in logs} == set(notes)
    for one in logs:
        assert open_checkpoint(notes[one.log["origin"]], [one.verifier]).size == one.log["size"]


async def test_a_test_is_sent_at_once_and_says_what_was_wrong(house: House, siem: Siem, filled: TenantId) -> None:
    made = await house.add(filled, siem.url, from_beginning=False)
    assert (await house.do(made, commands.ask_for_test)).test_waits
    await stream(house.worker(), made)
    assert [event["unmapped"]["test"] for event in siem.events()] == [True]
    siem.answer = lambda _events: 403
    await house.do(made, commands.ask_for_test)
    await stream(house.worker(), made)
    after = await house.look(made)
    assert (after.test_waits, after.fault) == (False, "answered 403")


async def test_two_workers_share_a_destination_and_never_send_at_the_same_time(
    house: House, siem: Siem, filled: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await house.add(filled, siem.url)
    await house.superuser.execute("update ledger.siem_destinations set batch_entries = 4 where id = $1", made.due.id)
    monkeypatch.setattr(progress, "BATCH_ENTRIES", 4)
    siem.delay_s = 0.02
    workers = [house.worker(), house.worker()]
    async with asyncio.timeout(60):
        while (await house.look(made)).waiting:
            await asyncio.gather(*(worker.turn(made.due) for worker in workers))
    assert siem.most_at_once == 1
    assert sorted(siem.entries()) == sorted(await house.entries(filled)), "each once"


async def test_a_destination_that_hangs_holds_up_no_other_and_is_given_back_at_the_end(
    house: House, siem: Siem, filled: TenantId
) -> None:
    stuck = Siem(hangs=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(stuck, house.certificate))
        hung, well = await house.add(filled, stuck.url), await house.add(filled, siem.url)
        worker = house.worker()
        async with asyncio.timeout(60):
            while (await house.look(well)).waiting or not stuck.requests:
                await worker.step()
                await asyncio.sleep(0.01)
        assert set(siem.entries()) == await house.entries(filled)
        assert (await house.look(hung)).waiting == 33
        await worker.close()
        stuck.hangs = False
        await stream(house.worker(), hung)
        assert set(stuck.entries()) == await house.entries(filled), "the lease was given back"


async def test_a_paused_destination_gets_nothing_and_misses_nothing(house: House, siem: Siem, filled: TenantId) -> None:
    made = await house.add(filled, siem.url)
    await house.do(made, commands.set_paused, paused=True)
    await stream(house.worker(), made)
    assert not siem.requests
    await house.do(made, commands.set_paused, paused=False)
    await stream(house.worker(), made)
    assert set(siem.entries()) == await house.entries(filled)


async def test_a_removed_destination_gets_nothing_more_and_its_secret_is_gone(
    house: House, siem: Siem, filled: TenantId
) -> None:
    made = await house.add(filled, siem.url)
    row = await house.superuser.fetchrow("select * from ledger.siem_destinations where id = $1", made.due.id)
    assert made.secret.key not in row["secret"]
    await house.do(made, commands.remove)
    await stream(house.worker(), made)
    assert not siem.requests
    row = await house.superuser.fetchrow("select * from ledger.siem_destinations where id = $1", made.due.id)
    assert (row["secret"], row["epoch"]) == (None, None)


async def test_a_replay_goes_back_to_a_time_or_to_an_entry_and_never_forward(  # noqa: PLR0917 - fixtures
    house: House,
    siem: Siem,
    writer: LedgerWriter,
    source: FakeSource,
    tenant: TenantId,
    clock: SettableClock,
) -> None:
    for _ in range(3):
        await writer.record(tenant, L, source.compliance(tenant, 4))
        clock.advance(hours=1)
    made = await house.add(tenant, siem.url)
    worker = house.worker()
    await stream(worker, made)
    (log,) = await house.reader.logs(tenant)

    async def replayed(**given: object) -> list[int]:
        siem.taken.clear()
        await house.do(made, commands.replay, **given)
        await stream(worker, made)
        return [seq for _, seq in siem.entries()]

    since: datetime = clock()
    assert await replayed(since=since) == []
    clock.advance(hours=-2.5)
    assert await replayed(since=clock()) == list(range(4, 12))
    assert await replayed(log=log.log["id"], seq=10) == [10, 11]
    assert await replayed() == list(range(12))
    await house.do(made, commands.set_paused, paused=True)
    await house.do(made, commands.replay, log=log.log["id"], seq=2)
    await house.do(made, commands.replay, log=log.log["id"], seq=9)
    assert (await house.look(made)).waiting == 10, "a later replay does not leave out what an earlier one wanted"


async def test_a_log_that_does_not_continue_its_mark_is_not_streamed(
    house: House, siem: Siem, filled: TenantId, marks: FileHighWater, watch: BreakWatch
) -> None:
    compliance, audit = await house.reader.logs(filled)
    await marks.raise_to({compliance.log["origin"]: Head(99, bytes(32))})
    await watch.find()
    made = await house.add(filled, siem.url)
    await stream(house.worker(), made)
    await house.grow_silent(made)
    await stream(house.worker(), made)
    assert {origin for origin, _ in siem.entries()} == {audit.log["origin"]}
    checkpoints = [one for event in siem.events() for one in event["unmapped"].get("checkpoints", ())]
    assert {one["log_name"] for one in checkpoints} == {audit.log["origin"]}


async def test_a_log_that_has_another_root_than_was_signed_is_not_streamed_even_before_anybody_has_looked(
    house: House, siem: Siem, filled: TenantId, tmp_path: Path
) -> None:
    compliance, audit = await house.reader.logs(filled)
    signed = FileHighWater(tmp_path / "signed-before-the-database-was-edited")
    await signed.raise_to({compliance.log["origin"]: Head(30, bytes(32))})
    made = await house.add(filled, siem.url)
    await stream(replace(house, guard=HighWaterGuard(signed)).worker(), made)
    assert {origin for origin, _ in siem.entries()} == {audit.log["origin"]}


async def test_a_fault_of_our_own_is_not_repeated_every_second(
    house: House, siem: Siem, filled: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await house.add(filled, siem.url)

    def fail(*_: object, **__: object) -> None:
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "ocsf_event", fail)
        with pytest.raises(KeyError):
            await house.worker().turn(made.due)
    failed = await house.look(made)
    assert (failed.attempts, failed.waiting, failed.fault) == (1, 33, "a fault of the ledger; see its log")
    assert not await house.worker().turn(made.due)
    await house.hurry(made)
    await stream(house.worker(), made)
    assert (await house.look(made)).waiting == 0


@pytest.mark.parametrize("scheme", ["https", "syslog+tls"])
async def test_a_private_address_is_not_reached_unless_the_operator_named_its_host(
    house: House, siem: Siem, filled: TenantId, scheme: str
) -> None:
    made = await house.add(filled, f"{scheme}://127.0.0.1:{siem.port}")
    await stream(house.worker(internal=()), made)
    assert not siem.requests
    assert (await house.look(made)).fault == "not a public host"


async def test_a_receiver_whose_certificate_is_from_nobody_we_know_gets_nothing(
    house: House, siem: Siem, filled: TenantId
) -> None:
    syslog = Syslog()
    async with listening(syslog, house.certificate):
        for url in (siem.url, syslog.url):
            made = await house.add(filled, url)
            await stream(replace(house, ca_file=None).worker(), made)
            assert (await house.look(made)).fault == "no connection"
    assert not siem.requests
    assert not syslog.messages


async def test_syslog_gets_every_entry_in_order(house: House, filled: TenantId) -> None:
    syslog = Syslog()
    async with listening(syslog, house.certificate):
        made = await house.add(filled, syslog.url)
        await stream(house.worker(), made)
    assert len(syslog.entries()) == 33
    assert set(syslog.entries()) == await house.entries(filled)
    for one in await house.reader.logs(filled):
        told = [seq for origin, seq in syslog.entries() if origin == one.log["origin"]]
        assert told == sorted(told)
    assert (await house.look(made)).waiting == 0


async def test_a_syslog_connection_that_breaks_off_is_no_receipt_and_the_batch_goes_again(
    house: House, filled: TenantId
) -> None:
    syslog = Syslog()
    async with listening(syslog, house.certificate):
        async with breaking_off(syslog.port, after_bytes=24_000) as port:
            made = await house.add(filled, f"syslog+tls://127.0.0.1:{port}")
            await stream(house.worker(), made)
        broken = await house.look(made)
        assert (broken.waiting, broken.attempts, broken.fault) == (33, 1, "no connection")
        assert 0 < len(syslog.entries()) < 33
        await house.superuser.execute(
            "update ledger.siem_destinations set address = $1, next_at = now() where id = $2", syslog.url, made.due.id
        )
        await stream(house.worker(), made)
    assert set(syslog.entries()) == await house.entries(filled)


async def test_changes_of_a_destination_stand_in_the_ledger_without_its_path_or_secret(
    house: House, filled: TenantId
) -> None:
    made = await house.add(filled, "https://siem.example/token-in-the-path", authorization="Bearer hidden")
    await house.do(made, commands.set_paused, paused=True)
    await house.do(made, commands.set_paused, paused=True)
    await house.do(made, commands.set_paused, paused=False)
    await house.do(made, commands.remove)
    bodies = await house.superuser.fetch(
        "select body from ledger.events where tenant_id = $1 and stream = $2 order by stream_version",
        filled,
        f"siem_destination-{made.due.id}",
    )
    events = [json.loads(row["body"]) for row in bodies]
    assert [event["type"].rpartition(".")[2] for event in events] == ["added", "changed", "changed", "removed"]
    assert (events[0]["data"]["host"], events[0]["data"]["port"]) == ("siem.example", 443)
    text = " ".join(row["body"].decode() for row in bodies)
    assert "token-in-the-path" not in text
    assert "hidden" not in text


async def test_each_tenants_entries_go_to_its_own_destination(
    house: House, siem: Siem, writer: LedgerWriter, source: FakeSource, filled: TenantId
) -> None:
    other = TenantId(uuid4())
    await writer.record(other, L, source.compliance(other, 4))
    theirs = Siem()
    async with listening(theirs, house.certificate):
        mine, others = await house.add(filled, siem.url), await house.add(other, theirs.url)
        worker = house.worker()
        async with asyncio.timeout(60):
            while (await house.look(mine)).waiting or (await house.look(others)).waiting:
                await worker.step()
                await asyncio.sleep(0.01)
        await worker.close()
    assert {event["metadata"]["tenant_uid"] for event in siem.events()} == {str(filled)}
    assert {event["metadata"]["tenant_uid"] for event in theirs.events()} == {str(other)}
    assert await house.do(Made(Due(other, mine.due.id), mine.secret), store.find) is None
