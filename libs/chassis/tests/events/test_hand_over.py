"""Handing over: while NATS is away the ledger gets the events over HTTP, and the other consumers get theirs later."""

import time
from uuid import UUID

import msgspec
import pytest
import structlog
from nacl.signing import SigningKey
from sqlalchemy import delete
from tallystick_chassis.bus import BusUnavailableError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.hand_over import HAND_OVER_PATH, HandOver, HandOverAnswer
from tallystick_chassis.http.service_client import ServiceCallError
from tallystick_chassis.receipts import ReceiptReader
from tallystick_chassis.relay import Relay
from tallystick_chassis.scope import Scope
from tallystick_chassis.tables import outbox
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.envelope import decode_event
from tallystick_contracts.generated.identity import TenantCreated
from tallystick_contracts.topology import ServiceName
from tallystick_tlog.checkpoint import Checkpoint, sign_checkpoint
from tallystick_tlog.entry import FIRST_PREV, build_line
from tallystick_tlog.hashing import leaf_hash
from tallystick_tlog.note import Signer
from tallystick_tlog.receipt import Receipt, ReceiptEvent
from tallystick_tlog.tree import CompactRange

PREFIX = "tallystick.local"
SEED = bytes(range(32))
RECORDED = "2026-11-21T23:34:05.123456Z"


class Ledger:
    """The ledger's API as the service client sees it: one log, each request a batch, everything proved."""

    def __init__(self):
        self.seed = SEED
        self.down = False
        self.refused = ()  # source_seq that it will not record
        self.heads = {}
        self.requests = []  # (aggregate, source_seq) in the order in which they came
        self.range, self.prev = CompactRange(), FIRST_PREV

    async def call(self, method, service, path, *, answer, body, tenant, repeatable):
        assert (method, service, path, answer, repeatable) == ("POST", "ledger", HAND_OVER_PATH, HandOverAnswer, True)
        if self.down:
            raise ServiceCallError(ServiceName.LEDGER, 503, "unavailable")
        read = [(one.source_seq, decode_event(one.body.encode()), one.body.encode()) for one in body.events]
        self.requests.append([(event.aggregate, seq) for seq, event, _ in read])
        log, start, leaves, events = f"{PREFIX}/{tenant}/compliance", self.range.end, [], []
        before, prev = self.range, self.prev
        for seq, event, raw in read:
            if self.heads.get(event.aggregate, 0) + 1 != seq or seq in self.refused:
                continue
            at = start + len(leaves)
            self.prev = leaf_hash(build_line(raw, log, self.prev, RECORDED, at, seq))
            leaves.append(self.prev)
            events.append(ReceiptEvent(str(event.id), event.aggregate, seq, at))
            self.heads[event.aggregate] = seq
        heads = {event.aggregate: self.heads.get(event.aggregate, 0) for _, event, _ in read}
        if not leaves:
            return HandOverAnswer(receipts=(), heads=heads)
        self.range = before.extend(leaves)
        note = sign_checkpoint(Checkpoint(log, self.range.end, self.range.root()), Signer(log, self.seed))
        receipt = Receipt(
            tenant=str(tenant),
            log=log,
            checkpoint=note.decode(),
            start=start,
            prev=prev,
            frontier=before.hashes,
            leaves=tuple(leaves),
            recorded=RECORDED,
            events=tuple(events),
        )
        return HandOverAnswer(receipts=(msgspec.Raw(receipt.to_json()),), heads=heads)


class Side:
    """One service while its NATS is away."""

    def __init__(self, house, tools, tenant, *, after_s=0.0):
        self.app, self.duty, self.tape = house.app("identity"), house.duty("identity"), tools.Tape()
        self.tools, self.tenant = tools, tenant
        self.relay = Relay(duty=self.duty, bus=self.tape, service="identity", clock=utc_now)
        self.ledger = Ledger()
        self.now = time.monotonic()
        key = bytes(SigningKey(SEED).verify_key)
        self.hand_over = HandOver(
            duty=self.duty,
            relay=self.relay,
            receipts=ReceiptReader(duty=self.duty, pull=tools.TapePull(), ledger_key=key, origin=PREFIX),
            client=self.ledger,
            after_s=after_s,
            monotonic=lambda: self.now,
        )

    async def commit(self, *aggregates):
        return await self.tools.commit(self.app, self.tenant, *aggregates)

    async def lose_nats(self):
        self.tape.fail = "before"
        with pytest.raises(BusUnavailableError):
            await self.relay.step()

    async def nats_returns(self):
        self.tape.fail = None
        await self.relay.step()

    async def run(self):
        while await self.hand_over.step():
            pass

    async def rows(self):
        return await self.tools.outbox_rows(self.duty, self.tenant)

    def published(self):
        return [int(one.headers["ce-sequence"]) for one in self.tape.messages]


