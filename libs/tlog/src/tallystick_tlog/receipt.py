"""Receipts: how a producer proves to itself that the ledger holds its events, before it forgets them.

One receipt covers one committed batch and one source: a checkpoint, all leaf hashes of the batch, the compact range
before it and, where the checkpoint is a later one, the hashes after it. The producer rebuilds its own lines from the
event bytes it stored and trusts nothing but the ledger's pinned key.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, Self, TypeVar

from tallystick_tlog.checkpoint import Checkpoint, open_checkpoint
from tallystick_tlog.encoding import from_base64, to_base64
from tallystick_tlog.entry import MAX_INTEGER, build_line, is_recorded, parse_event
from tallystick_tlog.errors import CheckpointError, EntryError, NoteError, ReceiptError, TreeError
from tallystick_tlog.hashing import HASH_BYTES, leaf_hash
from tallystick_tlog.note import VerifierKey
from tallystick_tlog.tree import CompactRange

_KEYS: Final = {"v", "tenant", "log", "checkpoint", "start", "prev", "frontier", "leaves", "recorded", "events"}
_OPTIONAL_KEYS: Final = {"tail", "keys"}
_Value = TypeVar("_Value", str, int)


@dataclass(frozen=True, slots=True)
class ReceiptEvent:
    """Where the ledger put one event of the source."""

    id: str
    aggregate: str
    source_seq: int
    seq: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """One committed batch, as its source sees it.

    ``start`` is the first entry's seq and ``prev`` the leaf hash before it; ``frontier`` is the compact range
    ``[0, start)``, ``leaves`` the batch's leaf hashes in order, ``tail`` the compact range from the batch's end to the
    checkpoint's size (empty when the batch was the newest). ``recorded`` is one text when all entries share it, else
    one for each leaf. ``events`` are this source's only. All hashes are 32 bytes. ``keys`` are the installation's key
    rotations, as :func:`~tallystick_tlog.rotation.follow_keys` takes them, up to the key that signed the checkpoint.
    """

    tenant: str
    log: str
    checkpoint: str
    start: int
    prev: bytes
    frontier: tuple[bytes, ...]
    leaves: tuple[bytes, ...]
    recorded: str | tuple[str, ...]
    events: tuple[ReceiptEvent, ...]
    tail: tuple[bytes, ...] = ()
    keys: tuple[str, ...] = ()

    def recorded_at(self, seq: int) -> str:
        """Give ``recorded`` of one entry of the batch."""
        return self.recorded if isinstance(self.recorded, str) else self.recorded[seq - self.start]

    def prev_at(self, seq: int) -> bytes:
        """Give the leaf hash before one entry of the batch."""
        return self.leaves[seq - self.start - 1] if seq > self.start else self.prev

    def to_json(self) -> bytes:
        """Write the receipt as JSON."""
        value: dict[str, object] = {
            "v": 1,
            "tenant": self.tenant,
            "log": self.log,
            "checkpoint": self.checkpoint,
            "start": self.start,
            "prev": to_base64(self.prev),
            "frontier": [to_base64(item) for item in self.frontier],
            "leaves": [to_base64(item) for item in self.leaves],
            "recorded": self.recorded if isinstance(self.recorded, str) else list(self.recorded),
            "events": [
                {"id": item.id, "aggregate": item.aggregate, "source_seq": item.source_seq, "seq": item.seq}
                for item in self.events
            ],
        }
        if self.tail:
            value["tail"] = [to_base64(item) for item in self.tail]
        if self.keys:
            value["keys"] = list(self.keys)
        return json.dumps(value, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a receipt; nothing is verified but its form.

        Raises:
            ReceiptError: it is not a receipt.

        """
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            message = "a receipt is JSON"
            raise ReceiptError(message) from error
        if not isinstance(value, dict) or value.keys() - _OPTIONAL_KEYS != _KEYS or value["v"] != 1:
            _refuse("a receipt of version 1 has other keys")
        recorded = value["recorded"]
        return cls(
            tenant=_typed(value["tenant"], str),
            log=_typed(value["log"], str),
            checkpoint=_typed(value["checkpoint"], str),
            start=_typed(value["start"], int),
            prev=_hash(value["prev"]),
            frontier=tuple(_hash(item) for item in _array(value["frontier"])),
            leaves=tuple(_hash(item) for item in _array(value["leaves"])),
            recorded=recorded if isinstance(recorded, str) else tuple(_typed(item, str) for item in _array(recorded)),
            events=tuple(_event(item) for item in _array(value["events"])),
            tail=tuple(_hash(item) for item in _array(value.get("tail", []))),
            keys=tuple(_typed(item, str) for item in _array(value.get("keys", []))),
        )


