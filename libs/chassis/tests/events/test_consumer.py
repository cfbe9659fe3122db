"""The consumer over a real database: one effect for each event, in source order, whatever is delivered."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import select
from tallystick_chassis.catch_up import FeedUnavailableError, OwnFeed
from tallystick_chassis.clock import utc_now
from tallystick_chassis.consumer import ConsumerSettings, EventConsumer
from tallystick_chassis.heads import HeadAnnouncer
from tallystick_chassis.relay import Relay
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import events
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.generated.assessment import EvaluationReleased
from tallystick_contracts.topology import Durable, Filter, ServiceName

BOTH = Durable(
    "assessment", ServiceName.ASSESSMENT, "EVT", (), (Filter("identity", "tenant"), Filter("identity", "org_unit"))
)
FAST = ConsumerSettings(
    wait_s=0.01,
    reorder_wait_s=0.02,
    head_lag_s=0.05,
    feed_retry_s=0.05,
    max_attempts=3,
    first_retry_s=0.01,
    longest_retry_s=0.02,
    track_as_of=True,
)


class SourceFeed:
    """Identity's feed as another service asks for it; it can be away."""

    def __init__(self, database):
        self.own = OwnFeed(database)
        self.away = False
        self.asked = []

    async def read(self, tenant, source, aggregate, after):
        self.asked.append((source, aggregate, after))
        if self.away:
            raise FeedUnavailableError(source)
        return await self.own.read(tenant, source, aggregate, after)


class Room:
    """Identity as the source, assessment as the consumer, a tape between them."""

    def __init__(self, house, tools, tenant):
        self.tools, self.tenant, self.house = tools, tenant, house
        self.identity, self.identity_duty = house.app("identity"), house.duty("identity")
        self.database, self.duty = house.app("assessment"), house.duty("assessment")
        self.tape, self.pull, self.feed = tools.Tape(), tools.TapePull(), SourceFeed(self.identity)
        self.handlers = {"identity.tenant.created": tools.on_event, "identity.org_unit.created": tools.on_event}
        self.consumer = self.start()

    def start(self, **changes):
        return EventConsumer(
            durable=BOTH,
            handlers=self.handlers,
            database=self.database,
            duty=self.duty,
            pull=self.pull,
            feeds=self.feed,
            settings=replace(FAST, **changes),
        )

    async def publish(self, *aggregates):
        for aggregate in aggregates:
            await self.tools.commit(self.identity, self.tenant, aggregate)
        await Relay(duty=self.identity_duty, bus=self.tape, service="identity", clock=utc_now).step()

    def deliver(self, *indices):
        deliveries = [self.tools.TapeDelivery(self.tape.messages[index]) for index in indices]
        self.pull.waiting.extend(deliveries)
        return deliveries

    async def run(self, deliveries, consumer=None):
        """Step until every delivery is acknowledged, redelivering what was refused, as the server does."""
        for _ in range(200):
            await (consumer or self.consumer).step()
            again = [one for one in deliveries if one.answer == "nak"]
            if not self.pull.waiting and not again:
                return
            await asyncio.sleep(max((one.delay_s for one in again), default=0) if not self.pull.waiting else 0)
            for one in again:
                one.answer = ""
            self.pull.waiting.extend(again)
        pytest.fail("the consumer never acknowledged all")

    async def effects(self):
        return await self.tools.effects(self.duty, self.tenant)


@pytest.fixture
def room(house, tools, tenant):
    return Room(house, tools, tenant)


def tenant_effects(count):
    return [f"identity.tenant {seq}" for seq in range(1, count + 1)]


@pytest.mark.control("X-13")
async def test_a_batch_is_handled_in_order_in_the_scope_of_its_tenant(room):
    await room.publish("tenant", "tenant", "org_unit", "tenant")
    deliveries = room.deliver(0, 1, 2, 3)
    await room.run(deliveries)
    assert await room.effects() == [
        "identity.tenant 1",
        "identity.tenant 2",
        "identity.org_unit 1",
        "identity.tenant 3",
    ]
    assert {one.answer for one in deliveries} == {"ack"}
    assert (await room.tools.cursor_row(room.duty, room.tenant, "tenant")).last_seq == 3
    assert room.feed.asked == []


async def test_duplicates_and_reordering_have_one_effect_each_in_order(room):
    await room.publish(*["tenant"] * 5)
    await room.run(room.deliver(2, 0, 0, 1, 4, 3, 2, 1))
    await room.run(room.deliver(0, 1, 2, 3, 4), room.start())  # a new process, which remembers nothing
    assert await room.effects() == tenant_effects(5)
    assert room.feed.asked == []


async def test_a_gap_is_filled_from_the_source(room):
    await room.publish(*["tenant"] * 4)
    await room.run(room.deliver(0, 3))
    assert await room.effects() == tenant_effects(4)
    assert room.feed.asked[0] == ("identity", "tenant", 1)


