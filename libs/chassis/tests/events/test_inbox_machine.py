"""The inbox under duplicates, reordering, restarts, two processes, and a crash between any two statements."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select
from tallystick_chassis.catch_up import FeedUnavailableError, OwnFeed
from tallystick_chassis.clock import utc_now
from tallystick_chassis.consumer import ConsumerSettings, EventConsumer
from tallystick_chassis.ids import TenantId
from tallystick_chassis.pruning import Pruner
from tallystick_chassis.relay import Relay
from tallystick_chassis.tables import inbox
from tallystick_contracts.topology import Durable, Filter, ServiceName

BOTH = Durable(
    "assessment", ServiceName.ASSESSMENT, "EVT", (), (Filter("identity", "tenant"), Filter("identity", "org_unit"))
)
EVENTS = ("tenant", "tenant", "org_unit", "tenant", "org_unit", "tenant")
SETTINGS = ConsumerSettings(wait_s=0.0, reorder_wait_s=0.001, feed_retry_s=0.001, first_retry_s=0.001)


class InboxMachine(RuleBasedStateMachine):
    """Six events of two sequences reach two consumer processes in any way; each must have one effect, in order."""

    def __init__(self, databases, tools):
        super().__init__()
        self.tools = tools
        self.runner = asyncio.Runner()
        self.house = tools.House(databases)
        self.tenant = TenantId(uuid4())
        self.identity = self.house.app("identity")
        self.database = self.house.app("assessment")
        self.database.clock = lambda: utc_now() - timedelta(days=200)
        self.duty = self.house.duty("assessment")
        self.points = tools.CrashPoints(self.database)
        self.tape = tools.Tape()
        self.feed = OwnFeed(self.identity)
        self.feed_away = False
        self.pulls = [tools.TapePull(), tools.TapePull()]
        self.consumers = [self.start(0), self.start(1)]
        self.runner.run(self.publish())

    async def publish(self):
        for aggregate in EVENTS:
            await self.tools.commit(self.identity, self.tenant, aggregate)
        duty = self.house.duty("identity")
        await Relay(duty=duty, bus=self.tape, service="identity", clock=utc_now).step()

    async def read(self, tenant, source, aggregate, after):
        if self.feed_away:
            raise FeedUnavailableError(source)
        return await self.feed.read(tenant, source, aggregate, after)

    def start(self, process):
        return EventConsumer(
            durable=BOTH,
            handlers={f"identity.{aggregate}.created": self.tools.on_event for aggregate in set(EVENTS)},
            database=self.database,
            duty=self.duty,
            pull=self.pulls[process],
            feeds=self,
            settings=replace(SETTINGS),
        )

    async def steps(self, process):
        try:
            await self.consumers[process].step()
        except self.tools.Crash:
            self.consumers[process] = self.start(process)

    @rule(
        process=st.integers(0, 1),
        indices=st.lists(st.integers(0, len(EVENTS) - 1), max_size=8),
        crash_after=st.none() | st.integers(0, 16),
        feed_away=st.booleans(),
    )
    def deliver(self, process, indices, crash_after, feed_away):
        self.pulls[process].waiting = [self.tools.TapeDelivery(self.tape.messages[index]) for index in indices]
        self.feed_away = feed_away
        self.points.arm(crash_after)
        self.runner.run(self.steps(process))
        self.points.arm(None)

    @rule(one=st.lists(st.integers(0, 5), max_size=6), other=st.lists(st.integers(0, 5), max_size=6))
    def deliver_to_both_at_once(self, one, other):
        for pull, indices in zip(self.pulls, (one, other), strict=True):
            pull.waiting = [self.tools.TapeDelivery(self.tape.messages[index]) for index in indices]

        async def both():
            await asyncio.gather(self.steps(0), self.steps(1))

        self.runner.run(both())

    @rule()
    def forget_what_was_handled_long_ago(self):
        """What keeps an event from being handled again is its number: the inbox row may go."""
        pruner = Pruner(self.duty, utc_now, key_days=7, inbox_days=90)
        self.runner.run(pruner.step())
        assert self.runner.run(self.remembered()) == 0

    async def remembered(self):
        async with self.duty.duty() as connection:
            return await connection.scalar(select(func.count(inbox.c.event_id)))

    @rule(process=st.integers(0, 1))
    def restart(self, process):
        self.consumers[process] = self.start(process)

    @invariant()
    def each_effect_is_there_once_and_in_source_order(self):
        found = self.runner.run(self.tools.effects(self.duty, self.tenant))
        for aggregate in set(EVENTS):
            numbers = [int(one.split()[1]) for one in found if one.startswith(f"identity.{aggregate} ")]
            assert numbers == list(range(1, len(numbers) + 1))
            row = self.runner.run(self.tools.cursor_row(self.duty, self.tenant, aggregate))
            assert (row.last_seq if row else 0) == len(numbers)

    def teardown(self):
        async def finish():
            self.feed_away = False
            for _ in range(20):
                deliveries = [self.tools.TapeDelivery(message) for message in self.tape.messages]
                self.pulls[0].waiting = deliveries
                await self.steps(0)
                if all(one.answer == "ack" for one in deliveries):
                    break
                await asyncio.sleep(0.002)
            found = await self.tools.effects(self.duty, self.tenant)
            dead = await self.tools.letters(self.duty, self.tenant)
            await self.house.close()
            return found, dead

        found, dead = self.runner.run(finish())
        self.runner.close()
        assert len(found) == len(EVENTS)
        assert dead == []


def test_whatever_is_delivered_each_event_has_one_effect_in_order(chassis_databases, tools):
    run_state_machine_as_test(
        lambda: InboxMachine(chassis_databases, tools),
        settings=settings(
            max_examples=15,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