def verify_receipt(
    receipt: Receipt,
    event_bytes_by_id: Mapping[str, bytes],
    verifiers: Iterable[VerifierKey],
) -> list[str]:
    """Check a receipt against the producer's own stored event bytes.

    Returns:
        The ids of the events that the ledger is proved to hold: all that the receipt names.

    Raises:
        ReceiptError: something does not hold; the message names it. Nothing is confirmed then.

    """
    checkpoint = _open(receipt, verifiers)
    _check_tree(receipt, checkpoint)
    end = receipt.start + len(receipt.leaves)
    confirmed: dict[str, None] = {}
    for event in receipt.events:
        stored = event_bytes_by_id.get(event.id)
        if stored is None:
            _refuse(f"event {event.id} is not one of ours")
        if event.id in confirmed or not receipt.start <= event.seq < end:
            _refuse(f"event {event.id} is named twice or lies outside the batch")
        try:
            head = parse_event(stored)
            line = build_line(
                stored,
                receipt.log,
                receipt.prev_at(event.seq),
                receipt.recorded_at(event.seq),
                event.seq,
                event.source_seq,
            )
        except (EntryError, ValueError) as error:
            message = f"event {event.id}: no entry can hold it: {error}"
            raise ReceiptError(message) from error
        if (head.id, head.aggregate) != (event.id, event.aggregate):
            _refuse(f"event {event.id} is stored under another id or aggregate")
        if leaf_hash(line) != receipt.leaves[event.seq - receipt.start]:
            _refuse(f"event {event.id}: entry {event.seq} of the log is not what we published")
        confirmed[event.id] = None
    return list(confirmed)


def _open(receipt: Receipt, verifiers: Iterable[VerifierKey]) -> Checkpoint:
    try:
        checkpoint = open_checkpoint(receipt.checkpoint.encode(), verifiers)
    except (NoteError, CheckpointError, UnicodeEncodeError) as error:
        message = f"the receipt's checkpoint does not hold: {error}"
        raise ReceiptError(message) from error
    if checkpoint.origin != receipt.log:
        _refuse(f"the checkpoint is of log {checkpoint.origin}, the receipt of {receipt.log}")
    return checkpoint


def _check_tree(receipt: Receipt, checkpoint: Checkpoint) -> None:
    count = len(receipt.leaves)
    if not isinstance(receipt.recorded, str) and len(receipt.recorded) != count:
        _refuse("there is not one recorded time for each leaf")
    times = [receipt.recorded] if isinstance(receipt.recorded, str) else receipt.recorded
    if not all(is_recorded(time) for time in times):
        _refuse("a recorded time is malformed")
    if receipt.start + count > checkpoint.size:
        _refuse(f"the batch ends at {receipt.start + count}, after the checkpoint's {checkpoint.size}")
    try:
        before = CompactRange(0, receipt.start, receipt.frontier)
        after = CompactRange(receipt.start + count, checkpoint.size, receipt.tail)
        root = before.extend(receipt.leaves).merge(after).root()
    except TreeError as error:
        message = f"frontier, leaves and tail do not make a tree of {checkpoint.size}: {error}"
        raise ReceiptError(message) from error
    if root != checkpoint.root:
        _refuse("frontier, leaves and tail lead to another root than the checkpoint's")


def _event(value: object) -> ReceiptEvent:
    if not isinstance(value, dict) or value.keys() != {"id", "aggregate", "source_seq", "seq"}:
        _refuse("an event of the receipt has other keys")
    return ReceiptEvent(
        _typed(value["id"], str),
        _typed(value["aggregate"], str),
        _typed(value["source_seq"], int),
        _typed(value["seq"], int),
    )


def _typed(value: object, kind: type[_Value]) -> _Value:
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value <= MAX_INTEGER):
        _refuse(f"a field of the receipt is not a {'text' if kind is str else 'count'}")
    return value


def _array(value: object) -> list[object]:
    if not isinstance(value, list):
        _refuse("a field of the receipt is not an array")
    return value


def _hash(value: object) -> bytes:
    try:
        data = from_base64(_typed(value, str))
    except ValueError as error:
        message = f"a hash of the receipt is {error}"
        raise ReceiptError(message) from error
    if len(data) != HASH_BYTES:
        _refuse("a hash of the receipt is not 32 bytes")
    return data


def _refuse(message: str) -> NoReturn:
    raise ReceiptError(message)
