"""The relay over a real database: what commits is numbered once, without gaps, published in order until confirmed."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from faults.freezing import frozen
from tallystick_chassis.bus import BusUnavailableError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.ids import TenantId
from tallystick_chassis.relay import Relay, RelaySettings
from tallystick_chassis.scope import Scope
from tallystick_contracts.envelope import decode_event


def relay_of(duty, bus, clock=utc_now, **settings):
    return Relay(duty=duty, bus=bus, service="identity", clock=clock, settings=RelaySettings(**settings))


def published(tape, aggregate="tenant"):
    return [int(one.headers["ce-sequence"]) for one in tape.messages if f".{aggregate}." in one.subject]


async def test_a_transaction_that_commits_late_is_numbered_late_and_not_lost(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    relay = relay_of(duty, tape)
    async with app.transaction(Scope.for_duty(tenant, "identity")) as late:
        (first_written,) = await late.append("t-late", 0, [tools.drafts["tenant"]()])
        (early,) = await tools.commit(app, tenant, "tenant")
        await relay.step()
    await relay.step()
    assert (await tools.numbers(duty, tenant))["tenant"] == [(1, early), (2, first_written.id)]
    assert published(tape) == [1, 2]


async def test_a_late_number_is_published_after_the_earlier_one_though_written_before_it(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    relay = relay_of(duty, tape)
    async with app.transaction(Scope.for_duty(tenant, "identity")) as late:
        await late.append("t-late", 0, [tools.drafts["tenant"]()])
        await tools.commit(app, tenant, "tenant")
        await relay.number(tenant)  # and the process dies before it publishes
    await relay.step()
    assert published(tape) == [1, 2]


async def test_two_relays_that_number_at_once_do_not_meet(house, tools, tenant):
    app, tape = house.app("identity"), tools.Tape()
    relays = [relay_of(house.duty("identity"), tape) for _ in range(2)]
    for _ in range(15):
        await tools.commit(app, tenant, "tenant", "tenant")
        await asyncio.gather(*(relay.number(tenant) for relay in relays))
    found = await tools.numbers(house.duty("identity"), tenant)
    assert [seq for seq, _ in found["tenant"]] == list(range(1, 31))


async def test_each_aggregate_has_its_own_gapless_numbers(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    await tools.commit(app, tenant, "tenant", "org_unit", "tenant", "org_unit", "tenant")
    while await relay_of(duty, tape, batch=2).step():
        pass
    found = await tools.numbers(duty, tenant)
    assert [seq for seq, _ in found["tenant"]] == [1, 2, 3]
    assert [seq for seq, _ in found["org_unit"]] == [1, 2]
    # Across aggregates the order of writing is kept.
    assert [one.subject.split(".")[3] for one in tape.messages] == [
        "tenant", "org_unit", "tenant", "org_unit", "tenant",
    ]  # fmt: skip


async def test_the_bytes_published_are_the_bytes_stored_with_cloudevents_headers(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    async with app.transaction(Scope.for_duty(tenant, "identity", correlation="c-9", causation="e-1")) as tx:
        (stored,) = await tx.append("t-1", 0, [tools.drafts["tenant"]()])
    await relay_of(duty, tape).step()
    (message,) = tape.messages
    assert message.payload == stored.body
    assert message.subject == f"evt.{tenant}.identity.tenant.created"
    event = decode_event(message.payload)
    assert message.headers == {
        "ce-specversion": "1.0",
        "ce-id": str(stored.id),
        "ce-source": "/identity",
        "ce-type": "dev.tallystick.identity.tenant.created.v1",
        "ce-time": event.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "ce-datacontenttype": "application/json",
        "ce-partitionkey": str(tenant),
        "ce-sequence": "1",
        "source-seq": "1",
        "ce-correlationid": "c-9",
        "ce-causationid": "e-1",
    }


async def test_numbers_are_committed_before_publishing_and_never_change(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    await tools.commit(app, tenant, "tenant", "tenant")
    tape.fail = "before"
    with pytest.raises(BusUnavailableError):
        await relay_of(duty, tape).step()
    before = await tools.numbers(duty, tenant)
    assert len(before["tenant"]) == 2
    await tools.commit(app, tenant, "tenant")
    tape.fail = None
    await relay_of(duty, tape).step()
    after = await tools.numbers(duty, tenant)
    assert after["tenant"][:2] == before["tenant"]
    assert published(tape) == [1, 2, 3]


async def test_a_second_relay_skips_a_tenant_that_is_being_served(house, tools, tenant):
    app, duty, other = house.app("identity"), house.duty("identity"), house.duty("identity")
    tape, second = tools.Tape(), tools.Tape()
    tape.hold = asyncio.Event()
    await tools.commit(app, tenant, "tenant")
    serving = asyncio.create_task(relay_of(duty, tape).step())
    await asyncio.sleep(0.3)
    await tools.commit(app, tenant, "tenant")
    await relay_of(other, second).step()
    assert second.messages == []
    tape.hold.set()
    await serving
    await relay_of(other, second).step()
    assert published(second) == [2]


async def test_what_the_ledger_does_not_confirm_is_published_again_ever_later(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    now = datetime(2026, 11, 21, tzinfo=UTC)
    relay = relay_of(duty, tape, clock=lambda: now)
    await tools.commit(app, tenant, "tenant")
    sent_after_s = []
    for second in range(0, 400, 10):
        now = datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=second)
        before = len(tape.messages)
        await relay.step()
        if len(tape.messages) > before:
            sent_after_s.append(second)
    assert sent_after_s == [0, 30, 90, 210]
    assert published(tape) == [1, 1, 1, 1]


async def test_a_clock_that_was_set_back_does_not_put_publishing_again_off(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    now = datetime(2026, 11, 21, tzinfo=UTC)
    relay = relay_of(duty, tape, clock=lambda: now)
    await tools.commit(app, tenant, "tenant")
    await relay.step()
    now -= timedelta(seconds=20)  # clocks of two replicas differ, and that must not publish everything twice
    await relay.step()
    assert published(tape) == [1]
    now -= timedelta(days=7)
    await relay.step()
    assert published(tape) == [1, 1]
    await relay.step()
    assert published(tape) == [1, 1]


async def test_a_frozen_nats_does_not_hold_the_lock(house, buses, stack, tools, tenant):
    app, duty = house.app("identity"), house.duty("identity")
    bus = buses.of("identity")
    await bus.client()
    await tools.commit(app, tenant, "tenant")
    with frozen(stack.nats.process.pid):
        begun = time.monotonic()
        with pytest.raises(BusUnavailableError):
            await relay_of(duty, bus, publish_timeout_s=0.5).step()
        assert time.monotonic() - begun < 3
        tape = tools.Tape()
        await relay_of(house.duty("identity"), tape).step()  # another replica, that reaches NATS, is free to go on
        assert published(tape) == [1]


async def test_published_events_lie_on_jetstream(house, buses, tools, tenant):
    app, duty = house.app("identity"), house.duty("identity")
    await tools.commit(app, tenant, *["tenant"] * 20)
    await relay_of(duty, buses.of("identity")).step()
    assert await buses.stored(f"evt.{tenant}.identity.tenant.created") == 20
    rows = await tools.outbox_rows(duty, tenant)
    assert all(row.published_at is not None and row.attempts == 1 for row in rows)  # kept until the ledger's receipt


async def test_tenants_do_not_share_numbers(house, tools, tenant):
    app, duty, tape = house.app("identity"), house.duty("identity"), tools.Tape()
    other = TenantId(UUID(int=tenant.int ^ 1))
    await tools.commit(app, tenant, "tenant")
    await tools.commit(app, other, "tenant")
    await relay_of(duty, tape).step()
    assert published(tape) == [1, 1]
