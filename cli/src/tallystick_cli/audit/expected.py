"""What the ledger says of the services' rows and event stores: entries folded by the rules, one after the other."""

import sqlite3
from collections.abc import Collection
from hashlib import sha256
from typing import Final, Literal

import msgspec

from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.event_types import event_kinds, full_data
from tallystick_cli.audit.present import SERVICES
from tallystick_cli.audit.reconcile_rules import Rule, rules_by_type
from tallystick_cli.audit.records import RecordedEvent

LogKind = Literal["audit", "compliance"]
_EVENT_FIELDS: Final = ("event_id", "sha256", "stream", "version", "type")


class Told(msgspec.Struct, frozen=True, array_like=True):
    """A field's value and the entry that told it, from the service ``source``; ``made``: the row came with it."""

    value: object
    log: str
    seq: int
    recorded: str
    source: str
    made: bool


class EventDifference(msgspec.Struct, frozen=True):
    """An event that its service's store does not hold as the ledger does; ``field`` is None where it is gone."""

    service: str
    stream: str
    event_id: str
    type: str
    log: str
    seq: int
    field: str | None = None
    expected: object = None
    present: object = None


class _Entry(msgspec.Struct, frozen=True):
    event: msgspec.Raw
    log: str
    recorded: str
    seq: int
    source_seq: int


_decode_entry: Final = msgspec.json.Decoder(_Entry).decode
_decode_event: Final = msgspec.json.Decoder(RecordedEvent).decode
_decode_told: Final = msgspec.json.Decoder(dict[str, Told]).decode


def read_told(fields: bytes) -> dict[str, Told]:
    """Read the fields of an expected row."""
    return _decode_told(fields)


class Expectation:
    """The logs so far; ``heads`` has each source and aggregate's first and last number, ``as_of`` the last time."""

    def __init__(self, work: sqlite3.Connection, services: Collection[str]) -> None:
        """Fold into ``work``; only ``services`` are compared."""
        self._work = work
        self._services = frozenset(services)
        self._log_of: dict[tuple[str, str], LogKind] = {}
        self._shared: dict[str, LogKind] = {}
        for kind in event_kinds().values():
            first, aggregate, _ = kind.type.split(".", 2)
            # A whole aggregate is in the compliance log as soon as one of its types is.
            if self._log_of.get((first, aggregate)) != "compliance":
                self._log_of[first, aggregate] = kind.log
            if first not in SERVICES:
                # Types such as authz.* belong to no service: their aggregates exist in every source.
                self._shared[aggregate] = self._log_of[first, aggregate]
        self.heads: dict[tuple[str, str], tuple[int, int]] = {}
        self.as_of: dict[LogKind, str] = {}
        self.units: set[str] = set()
        self.differences: list[EventDifference] = []
        self.events = 0

    def log_of(self, source: str, aggregate: str) -> LogKind | None:
        """Say in which kind of log an aggregate's events are, as far as this version knows."""
        return self._log_of.get((source, aggregate)) or self._shared.get(aggregate)

    def add(self, line: bytes) -> None:
        """Take one more entry that a replay has found sound.

        Raises:
            AuditError: it cannot be read.

        """
        try:
            entry = _decode_entry(line)
            event = _decode_event(entry.event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            message = f"an entry cannot be read: {error}"
            raise AuditError(message) from error
        place = (event.source, event.type.split(".")[1])
        first, last = self.heads.get(place, (entry.source_seq, 0))
        if entry.source_seq <= last:
            return  # told again, by a successor of the log that told it first
        self.heads[place] = (first, entry.source_seq)
        kind = self.log_of(*place)
        if kind is not None:
            self.as_of[kind] = max(self.as_of.get(kind, ""), entry.recorded)
        if event.source in self._services:
            self._compare_event(entry, event, place[1])
        rules = [rule for rule in rules_by_type().get((event.type, event.v), ()) if rule.service in self._services]
        if event.type == "identity.org_unit.created":
            self.units.add(str(full_data(event).get("unitId", "")))
        if rules:
            data = full_data(event)
            for rule in rules:
                self._fold(rule, entry, event, data)

    def _compare_event(self, entry: _Entry, event: RecordedEvent, aggregate: str) -> None:
        self.events += 1
        place = (event.source, aggregate, entry.source_seq)
        row = self._work.execute(
            "delete from stored where service = ? and aggregate = ? and seq = ? "
            "returning event_id, sha256, stream, version, type",
            place,
        ).fetchone()
        named = (event.source, event.stream, event.id, event.type, entry.log, entry.seq)
        if row is None or row[1] is None:
            self.differences.append(EventDifference(*named))
            return
        said = (event.id, sha256(entry.event).hexdigest(), event.stream, event.stream_version, event.type)
        for name, expected, present in zip(_EVENT_FIELDS, said, row, strict=True):
            if expected != present:
                self.differences.append(EventDifference(*named, name, expected, present))
                return

    def _fold(self, rule: Rule, entry: _Entry, event: RecordedEvent, data: dict[str, object]) -> None:
        key = "/".join(str(part.of(event, data)) for part in rule.key)
        told = {
            name: Told(part.of(event, data), entry.log, entry.seq, entry.recorded, event.source, rule.creates)
            for name, part in rule.sets.items()
        }
        place = (rule.service, rule.kind, key)
        row = self._work.execute(
            "select stream, fields, created, log, seq from expected where service = ? and kind = ? and key = ?", place
        ).fetchone()
        stream, fields, created, log, seq = row or (event.stream, b"{}", 0, entry.log, entry.seq)
        if rule.creates:
            stream, created = event.stream, 1
        # What was erased before it was made stays erased: the order of two sources' events is not one.
        known = read_told(fields)
        merged = told | known if rule.creates and row is not None and not row[2] else known | told
        self._work.execute(
            "insert or replace into expected values (?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, stream, msgspec.json.encode(merged), created, log, seq),
        )
