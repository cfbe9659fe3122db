"""Explaining one entry in words: what it is, who did it, by which request, what caused it and what it caused."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from tallystick_tlog import CompactRange, VerifierKey, leaf_hash, to_base64

from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.errors import AuditError, NotProvedError
from tallystick_cli.audit.event_types import event_kinds, full_data, summary_of
from tallystick_cli.audit.findings import Report
from tallystick_cli.audit.records import Record, in_words, read_record
from tallystick_cli.audit.sources import LogSource
from tallystick_cli.audit.walk import Walk, bare_lines

MAX_RELATED: Final = 200
"""Entries of one request that are listed; the rest are counted."""

_MAX_CAUSES: Final = 16

_Verified = Sequence[tuple[LogSource, Report]]


class Related(msgspec.Struct, frozen=True):
    """An entry that belongs to the one explained."""

    log: str
    seq: int
    id: str
    type: str
    time: str
    what: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One entry explained; ``causes`` goes from the nearest back, ``cause_missing`` names the event not found."""

    log: str
    seq: int
    id: str
    type: str
    v: int
    what: str
    who: str
    about: str | None
    happened: str
    recorded: str
    recorded_after_s: float | None
    source: str
    source_seq: int
    stream: str
    stream_version: int
    org_unit: str | None
    correlation: str | None
    same_request: tuple[Related, ...]
    same_request_count: int
    causes: tuple[Related, ...]
    cause_missing: str | None
    effects: tuple[Related, ...]
    notes: tuple[str, ...]
    fields: dict[str, str]


def find_entry(
    sources: Sequence[LogSource], entry: str, keys: tuple[VerifierKey, ...], advance: Advance
) -> tuple[Record, tuple[Report, ...]]:
    """Verify the logs and find an entry by seq (in a single log) or by event id.

    Raises:
        AuditError: a source cannot be read, or there is no such entry.
        NotProvedError: there is none in the part of a damaged log that holds.

    """
    seq = int(entry) if entry.isascii() and entry.isdigit() and len(entry) < len("10000000000000000") else None
    if seq is not None and len(sources) > 1:
        message = "there are several logs here: name one of them, or the entry by its event id"
        raise AuditError(message)
    marker = b'"id":"%b"' % _as_written(entry)
    found: Record | None = None
    reports = []
    for source in sources:
        walk = Walk(source, keys)
        for start, lines in walk.lines(advance):
            if seq is not None:
                found = read_record(lines[seq - start]) if start <= seq < start + len(lines) else found
            elif found is None:
                # The marker may stand in an event's data too; the envelope decides.
                candidates = (read_record(line) for line in lines if marker in line)
                found = next((record for record in candidates if record.event.id == entry), None)
        reports.append(walk.report())
    if found is None and any(report.status == "damaged" for report in reports):
        message = f"entry {entry[:100]} is not in what holds of the log; `tally audit verify` says what is wrong"
        raise NotProvedError(message)
    if found is None:
        message = f"no entry {entry[:100]} here: give its number in the log, from 0, or its event id"
        raise AuditError(message)
    return found, tuple(reports)


