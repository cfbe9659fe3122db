"""The bus against a real NATS server, as a service's own user."""

import asyncio
import time
from uuid import uuid4

import pytest
from faults.freezing import frozen
from tallystick_chassis.bus import MAX_BATCH, Bus, BusMessage, BusUnavailableError


def message(tenant, number=0, source="identity"):
    return BusMessage(f"evt.{tenant}.{source}.tenant.created", b"%d" % number, {"ce-sequence": str(number)})


async def test_a_batch_is_stored_whole_and_in_order(buses, tenant):
    await buses.of("identity").publish_batch([message(tenant, n) for n in range(MAX_BATCH)], timeout_s=5)
    pull = buses.of("assessment").pull(stream="EVT", durable="assessment")
    got = []
    while len(got) < MAX_BATCH:
        deliveries = await pull.fetch(200, 2)
        assert deliveries
        for delivery in deliveries:
            await delivery.ack()
        got += deliveries
    assert [int(one.payload) for one in got] == list(range(MAX_BATCH))
    assert got[7].headers["ce-sequence"] == "7"
    assert got[7].delivered == 1


async def test_a_batch_of_one_works(buses, tenant):
    await buses.of("identity").publish_batch([message(tenant)], timeout_s=5)
    assert await buses.stored(f"evt.{tenant}.>") == 1


async def test_a_user_cannot_publish_another_services_subject(buses, tenant):
    bus = buses.of("identity")
    with pytest.raises(BusUnavailableError):
        await bus.publish_batch([message(tenant), message(tenant, 1, source="assessment")], timeout_s=1)
    with pytest.raises(BusUnavailableError):
        await bus.publish_batch([message(tenant, 0, source="assessment"), message(tenant, 1)], timeout_s=1)
    # All or none: the permitted halves are not stored either.
    assert await buses.stored(f"evt.{tenant}.>") == 0


async def test_a_message_reaches_a_waiting_pull_at_once(buses, tenant):
    source, pull = buses.of("identity"), buses.of("assessment").pull(stream="EVT", durable="assessment")
    await source.client()
    waiting = asyncio.create_task(pull.fetch(100, 5))
    await asyncio.sleep(0.3)
    sent = time.monotonic()
    await source.publish_batch([message(tenant)], timeout_s=5)
    (delivery,) = await waiting
    await delivery.ack()
    assert time.monotonic() - sent < 0.5


async def test_an_empty_durable_gives_nothing_in_time(buses):
    pull = buses.of("assessment").pull(stream="EVT", durable="assessment")
    begun = time.monotonic()
    assert await pull.fetch(10, 0.2) == []
    assert time.monotonic() - begun < 2.5


async def test_a_message_not_acknowledged_comes_again(buses, tenant):
    await buses.of("identity").publish_batch([message(tenant)], timeout_s=5)
    pull = buses.of("assessment").pull(stream="EVT", durable="assessment")
    (first,) = await pull.fetch(10, 2)
    await first.nak(0.05)
    (again,) = await pull.fetch(10, 2)
    await again.ack()
    assert again.delivered == 2


async def test_a_durable_that_is_not_there_never_delivers_and_never_hangs(buses):
    # Its request subject is forbidden to this user, and the server says so to nobody who waits.
    pull = buses.of("assessment").pull(stream="EVT", durable="nobody")
    assert await asyncio.wait_for(pull.fetch(10, 0.3), 5) == []


async def test_a_frozen_server_ends_a_publication_in_time(buses, stack, tenant):
    bus = buses.of("identity")
    await bus.publish_batch([message(tenant)], timeout_s=5)
    with frozen(stack.nats.process.pid):
        begun = time.monotonic()
        with pytest.raises(BusUnavailableError):
            await bus.publish_batch([message(tenant, 1)], timeout_s=0.5)
        assert time.monotonic() - begun < 2
    await bus.publish_batch([message(tenant, 2)], timeout_s=5)


async def test_no_server_is_an_error_and_no_wait_for_ever():
    bus = Bus("nats://127.0.0.1:1", name="identity")
    begun = time.monotonic()
    with pytest.raises(BusUnavailableError):
        await bus.publish(BusMessage("head.identity", b""))
    assert time.monotonic() - begun < 4
    await bus.close()


async def test_a_batch_has_1_to_500_messages(buses):
    bus = buses.of("identity")
    for wrong in ([], [message(uuid4())] * (MAX_BATCH + 1)):
        with pytest.raises(ValueError, match="1 to 500"):
            await bus.publish_batch(wrong, timeout_s=1)
