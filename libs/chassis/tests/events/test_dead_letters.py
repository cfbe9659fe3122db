"""What an operator does with an event that could not be handled: once, in its tenant, and on record."""

import json
from base64 import b64decode
from uuid import UUID, uuid4

import pytest
from nacl.public import PrivateKey, SealedBox
from sqlalchemy import insert, select
from tallystick_chassis.catch_up import OwnFeed
from tallystick_chassis.clock import utc_now
from tallystick_chassis.consumer import EventConsumer
from tallystick_chassis.dead_letters import (
    DeadLetterState,
    NoSuchDeadLetterError,
    bury,
    discard,
    list_all_tenants_dead_letters,
    list_dead_letters,
    request_retry,
    show_dead_letter,
)
from tallystick_chassis.inbox import FeedKey, read_received
from tallystick_chassis.scope import Scope
from tallystick_chassis.sealing import Sealer, TenantKeyMissing
from tallystick_chassis.tables import events, outbox, tenant_keys
from tallystick_contracts.envelope import decode_event
from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.generated.ops import DeadLetterDiscarded
from tallystick_contracts.topology import Durable, Filter, ServiceName

TENANTS = Durable("assessment", ServiceName.ASSESSMENT, "EVT", (), (Filter("identity", "tenant"),))
REASON = "superseded by a later event"
SEALER = Sealer(utc_now)


class Desk:
    """One dead letter in assessment: identity's first event of a tenant."""

    def __init__(self, house, tools, tenant):
        self.tools, self.tenant = tools, tenant
        self.identity = house.app("identity")
        self.database, self.duty = house.app("assessment"), house.duty("assessment")
        self.broken = True
        self.key = PrivateKey.generate()
        self.event_id = UUID(int=0)
        self.consumer = EventConsumer(
            durable=TENANTS,
            handlers={"identity.tenant.created": self.on_tenant_created},
            database=self.database,
            duty=self.duty,
            pull=tools.TapePull(),
            feeds=OwnFeed(self.identity),
        )

    async def on_tenant_created(self, tx, event):
        if self.broken:
            raise ValueError
        await self.tools.on_event(tx, event)

    def scoped(self, tenant=None):
        return self.database.transaction(Scope.for_duty(tenant or self.tenant, "assessment"))

    async def bury_one(self):
        (self.event_id,) = await self.tools.commit(self.identity, self.tenant, "tenant")
        async with self.identity.transaction(Scope.for_duty(self.tenant, "identity")) as tx:
            body = bytes((await tx.execute(select(events.c.body))).scalar_one())
        one = read_received(self.tenant, FeedKey("identity", "tenant"), 1, body)
        async with self.scoped() as tx:
            await bury(tx, one, consumer="assessment", error="ValueError", attempts=10, first_at=utc_now())

    async def receive_key(self):
        row = {"day": utc_now().date(), "key_id": "k1", "public_key": bytes(self.key.public_key)}
        async with self.scoped() as tx:
            await tx.execute(insert(tenant_keys).values(tenant_id=self.tenant, **row))

    async def discard(self, reason=REASON):
        async with self.scoped() as tx:
            return await discard(tx, SEALER, "assessment", self.event_id, reason=reason)

    async def retry(self):
        async with self.scoped() as tx:
            await request_retry(tx, "assessment", self.event_id)

    async def letter(self):
        async with self.scoped() as tx:
            return await show_dead_letter(tx, "assessment", self.event_id)

    async def recorded(self):
        """Return assessment's own events, and the ids in its outbox."""
        async with self.scoped() as tx:
            bodies = (await tx.execute(select(events.c.body))).scalars().all()
        async with self.duty.duty() as connection:
            waiting = (await connection.execute(select(outbox.c.event_id))).scalars().all()
        return [bytes(body) for body in bodies], waiting


@pytest.fixture
async def desk(house, tools, tenant):
    desk = Desk(house, tools, tenant)
    await desk.bury_one()
    return desk


