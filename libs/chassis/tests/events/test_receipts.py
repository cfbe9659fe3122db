"""Receipts: nothing but the ledger's own proof, about our own bytes, empties the outbox."""

from dataclasses import replace
from uuid import uuid4

import pytest
import structlog
from nacl.signing import SigningKey
from tallystick_chassis.bus import BusMessage
from tallystick_chassis.clock import utc_now
from tallystick_chassis.receipts import ReceiptReader
from tallystick_chassis.relay import Relay
from tallystick_contracts.topology import receipt_subject
from tallystick_tlog.checkpoint import Checkpoint, sign_checkpoint
from tallystick_tlog.entry import FIRST_PREV, build_line
from tallystick_tlog.hashing import leaf_hash
from tallystick_tlog.note import Signer
from tallystick_tlog.receipt import Receipt, ReceiptEvent
from tallystick_tlog.tree import CompactRange

PREFIX = "tallystick.local"
SEED = bytes(range(32))
KEY = bytes(SigningKey(SEED).verify_key)
RECORDED = "2026-11-21T23:34:05.123456Z"


def receipt_for(tenant, messages, *, seed=SEED, log=None, change=None):
    """Return the receipt of a ledger that recorded ``messages`` as its log's first entries."""
    log = log or f"{PREFIX}/{tenant}/compliance"
    prev, leaves, events = FIRST_PREV, [], []
    for seq, message in enumerate(messages):
        source_seq = int(message.headers["ce-sequence"])
        body = message.payload if change is None else change(message.payload)
        prev = leaf_hash(build_line(body, log, prev, RECORDED, seq, source_seq))
        leaves.append(prev)
        events.append(ReceiptEvent(message.headers["ce-id"], "tenant", source_seq, seq))
    root = CompactRange().extend(leaves).root()
    return Receipt(
        tenant=str(tenant),
        log=log,
        checkpoint=sign_checkpoint(Checkpoint(log, len(leaves), root), Signer(log, seed)).decode(),
        start=0,
        prev=FIRST_PREV,
        frontier=(),
        leaves=tuple(leaves),
        recorded=RECORDED,
        events=tuple(events),
    )


@pytest.fixture
async def published(house, tools, tenant):
    """Three published events of one tenant, the duty role's database, and a reader of receipts."""
    duty, tape = house.duty("identity"), tools.Tape()
    await tools.commit(house.app("identity"), tenant, "tenant", "tenant", "tenant")
    await Relay(duty=duty, bus=tape, service="identity", clock=utc_now).step()
    pull = tools.TapePull()
    reader = ReceiptReader(duty=duty, pull=pull, ledger_key=KEY, origin=PREFIX)
    return duty, tape.messages, pull, reader


async def test_a_true_receipt_removes_exactly_the_rows_that_it_covers(published, tools, tenant):
    duty, messages, _, reader = published
    true = receipt_for(tenant, messages)
    assert await reader.confirm(replace(true, events=true.events[:2]).to_json()) == 2
    (left,) = await tools.outbox_rows(duty, tenant)
    assert str(left.event_id) == messages[2].headers["ce-id"]
    assert await reader.confirm(true.to_json()) == 3  # receipts are issued again; that is no error
    assert await tools.outbox_rows(duty, tenant) == []


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda tenant, ms: receipt_for(tenant, ms, seed=bytes(32)).to_json(), id="another key"),
        pytest.param(
            lambda tenant, ms: receipt_for(tenant, ms, change=lambda body: body.replace(b"North", b"South")).to_json(),
            id="other bytes",
        ),
        pytest.param(
            lambda tenant, ms: receipt_for(tenant, ms, log=f"{PREFIX}/{uuid4()}/compliance").to_json(),
            id="another tenant's log",
        ),
        pytest.param(
            lambda tenant, ms: receipt_for(tenant, ms, log=f"elsewhere/{tenant}/compliance").to_json(),
            id="another ledger's log",
        ),
        pytest.param(
            lambda tenant, ms: receipt_for(
                tenant, [replace(one, headers={**one.headers, "ce-sequence": "9"}) for one in ms]
            ).to_json(),
            id="another source sequence",
        ),
        pytest.param(
            lambda tenant, ms: receipt_for(
                tenant, [replace(one, headers={**one.headers, "ce-id": str(uuid4())}) for one in ms]
            ).to_json(),
            id="events that are not ours",
        ),
        pytest.param(lambda *_: b"{}", id="no receipt"),
        pytest.param(
            lambda tenant, ms: receipt_for(tenant, ms).to_json().replace(str(tenant).encode(), b"x", 1), id="no tenant"
        ),
    ],
)
async def test_a_receipt_that_does_not_hold_removes_nothing(published, tools, tenant, forge):
    duty, messages, pull, reader = published
    delivery = tools.TapeDelivery(BusMessage(receipt_subject("identity"), forge(tenant, messages)))
    pull.waiting = [delivery]
    with structlog.testing.capture_logs() as logs:
        await reader.step()
    assert [(one["event"], one["log_level"]) for one in logs] == [("receipt_refused", "error")]
    assert delivery.answer == "term"
    assert len(await tools.outbox_rows(duty, tenant)) == 3


async def test_a_receipt_comes_from_the_ledger_over_nats(published, buses, tools, tenant):
    duty, messages, _, _ = published
    message = BusMessage(receipt_subject("identity"), receipt_for(tenant, messages).to_json())
    await buses.of("ledger").publish_batch([message], timeout_s=5)
    pull = buses.of("identity").pull(stream="RCPT", durable="rcpt-identity")
    await ReceiptReader(duty=duty, pull=pull, ledger_key=KEY, origin=PREFIX).step()
    assert await tools.outbox_rows(duty, tenant) == []


async def test_what_was_removed_is_not_published_again(published, house, tools, tenant):
    duty, messages, _, reader = published
    await reader.confirm(receipt_for(tenant, messages).to_json())
    tape = tools.Tape()
    await tools.commit(house.app("identity"), tenant, "tenant")
    await Relay(duty=duty, bus=tape, service="identity", clock=utc_now).step()
    assert [one.headers["ce-sequence"] for one in tape.messages] == ["4"]