def explain(record: Record, sources: Sequence[LogSource], reports: Sequence[Report], advance: Advance) -> Explanation:
    """Gather what belongs to an entry and put it in words; ``reports`` are of the same ``sources``.

    Raises:
        AuditError: a source cannot be read.
        NotProvedError: it gives other entries than those that were verified.

    """
    verified = tuple(zip(sources, reports, strict=True))
    event = record.event
    related: list[Related] = []
    effects: list[Related] = []
    count = 0
    known: dict[str, Record] = {}
    markers = [_as_written(text) for text in (event.correlation, event.causation, event.id) if text]

    def take(other: Record) -> None:
        nonlocal count
        if other.event.correlation == event.correlation is not None and other.event.id != event.id:
            count += 1
            if count <= MAX_RELATED:
                related.append(_related(other))
                known[other.event.id] = other
        if other.event.causation == event.id and len(effects) < MAX_RELATED:
            effects.append(_related(other))
        if other.event.id == event.causation:
            known[other.event.id] = other

    _scan(verified, markers, take, advance)
    causes, missing = _causes(record, known, verified, advance)
    kind = event_kinds().get((event.type, event.v))
    data = full_data(event)
    return Explanation(
        log=record.log,
        seq=record.seq,
        id=event.id,
        type=event.type,
        v=event.v,
        what=summary_of(event.type, event.v),
        who=_who(event.actor, event.source),
        about=event.subject,
        happened=event.time,
        recorded=record.recorded,
        recorded_after_s=seconds_between(event.time, record.recorded),
        source=event.source,
        source_seq=record.source_seq,
        stream=event.stream,
        stream_version=event.stream_version,
        org_unit=event.org_unit,
        correlation=event.correlation,
        same_request=tuple(related),
        same_request_count=count,
        causes=causes,
        cause_missing=missing,
        effects=tuple(effects),
        notes=_notes(record) if kind is not None else ("its type is unknown to this version of tally",),
        fields={key: in_words(value) for key, value in data.items()},
    )


def seconds_between(earlier: str, later: str) -> float | None:
    """Give the seconds between two times as events write them; None if one is not a time."""
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (ValueError, TypeError):
        return None


def _causes(
    record: Record, known: dict[str, Record], verified: _Verified, advance: Advance
) -> tuple[tuple[Related, ...], str | None]:
    """Follow the causation back; an event outside the request costs another pass."""
    causes: list[Related] = []
    seen = {record.event.id}
    wanted = record.event.causation
    while wanted is not None and wanted not in seen and len(causes) < _MAX_CAUSES:
        seen.add(wanted)
        if wanted not in known and causes:
            target = wanted

            def take(other: Record, target: str = target) -> None:
                if other.event.id == target:
                    known[target] = other

            _scan(verified, [_as_written(wanted)], take, advance)
        cause = known.get(wanted)
        if cause is None:
            return tuple(causes), wanted
        causes.append(_related(cause))
        wanted = cause.event.causation
    return tuple(causes), None


def _as_written(text: str) -> bytes:
    """Write a text as it stands in a line between its quotation marks; what no line can hold finds nothing."""
    return msgspec.json.encode(text.encode("utf-8", "replace").decode())[1:-1]


def _scan(verified: _Verified, markers: Sequence[bytes], take: Callable[[Record], None], advance: Advance) -> None:
    """Read every line that has one of the texts in it, as far as the logs have been verified before.

    A server is asked a second time here: what it answers must be what it answered the first time.
    """
    for source, report in verified:
        tree = CompactRange()
        for lines in bare_lines(source, report.entries, advance):
            tree = tree.extend(map(leaf_hash, lines))
            for line in lines:
                if any(marker in line for marker in markers):
                    try:
                        take(read_record(line))
                    except AuditError:
                        continue  # in a damaged log, which the report says
        if report.root is not None and to_base64(tree.root()) != report.root:
            message = f"{source.name} gave other entries when it was read once more"
            raise NotProvedError(message)


def _related(record: Record) -> Related:
    event = record.event
    what = summary_of(event.type, event.v)
    return Related(record.log, record.seq, event.id, event.type, event.time, what)


def _who(actor: str, source: str) -> str:
    if actor == source:
        return f"the service {source} itself"
    if actor.startswith("p_"):
        return f"the person {actor} (a pseudonym; the name is not in the log)"
    return f"{actor}, through the service {source}"


def _notes(record: Record) -> tuple[str, ...]:
    kind = event_kinds()[record.event.type, record.event.v]
    kept = "kept for ever" if kind.log == "compliance" else "dropped whole after its retention"
    notes = [f"it belongs to the {kind.log} log, which is {kept}"]
    if kind.must_record:
        notes.append("its effect could not be stored without it")
    if kind.public:
        notes.append("it may be shown to anyone: it names no person, unit or request")
    if kind.sealed:
        notes.append(f"personal values are sealed: {', '.join(kind.sealed)}")
    return tuple(notes)
