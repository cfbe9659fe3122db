"""Receipts confirm exactly what the ledger holds."""

import json
from dataclasses import replace

import pytest
from tallystick_tlog import (
    FIRST_PREV,
    Checkpoint,
    CompactRange,
    Receipt,
    ReceiptError,
    ReceiptEvent,
    Signer,
    leaf_hash,
    sign_checkpoint,
    verify_receipt,
)
from tallystick_tlog.samples import ORIGIN, RECORDED, SIGNER, event, log

KEYS = [SIGNER.verifier]


def event_id(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012}"


OURS = {event_id(number): event(number) for number in range(20)}


def receipt(start: int, end: int, size: int) -> Receipt:
    lines, _ = log(size)
    leaves = [leaf_hash(line) for line in lines]
    root = CompactRange().extend(leaves).root()
    return Receipt(
        tenant="acme",
        log=ORIGIN,
        checkpoint=sign_checkpoint(Checkpoint(ORIGIN, size, root), SIGNER).decode(),
        start=start,
        prev=leaves[start - 1] if start else FIRST_PREV,
        frontier=CompactRange().extend(leaves[:start]).hashes,
        leaves=tuple(leaves[start:end]),
        recorded=RECORDED,
        events=tuple(ReceiptEvent(event_id(seq), "remediation", seq + 1, seq) for seq in range(start, end)),
        tail=CompactRange(end, end).extend(leaves[end:]).hashes,
    )


@pytest.mark.parametrize(("start", "end", "size"), [(0, 1, 1), (0, 5, 5), (3, 7, 7), (3, 7, 13), (7, 8, 20)])
def test_a_true_receipt_confirms_all_its_events(start: int, end: int, size: int) -> None:
    given = Receipt.from_json(receipt(start, end, size).to_json())
    assert given == receipt(start, end, size)
    assert verify_receipt(given, OURS, KEYS) == [event_id(seq) for seq in range(start, end)]


def test_times_may_differ_by_entry() -> None:
    given = replace(receipt(3, 7, 7), recorded=(RECORDED,) * 4)
    assert len(verify_receipt(Receipt.from_json(given.to_json()), OURS, KEYS)) == 4


def test_a_receipt_may_name_only_some_entries_of_the_batch() -> None:
    given = receipt(3, 7, 7)
    assert verify_receipt(replace(given, events=given.events[1:2]), OURS, KEYS) == [event_id(4)]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"log": "tally.example/other"}, "checkpoint is of log"),
        ({"checkpoint": "nonsense"}, "does not hold"),
        ({"checkpoint": "\ud800"}, "does not hold"),
        ({"start": 2}, "tree"),
        ({"start": 8}, "ends at"),
        ({"prev": bytes(32)}, "is not what we published"),
        ({"frontier": ()}, "tree"),
        ({"frontier": (bytes(32), bytes(32))}, "another root"),
        ({"leaves": (bytes(32),) * 4}, "another root"),
        ({"tail": (bytes(32),)}, "tree"),
        ({"recorded": "2026-11-21T23:34:05.123457Z"}, "is not what we published"),
        ({"recorded": "yesterday"}, "malformed"),
        ({"recorded": (RECORDED,)}, "one recorded time"),
        ({"events": (ReceiptEvent(event_id(3), "remediation", 5, 3),)}, "is not what we published"),
        ({"events": (ReceiptEvent(event_id(3), "remediation", 4, 4),)}, "is not what we published"),
        ({"events": (ReceiptEvent(event_id(3), "remediation", 4, 7),)}, "outside the batch"),
        ({"events": (ReceiptEvent(event_id(3), "other", 4, 3),)}, "aggregate"),
        ({"events": (ReceiptEvent("unknown", "remediation", 4, 3),)}, "not one of ours"),
        ({"events": (ReceiptEvent(event_id(3), "remediation", 4, 3),) * 2}, "named twice"),
    ],
)
def test_a_receipt_that_lies_is_refused_by_name(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ReceiptError, match=complaint):
        verify_receipt(replace(receipt(3, 7, 7), **changes), OURS, KEYS)


def test_a_ledger_that_altered_our_event_is_found_out() -> None:
    with pytest.raises(ReceiptError, match="is not what we published"):
        verify_receipt(receipt(3, 7, 7), OURS | {event_id(5): event(5, actor="someone else")}, KEYS)


def test_only_the_pinned_key_counts() -> None:
    with pytest.raises(ReceiptError, match="does not hold"):
        verify_receipt(receipt(3, 7, 7), OURS, [Signer(ORIGIN, bytes(32)).verifier])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 5000,
        b"[]",
        b"{}",
        json.dumps(json.loads(receipt(0, 1, 1).to_json()) | {"v": 2}).encode(),
        json.dumps(json.loads(receipt(0, 1, 1).to_json()) | {"start": -1}).encode(),
        json.dumps(json.loads(receipt(0, 1, 1).to_json()) | {"start": True}).encode(),
        json.dumps(json.loads(receipt(0, 1, 1).to_json()) | {"leaves": ["AAAA"]}).encode(),
        json.dumps(json.loads(receipt(0, 1, 1).to_json()) | {"leaves": "AAAA"}).encode(),
        json.dumps(json.loads(receipt(0, 1, 1).to_json()) | {"leaves": ["?"]}).encode(),
        json.dumps(json.loads(receipt(0, 1, 1).to_json()) | {"events": [{}]}).encode(),
    ],
)
def test_what_is_not_a_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(ReceiptError):
        Receipt.from_json(data)
