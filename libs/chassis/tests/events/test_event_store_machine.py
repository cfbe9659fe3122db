"""The event store against a list in memory: right and stale versions, two writers, and a crash before any statement."""

import asyncio
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tallystick_chassis.ids import TenantId
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import ConcurrencyError, EventDraft
from tallystick_contracts.generated.identity import TenantCreated

STREAMS = ("tenant-a", "tenant-b")


class EventStoreMachine(RuleBasedStateMachine):
    """Streams hold exactly what was committed, in order, and the outbox one row for each of them."""

    def __init__(self, databases, tools):
        super().__init__()
        self.tools = tools
        self.runner = asyncio.Runner()
        self.house = tools.House(databases)
        self.tenant = TenantId(uuid4())
        self.database = self.house.app("identity")
        self.duty = self.house.duty("identity")
        self.points = tools.CrashPoints(self.database)
        self.scope = Scope.for_duty(self.tenant, "identity")
        self.model = {stream: [] for stream in STREAMS}

    async def append(self, stream, version, slugs):
        async with self.database.transaction(self.scope) as tx:
            await tx.append(stream, version, [EventDraft(TenantCreated(slug=slug, name=slug)) for slug in slugs])

    async def slugs(self, stream, after=0):
        async with self.database.transaction(self.scope) as tx:
            return [(event.stream_version, event.data.slug) for event in await tx.load(stream, after=after)]

    @rule(
        stream=st.sampled_from(STREAMS),
        count=st.integers(1, 3),
        off_by=st.sampled_from([0, 0, 0, -1, 1]),
        crash_after=st.none() | st.integers(0, 6),
    )
    def one_appends(self, stream, count, off_by, crash_after):
        held = self.model[stream]
        version = max(0, len(held) + off_by)
        new = [uuid4().hex for _ in range(count)]
        self.points.arm(crash_after)
        try:
            self.runner.run(self.append(stream, version, new))
        except self.tools.Crash:
            return  # before the commit: nothing of it may be there
        except ConcurrencyError:
            assert version != len(held)  # too old, or claiming to have read what is not there
            return
        finally:
            self.points.arm(None)
        assert version == len(held)
        self.model[stream] = [*held, *new]

    @rule(stream=st.sampled_from(STREAMS), writers=st.integers(2, 4))
    def several_append_after_the_same_version(self, stream, writers):
        held = self.model[stream]
        slugs = [uuid4().hex for _ in range(writers)]

        async def all_at_once():
            tries = (self.append(stream, len(held), [slug]) for slug in slugs)
            return await asyncio.gather(*tries, return_exceptions=True)

        outcomes = self.runner.run(all_at_once())
        (winner,) = (slug for slug, outcome in zip(slugs, outcomes, strict=True) if outcome is None)
        assert sum(isinstance(outcome, ConcurrencyError) for outcome in outcomes) == writers - 1
        self.model[stream] = [*held, winner]

    @rule(stream=st.sampled_from(STREAMS), after=st.integers(0, 8))
    def read_from(self, stream, after):
        expected = [(n, slug) for n, slug in enumerate(self.model[stream], 1) if n > after]
        assert self.runner.run(self.slugs(stream, after)) == expected

    @invariant()
    def the_store_is_what_was_committed_and_each_event_has_its_outbox_row(self):
        total = 0
        for stream, held in self.model.items():
            assert self.runner.run(self.slugs(stream)) == list(enumerate(held, 1))
            total += len(held)
        assert len(self.runner.run(self.tools.outbox_rows(self.duty, self.tenant))) == total

    def teardown(self):
        self.runner.run(self.house.close())
        self.runner.close()


def test_whatever_writers_do_the_store_holds_what_was_committed(chassis_databases, tools):
    run_state_machine_as_test(
        lambda: EventStoreMachine(chassis_databases, tools),
        settings=settings(
            max_examples=20,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
