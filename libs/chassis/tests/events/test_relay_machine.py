"""Outbox and feed under any interleaving: late commits, two relays, a crash between any statements, a lying bus."""

import asyncio
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tallystick_chassis.bus import BusUnavailableError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.ids import TenantId
from tallystick_chassis.relay import Relay, RelaySettings
from tallystick_chassis.scope import Scope

AGGREGATES = ("tenant", "org_unit")


class OutboxMachine(RuleBasedStateMachine):
    """Producers, relays and what a reader of the stream may rely on."""

    def __init__(self, databases, tools):
        super().__init__()
        self.tools = tools
        self.runner = asyncio.Runner()
        self.house = tools.House(databases)
        self.tenant = TenantId(uuid4())
        self.app = self.house.app("identity")
        self.duty = self.house.duty("identity")
        self.other_duty = self.house.duty("identity")
        self.points = tools.CrashPoints(self.duty)
        self.tape = tools.Tape()
        self.open = []
        self.committed = set()
        self.numbered = {}

    def relay(self, duty):
        return Relay(duty=duty, bus=self.tape, service="identity", clock=utc_now, settings=RelaySettings(batch=3))

    def published(self):
        # Other examples' tenants are in the same database, and after 30 s their unconfirmed events come again.
        return [one for one in self.tape.messages if one.headers["ce-partitionkey"] == str(self.tenant)]

    @precondition(lambda self: len(self.open) < 3)
    @rule(aggregates=st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=3))
    def begin(self, aggregates):
        async def begin():
            context = self.app.transaction(Scope.for_duty(self.tenant, "identity"))
            tx = await context.__aenter__()
            ids = set()
            for aggregate in aggregates:
                (stored,) = await tx.append(f"{aggregate}-{uuid4()}", 0, [self.tools.drafts[aggregate]()])
                ids.add(stored.id)
            self.open.append((context, ids))

        self.runner.run(begin())

    @precondition(lambda self: self.open)
    @rule(data=st.data(), commit=st.booleans())
    def end(self, data, commit):
        context, ids = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if commit:
            self.runner.run(context.__aexit__(None, None, None))
            self.committed |= ids
        else:
            error = ValueError()
            self.runner.run(context.__aexit__(type(error), error, None))

    @rule(crash_after=st.none() | st.integers(0, 14), bus=st.sampled_from([None, None, "before", "after"]))
    def step(self, crash_after, bus):
        async def step():
            self.points.arm(crash_after)
            self.tape.fail = bus
            try:
                await self.relay(self.duty).step()
            except (self.tools.Crash, BusUnavailableError):
                pass
            finally:
                self.points.arm(None)
                self.tape.fail = None

        self.runner.run(step())

    @rule(aggregates=st.lists(st.sampled_from(AGGREGATES), max_size=4))
    def two_relays(self, aggregates):
        async def both():
            if aggregates:
                self.committed |= set(await self.tools.commit(self.app, self.tenant, *aggregates))
            await asyncio.gather(self.relay(self.duty).step(), self.relay(self.other_duty).step())

        self.runner.run(both())

    @invariant()
    def numbers_are_gapless_and_never_change(self):
        found = self.runner.run(self.tools.numbers(self.duty, self.tenant))
        for aggregate, rows in found.items():
            assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
            for seq, event_id in rows:
                assert event_id in self.committed
                assert self.numbered.setdefault(event_id, (aggregate, seq)) == (aggregate, seq)

    @invariant()
    def what_is_published_is_numbered_and_in_source_order(self):
        reached = dict.fromkeys(AGGREGATES, 0)
        by_id = {str(event_id): place for event_id, place in self.numbered.items()}
        for message in self.published():
            aggregate, seq = by_id[message.headers["ce-id"]]
            assert int(message.headers["ce-sequence"]) == seq
            assert seq <= reached[aggregate] + 1, "an event was published before the one that precedes it"
            reached[aggregate] = max(reached[aggregate], seq)

    def teardown(self):
        async def drain():
            for context, _ in self.open:
                error = ValueError()
                await context.__aexit__(type(error), error, None)
            while await self.relay(self.duty).step():
                pass
            found = await self.tools.numbers(self.duty, self.tenant)
            await self.house.close()
            return found

        found = self.runner.run(drain())
        self.runner.close()
        assert {event_id for rows in found.values() for _, event_id in rows} == self.committed
        assert {message.headers["ce-id"] for message in self.published()} == {str(one) for one in self.committed}


def test_whatever_happens_every_committed_event_is_published_under_one_number(chassis_databases, tools):
    run_state_machine_as_test(
        lambda: OutboxMachine(chassis_databases, tools),
        settings=settings(
            max_examples=20,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
