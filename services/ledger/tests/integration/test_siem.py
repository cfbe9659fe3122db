"""Streaming to SIEMs: each entry at least once and in order, whatever is killed, down, slow or refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from tallystick_chassis.ids import TenantId
from tallystick_ledger.siem import commands, progress, store, streaming
from tallystick_tlog import open_checkpoint
from tallystick_tlog.tree import CompactRange

from .siem_house import A, House, L, filled, house, siem, stream
from .siem_receivers import Siem, listening

if TYPE_CHECKING:
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource


__all__ = ["filled", "house", "siem"]  # fixtures

pytestmark = pytest.mark.control("EV-25e")


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