@pytest.fixture
def side(house, tools, tenant):
    return Side(house, tools, tenant)


async def test_nothing_is_handed_over_while_nats_takes_it_or_is_away_for_a_moment(house, tools, tenant):
    side = Side(house, tools, tenant, after_s=3600)
    await side.commit("tenant")
    await side.nats_returns()
    await side.run()
    await side.commit("tenant")
    await side.lose_nats()
    await side.run()
    assert side.ledger.requests == []


async def test_while_nats_is_away_the_ledger_gets_each_event_once_in_the_order_of_writing(side):
    await side.commit("tenant", "org_unit", "tenant")
    await side.lose_nats()
    await side.run()
    await side.commit("org_unit")
    await side.run()
    await side.run()
    assert side.ledger.requests == [
        [("tenant", 1), ("org_unit", 1), ("tenant", 2)],
        [("org_unit", 2)],
    ]


async def test_what_jetstream_has_not_taken_stays_for_the_other_consumers(side):
    await side.commit("tenant", "tenant")
    await side.lose_nats()
    with structlog.testing.capture_logs() as logs:
        await side.run()
        assert [row.published_at for row in await side.rows()] == [None, None]
        await side.nats_returns()
        await side.run()
    assert side.published() == [1, 2]
    told = [(one["event"], one.get("count"), one.get("confirmed")) for one in logs]
    assert told == [("hand_over_begun", None, None), ("handed_over", 2, 2), ("hand_over_ended", None, None)]


async def test_what_was_published_but_not_confirmed_goes_with_its_receipt(side):
    await side.commit("tenant")
    await side.nats_returns()  # published; the ledger was slower than the failure of NATS
    (late,) = await side.commit("tenant")
    await side.lose_nats()
    await side.run()
    assert [row.event_id for row in await side.rows()] == [late]


async def test_a_ledger_that_lacks_what_it_confirmed_before_gets_it_from_the_feed(side):
    await side.commit("tenant", "tenant", "tenant")
    await side.lose_nats()
    async with side.duty.duty() as connection:
        (first, *_) = await side.rows()
        await connection.execute(delete(outbox).where(outbox.c.event_id == first.event_id))
    await side.run()
    assert side.ledger.requests == [[("tenant", 2), ("tenant", 3)], [("tenant", 1), ("tenant", 2), ("tenant", 3)]]
    assert side.ledger.heads == {"tenant": 3}


async def test_what_the_ledger_will_not_record_is_offered_again_after_half_a_minute_and_stops_nothing_else(side):
    await side.commit("tenant", "tenant", "org_unit")
    side.ledger.refused = (2,)
    await side.lose_nats()
    await side.run()
    assert side.ledger.heads == {"tenant": 1, "org_unit": 1}
    asked = len(side.ledger.requests)
    await side.run()
    assert len(side.ledger.requests) == asked
    side.now += 31
    side.ledger.refused = ()
    await side.run()
    assert side.ledger.heads == {"tenant": 2, "org_unit": 1}


async def test_a_receipt_under_another_key_confirms_nothing_and_is_an_error(side):
    await side.commit("tenant")
    await side.nats_returns()
    await side.commit("tenant")
    await side.lose_nats()
    side.ledger.seed = bytes(32)
    with structlog.testing.capture_logs() as logs:
        await side.run()
    assert len(await side.rows()) == 2
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["receipt_refused"]


async def test_while_the_ledger_is_away_too_everything_waits(side):
    await side.commit("tenant")
    await side.lose_nats()
    side.ledger.down = True
    await side.run()
    assert len(await side.rows()) == 1
    side.ledger.down = False
    await side.run()
    assert side.ledger.heads == {"tenant": 1}


async def test_large_events_go_in_requests_that_the_edge_accepts(side):
    sizes = []
    call = side.ledger.call

    async def measured(*arguments, body, **named):
        sizes.append(len(msgspec.json.encode(body)))
        return await call(*arguments, body=body, **named)

    side.ledger.call = measured
    async with side.app.transaction(Scope.for_duty(side.tenant, "identity")) as tx:
        for number in range(40):
            draft = EventDraft(TenantCreated(slug=f"t{number}", name='"' * 25_000))  # twice as long as a JSON text
            await tx.append(f"tenant-{UUID(int=number)}", 0, [draft])
    await side.lose_nats()
    await side.run()
    assert side.ledger.heads == {"tenant": 40}
    assert len(sizes) > 1
    assert max(sizes) < 1_048_576