class TestRetry:
    async def test_it_has_its_effect_once(self, desk):
        desk.broken = False
        await desk.retry()
        await desk.consumer.retry_dead_letters()
        await desk.consumer.retry_dead_letters()
        assert await desk.tools.effects(desk.duty, desk.tenant) == ["identity.tenant 1"]
        assert (await desk.letter()).state == DeadLetterState.RETRIED
        with pytest.raises(NoSuchDeadLetterError):
            await desk.retry()

    async def test_one_that_fails_opens_it_again(self, desk):
        before = await desk.letter()
        await desk.retry()
        await desk.consumer.retry_dead_letters()
        after = await desk.letter()
        assert (after.state, after.attempts) == ("open", before.attempts + 1)

    async def test_it_stays_on_the_list_until_the_worker_has_done_it(self, desk):
        await desk.retry()
        async with desk.scoped() as tx:
            assert [one.state for one in await list_dead_letters(tx)] == ["retrying"]


class TestDiscard:
    async def test_it_is_an_event_that_says_what_was_given_up(self, desk):
        await desk.receive_key()
        recorded_as = await desk.discard()
        (body,), waiting = await desk.recorded()
        event = decode_event(body)
        assert (event.id, event.type, event.source) == (recorded_as, "ops.dead_letter.discarded", "assessment")
        assert waiting == [recorded_as]
        assert isinstance(event.data, DeadLetterDiscarded)
        assert event.data.consumer == "assessment"
        assert event.data.event_id == str(desk.event_id)
        assert (event.data.source, event.data.aggregate, event.data.source_seq) == ("identity", "tenant", 1)
        assert (event.correlation, event.causation) == ("c-1", str(desk.event_id))

    async def test_its_reason_is_readable_only_with_the_tenants_key(self, desk):
        await desk.receive_key()
        recorded_as = await desk.discard()
        (body,), _ = await desk.recorded()
        letter = await desk.letter()
        assert REASON.encode() not in body
        assert isinstance(letter.reason, Sealed)
        assert REASON not in repr(letter)
        assert decode_event(body).data.reason == letter.reason
        opened = json.loads(SealedBox(desk.key).decrypt(b64decode(letter.reason.box)))
        assert opened == {
            "event": str(recorded_as),
            "field": "reason",
            "subject": f"tenant:{desk.tenant}",
            "value": REASON,
        }

    async def test_a_second_time_is_refused_and_no_second_event(self, desk):
        await desk.receive_key()
        await desk.discard()
        with pytest.raises(NoSuchDeadLetterError):
            await desk.discard("once more")
        with pytest.raises(NoSuchDeadLetterError):
            await desk.retry()
        assert len((await desk.recorded())[0]) == 1

    async def test_without_a_tenant_key_nothing_is_discarded(self, desk):
        with pytest.raises(TenantKeyMissing):
            await desk.discard()
        assert (await desk.letter()).state == DeadLetterState.OPEN
        assert await desk.recorded() == ([], [])

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 501])
    async def test_it_needs_a_reason(self, desk, reason):
        await desk.receive_key()
        with pytest.raises(ValueError, match="reason"):
            await desk.discard(reason)
        assert (await desk.letter()).state == DeadLetterState.OPEN

    async def test_it_leaves_the_list(self, desk):
        await desk.receive_key()
        await desk.discard()
        async with desk.scoped() as tx:
            assert await list_dead_letters(tx) == []
            assert len(await list_dead_letters(tx, waiting_only=False)) == 1


class TestReach:
    async def test_another_tenant_neither_sees_nor_moves_it(self, desk):
        stranger = uuid4()
        async with desk.scoped(stranger) as tx:
            assert await list_dead_letters(tx, waiting_only=False) == []
            with pytest.raises(NoSuchDeadLetterError):
                await show_dead_letter(tx, "assessment", desk.event_id)
            with pytest.raises(NoSuchDeadLetterError):
                await request_retry(tx, "assessment", desk.event_id)
            with pytest.raises(NoSuchDeadLetterError):
                await discard(tx, SEALER, "assessment", desk.event_id, reason=REASON)
        assert (await desk.letter()).state == DeadLetterState.OPEN

    async def test_the_operator_lists_those_of_all_tenants(self, desk):
        first, first_event = desk.tenant, desk.event_id
        desk.tenant = uuid4()
        await desk.bury_one()
        found = await list_all_tenants_dead_letters(desk.duty)
        assert [(one.tenant, one.event_id) for one in found] == [(first, first_event), (desk.tenant, desk.event_id)]
        (one,) = await list_all_tenants_dead_letters(desk.duty, event_id=first_event)
        assert one.tenant == first
