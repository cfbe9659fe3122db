"""Destinations of SIEMs: paused, removed, replayed; addresses that may not be, broken logs, other tenants."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from tallystick_chassis.ids import TenantId
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.guard import HighWaterGuard
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.siem import commands, store, streaming
from tallystick_ledger.siem.progress import Due

from .siem_house import House, L, Made, filled, house, siem, stream
from .siem_receivers import Siem, Syslog, breaking_off, listening

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tallystick_ledger.high_water.watch import BreakWatch
    from tallystick_ledger.writing.writer import LedgerWriter

    from .conftest import FakeSource, SettableClock


__all__ = ["filled", "house", "siem"]  # fixtures

pytestmark = pytest.mark.control("EV-25e")


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