async def test_an_aggregate_first_seen_at_five_is_caught_up_from_the_start(room):
    await room.publish(*["tenant"] * 5)
    await room.run(room.deliver(4))
    assert await room.effects() == tenant_effects(5)
    assert room.feed.asked[0] == ("identity", "tenant", 0)


async def test_a_gap_waits_while_the_source_is_away(room):
    await room.publish(*["tenant"] * 3)
    room.feed.away = True
    (late,) = room.deliver(2)
    for _ in range(4):
        await room.consumer.step()
        await asyncio.sleep(0.03)
        room.pull.waiting = [late]
    assert await room.effects() == []
    assert late.answer == "nak"
    room.feed.away = False
    await asyncio.sleep(0.06)
    await room.run([late])
    assert await room.effects() == tenant_effects(3)


async def test_types_without_a_handler_only_move_the_cursor(room):
    del room.handlers["identity.org_unit.created"]
    await room.publish("org_unit", "tenant", "org_unit")
    await room.run(room.deliver(0, 1, 2))
    assert await room.effects() == ["identity.tenant 1"]
    assert (await room.tools.cursor_row(room.duty, room.tenant, "org_unit")).last_seq == 2


async def test_a_poisonous_event_becomes_a_dead_letter_and_the_others_go_on(room, tools):
    async def choke(tx, event):
        if event.aggregate == "tenant" and event.source_seq == 2:
            raise ValueError("ada@example.org cannot be handled")  # noqa: EM101, TRY003 - what must not be logged
        await tools.on_event(tx, event)

    room.handlers.update(dict.fromkeys(room.handlers, choke))
    await room.publish("tenant", "tenant", "org_unit", "tenant")
    with structlog.testing.capture_logs() as logs:
        await room.run(room.deliver(0, 1, 2, 3))
    assert sorted(await room.effects()) == ["identity.org_unit 1", "identity.tenant 1", "identity.tenant 3"]
    (letter,) = await tools.letters(room.duty, room.tenant)
    assert (letter.state, letter.error, letter.attempts, letter.source_seq) == ("open", "ValueError", 3, 2)
    (dead,) = [one for one in logs if one["log_level"] == "error"]
    assert dead["event"] == "event_dead"
    assert "ada" not in str(logs)


async def test_a_failing_event_holds_up_its_own_sequence_only(room, tools):
    room.consumer = room.start(first_retry_s=30.0, longest_retry_s=30.0)  # not again within this step

    async def choke(tx, event):
        if event.aggregate == "tenant":
            raise ValueError
        await tools.on_event(tx, event)

    room.handlers.update(dict.fromkeys(room.handlers, choke))
    await room.publish("tenant", "org_unit", "tenant", "org_unit")
    deliveries = room.deliver(0, 1, 2, 3)
    await room.consumer.step()
    assert await room.effects() == ["identity.org_unit 1", "identity.org_unit 2"]
    assert [one.answer for one in deliveries] == ["nak", "ack", "nak", "ack"]


async def test_a_failure_of_the_surroundings_is_never_the_events_fault(room, tools):
    left = 8

    async def flaky(tx, event):
        nonlocal left
        if left:
            left -= 1
            raise ConnectionResetError
        await tools.on_event(tx, event)

    room.handlers.update(dict.fromkeys(room.handlers, flaky))
    await room.publish("tenant")
    (delivery,) = room.deliver(0)
    for _ in range(9):
        await room.consumer.step()
        room.pull.waiting = [delivery]
    assert await room.effects() == tenant_effects(1)
    assert await tools.letters(room.duty, room.tenant) == []


async def test_a_crash_between_commit_and_acknowledgement_has_one_effect(room, tools):
    await room.publish("tenant", "tenant")
    deliveries = room.deliver(0, 1)

    async def die():
        raise tools.Crash

    deliveries[0].ack = die
    with pytest.raises(tools.Crash):
        await room.consumer.step()
    await room.run(room.deliver(0, 1), room.start())
    assert await room.effects() == tenant_effects(2)


async def test_two_processes_with_the_same_messages_have_one_effect(room):
    await room.publish(*["tenant"] * 6)
    other_pull = type(room.pull)()
    first = room.start()
    room.pull, mine = other_pull, room.pull
    second = room.start()
    for seq in range(6):
        mine.waiting.append(room.tools.TapeDelivery(room.tape.messages[seq]))
        other_pull.waiting.append(room.tools.TapeDelivery(room.tape.messages[seq]))
        await asyncio.gather(first.step(), second.step())
    assert await room.effects() == tenant_effects(6)


