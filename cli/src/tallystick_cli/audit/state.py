"""What was true of one stream at a time: its events up to then, and each field as the last of them left it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from tallystick_tlog import VerifierKey

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.event_types import full_data, summary_of
from tallystick_cli.audit.findings import Report
from tallystick_cli.audit.records import Record, in_words, read_record
from tallystick_cli.audit.sources import LogSource
from tallystick_cli.audit.walk import Walk

MAX_EVENTS: Final = 10_000
"""Events of one stream that are folded: people read the outcome."""

Clock = Literal["happened", "recorded"]


class Step(msgspec.Struct, frozen=True):
    """One event of the stream and the fields it set."""

    log: str
    seq: int
    stream_version: int
    type: str
    what: str
    happened: str
    recorded: str
    actor: str
    changed: dict[str, str]


class Field(msgspec.Struct, frozen=True):
    """A field as the last event that has it left it."""

    value: str
    set_by: str
    stream_version: int
    happened: str


class State(msgspec.Struct, frozen=True):
    """A stream at a time; ``missing`` are versions below the last that are not in these logs, ``later`` came after."""

    stream: str
    source: str
    at: str
    by: Clock
    steps: tuple[Step, ...]
    fields: dict[str, Field]
    missing: tuple[int, ...]
    later: int


class States(msgspec.Struct, frozen=True):
    """The states of all streams of one name."""

    states: tuple[State, ...]


def parse_time(text: str) -> datetime:
    """Read a moment; a date alone is its end in UTC, a time without zone is UTC.

    Raises:
        AuditError: it is neither.

    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        message = "--at is a date or a time, such as 2026-11-21 or 2026-11-21T23:34:05Z"
        raise AuditError(message) from error
    if len(text) <= len("2026-11-21"):
        at = at.replace(hour=23, minute=59, second=59, microsecond=999_999)
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        message = "--at is outside the calendar in UTC"
        raise AuditError(message) from error


def states_at(  # noqa: PLR0917 (the command's own parameters)
    sources: Sequence[LogSource],
    stream: str,
    at: datetime,
    by: Clock,
    keys: tuple[VerifierKey, ...],
    advance: Advance,
) -> tuple[tuple[State, ...], tuple[Report, ...]]:
    """Verify the logs and fold the stream; one state for each service that has a stream of that name.

    Raises:
        AuditError: a source cannot be read, no log knows the stream, or it has too many events.

    """
    records: dict[str, list[Record]] = {}
    later: dict[str, int] = {}
    reports = []
    marker = b'"stream":%b' % msgspec.json.encode(stream)
    for source in sources:
        walk = Walk(source, keys)
        for _, lines in walk.lines(advance):
            for line in lines:
                if marker not in line:
                    continue
                record = read_record(line)
                if record.event.stream != stream:
                    continue
                held = records.setdefault(record.event.source, [])
                if _moment(record, by) > at:
                    later[record.event.source] = later.get(record.event.source, 0) + 1
                else:
                    held.append(record)
                if len(held) > MAX_EVENTS:
                    message = f"the stream has more than {MAX_EVENTS} events"
                    raise AuditError(message)
        reports.append(walk.report())
    if not records:
        message = f"no entry of stream {stream[:200]} here"
        raise AuditError(message)
    shown = at.isoformat().replace("+00:00", "Z")
    states = tuple(_fold(stream, name, shown, by, held, later.get(name, 0)) for name, held in sorted(records.items()))
    return states, tuple(reports)


def _moment(record: Record, by: Clock) -> datetime:
    text = record.event.time if by == "happened" else record.recorded
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"event {record.event.id} has a time that is none"
        raise AuditError(message) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _fold(  # noqa: PLR0917 (the parts of a state, one caller)
    stream: str, source: str, at: str, by: Clock, records: list[Record], later: int
) -> State:
    records.sort(key=lambda record: (record.event.stream_version, record.recorded, record.seq))
    steps: list[Step] = []
    fields: dict[str, Field] = {}
    for record in records:
        event = record.event
        changed = {key: in_words(value) for key, value in full_data(event).items()}
        steps.append(
            Step(
                log=record.log,
                seq=record.seq,
                stream_version=event.stream_version,
                type=event.type,
                what=summary_of(event.type, event.v),
                happened=event.time,
                recorded=record.recorded,
                actor=event.actor,
                changed=changed,
            )
        )
        for key, value in changed.items():
            fields[key] = Field(value, event.type, event.stream_version, event.time)
    seen = {step.stream_version for step in steps}
    last = max(seen, default=0)
    missing = tuple(version for version in range(1, min(last, MAX_EVENTS)) if version not in seen)
    return State(stream, source, at, by, tuple(steps), fields, missing, later)