async def test_a_process_with_an_old_cursor_cannot_turn_it_back(room):
    await room.publish(*["tenant"] * 3)
    second = room.start()
    await room.run(room.deliver(0))
    await room.run(room.deliver(0), second)  # remembers a cursor of 1
    await room.run(room.deliver(1, 2))
    await room.run(room.deliver(1), second)
    assert await room.effects() == tenant_effects(3)
    assert (await room.tools.cursor_row(room.duty, room.tenant, "tenant")).last_seq == 3


async def test_an_event_under_another_sources_subject_is_refused_with_an_error(room, tools):
    await room.publish("tenant")
    forged = replace(room.tape.messages[0], subject=f"evt.{room.tenant}.identity.org_unit.created")
    delivery = tools.TapeDelivery(forged)
    room.pull.waiting = [delivery]
    with structlog.testing.capture_logs() as logs:
        await room.consumer.step()
    assert delivery.answer == "term"
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["event_malformed"]
    assert await room.effects() == []


async def test_an_effect_of_several_events_carries_each_events_correlation_and_cause(room):
    async def answer(tx, event):
        await tx.append(
            f"answer-{event.id}", 0, [EventDraft(EvaluationReleased(evaluation_id=str(uuid4()), version=1))]
        )

    room.handlers["identity.tenant.created"] = answer
    ids = []
    for number in (1, 2):
        scope = Scope.for_duty(room.tenant, "identity", correlation=f"c-{number}")
        async with room.identity.transaction(scope) as tx:
            (stored,) = await tx.append(f"t-{number}", 0, [room.tools.drafts["tenant"]()])
            ids.append(str(stored.id))
    await Relay(duty=room.identity_duty, bus=room.tape, service="identity", clock=utc_now).step()
    await room.run(room.deliver(0, 1))
    async with room.duty.duty() as connection:
        streams = (await connection.execute(select(events.c.stream).where(events.c.tenant_id == room.tenant))).scalars()
        found = set(streams)
    answers = []
    async with room.database.transaction(Scope.for_duty(room.tenant, "assessment")) as tx:
        for stream in found:
            answers += [(one.correlation, one.causation) for one in await tx.load(stream)]
    assert sorted(answers) == [("c-1", ids[0]), ("c-2", ids[1])]


class TestHeads:
    """What never arrived is fetched because the source says how far it is."""

    @staticmethod
    async def announce(room):
        class Speaker:
            async def publish(self, message):
                await room.consumer.hear(message.subject, message.payload)

        await HeadAnnouncer(duty=room.identity_duty, bus=Speaker(), service="identity", clock=utc_now).step()

    async def test_a_broker_that_lost_everything_costs_nothing(self, room):
        await room.publish(*["tenant"] * 3, "org_unit")
        await self.announce(room)
        await room.consumer.follow_heads()
        assert await room.effects() == []  # a lag is only one when it lasts
        await asyncio.sleep(0.06)
        await self.announce(room)
        await room.consumer.follow_heads()
        assert sorted(await room.effects()) == ["identity.org_unit 1", *tenant_effects(3)]

    async def test_being_level_with_a_head_says_how_fresh_we_are(self, room):
        begun = utc_now()
        await room.publish("tenant")
        await room.run(room.deliver(0))
        assert (await room.tools.cursor_row(room.duty, room.tenant, "tenant")).as_of is None
        await self.announce(room)
        await room.consumer.follow_heads()
        fresh = (await room.tools.cursor_row(room.duty, room.tenant, "tenant")).as_of
        assert fresh > begun
        await room.publish("tenant")
        await self.announce(room)
        await room.consumer.follow_heads()
        assert (await room.tools.cursor_row(room.duty, room.tenant, "tenant")).as_of == fresh

    async def test_a_committed_event_without_a_number_counts_for_the_head(self, room):
        await room.publish("tenant")
        await room.run(room.deliver(0))
        await room.tools.commit(room.identity, room.tenant, "tenant")  # its relay stands still
        await self.announce(room)
        await room.consumer.follow_heads()
        assert (await room.tools.cursor_row(room.duty, room.tenant, "tenant")).as_of is None

    async def test_a_failed_event_that_came_by_catching_up_is_tried_again_and_buried(self, room, tools):
        async def choke(tx, event):
            if event.source_seq == 1:
                raise ValueError
            await tools.on_event(tx, event)

        room.handlers["identity.tenant.created"] = choke
        await room.publish("tenant", "tenant")
        for _ in range(12):
            await self.announce(room)
            await room.consumer.follow_heads()
            await asyncio.sleep(0.06)
        assert await room.effects() == ["identity.tenant 2"]
        assert len(await tools.letters(room.duty, room.tenant)) == 1

    async def test_nonsense_is_ignored_with_a_warning(self, room):
        with structlog.testing.capture_logs() as logs:
            await room.consumer.hear("head.identity", b'{"at":1}')
        assert [one["event"] for one in logs] == ["heads_malformed"]
