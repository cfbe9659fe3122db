"""Entries: one line of RFC 8785 JSON each, hashed, stored and exported as the same bytes.

    {"event":{…},"log":"…","prev":"…","recorded":"2026-11-21T23:34:05.123456Z","seq":1234,"source_seq":981,"v":1}

``event`` is its producer's canonical bytes, untouched; the ledger adds what follows. The line feed is not hashed.
Canonical form here is a subset of RFC 8785 on which its implementations cannot differ: keys are ASCII, numbers are
integers within ±(2^53-1), nothing is spelled in two ways.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

from tallystick_tlog.encoding import from_base64, to_base64
from tallystick_tlog.errors import EntryError
from tallystick_tlog.hashing import HASH_BYTES

MAX_LINE_BYTES: Final = 65_535
MAX_INTEGER: Final = 2**53 - 1
FIRST_PREV: Final = bytes(HASH_BYTES)
"""What stands in ``prev`` of a log's first entry: 32 zero bytes."""

JsonObject = dict[str, object]

_LINE_KEYS: Final = frozenset({"event", "log", "prev", "recorded", "seq", "source_seq", "v"})
_EVENT_TEXTS: Final = frozenset({"actor", "id", "source", "stream", "time", "type"})
_EVENT_OPTIONAL_TEXTS: Final = frozenset({"causation", "correlation", "org_unit", "subject", "trace"})
_EVENT_KEYS: Final = _EVENT_TEXTS | {"data", "stream_version", "v"}
_ORIGIN: Final = re.compile(r"[!#-*,-\[\]-~]{1,255}")  # printable ASCII but space, quote, plus, backslash
_RECORDED: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_MAX_INTEGER_DIGITS: Final = 17  # of 2^53 - 1, with a sign


@dataclass(frozen=True, slots=True)
class Event:
    """What the log needs to know of a producer's event."""

    id: str
    source: str
    type: str
    aggregate: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One parsed line: the event's head and what the ledger added. ``prev`` is the 32-byte leaf hash before."""

    event: Event
    log: str
    prev: bytes
    recorded: str
    seq: int
    source_seq: int


def is_origin(text: str) -> bool:
    """Say whether a log may be called this: 1 to 255 printable ASCII characters, no space, quote, plus, backslash."""
    return _ORIGIN.fullmatch(text) is not None


def is_recorded(text: str) -> bool:
    """Say whether this is a real UTC time to the microsecond in the one spelling that entries use."""
    if not _RECORDED.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def format_recorded(at: datetime) -> str:
    """Write an aware time as ``recorded`` carries it; texts of this form sort as their times do.

    Raises:
        ValueError: the time has no zone.

    """
    if at.tzinfo is None:
        message = "a recorded time has a zone"
        raise ValueError(message)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def build_line(  # noqa: PLR0917 (an entry has six parts, and a Struct per line would cost the hot path)
    event: bytes,
    log: str,
    prev: bytes,
    recorded: str,
    seq: int,
    source_seq: int,
) -> bytes:
    """Put a line together from the event's canonical bytes and the ledger's part; plain concatenation, so fast.

    The event is taken as it is: check a stranger's with :func:`parse_event` first.

    Raises:
        ValueError: the origin is not plain ASCII, or ``prev`` is not 32 bytes.
        EntryError: the line would be longer than 65,535 bytes (code ``size``).

    """
    if not is_origin(log) or len(prev) != HASH_BYTES:
        message = f"no line can carry the log name {log!r} and a previous hash of {len(prev)} bytes"
        raise ValueError(message)
    line = b'{"event":%b,"log":"%b","prev":"%b","recorded":"%b","seq":%d,"source_seq":%d,"v":1}' % (
        event,
        log.encode(),
        to_base64(prev).encode(),
        recorded.encode(),
        seq,
        source_seq,
    )
    _check_size(line)
    return line


def parse_entry(line: bytes) -> Entry:
    """Read one line, without its line feed, and check that its form is canonical.

    Raises:
        EntryError: the line is too long (code ``size``) or is not a canonical entry (code ``format``).

    """
    _check_size(line)
    value = _decode_canonical(line)
    if value.keys() != _LINE_KEYS:
        _refuse(f"an entry's keys are {', '.join(sorted(_LINE_KEYS))}")
    log, prev, recorded = (_text(value, key) for key in ("log", "prev", "recorded"))
    seq, source_seq, version = (_integer(value, key) for key in ("seq", "source_seq", "v"))
    if not is_origin(log):
        _refuse("log is not a log's origin")
    if not is_recorded(recorded):
        _refuse("recorded is not a UTC time with six decimals")
    if seq < 0 or source_seq < 1 or version != 1:
        _refuse("seq is at least 0, source_seq at least 1, v is 1")
    try:
        prev_hash = from_base64(prev)
    except ValueError as error:
        _refuse(f"prev is {error}", error)
    if len(prev_hash) != HASH_BYTES:
        _refuse("prev is not a hash of 32 bytes")
    return Entry(_read_event(value["event"]), log, prev_hash, recorded, seq, source_seq)


def parse_event(event: bytes) -> Event:
    """Read a producer's event alone and check that its form is canonical.

    Raises:
        EntryError: it is too long (code ``size``) or not a canonical event (code ``format``).

    """
    _check_size(event)
    return _read_event(_decode_canonical(event))


def _check_size(line: bytes) -> None:
    if len(line) > MAX_LINE_BYTES:
        raise EntryError(code="size", message=f"the line has more than {MAX_LINE_BYTES} bytes")


def _decode_canonical(data: bytes) -> JsonObject:
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_int=_safe_integer,
            parse_float=_no_float,
            parse_constant=_no_float,
            object_pairs_hook=_ascii_object,
        )
        again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        _refuse("the line is not UTF-8", error)
    except RecursionError as error:
        _refuse("the line is nested too deeply", error)
    except json.JSONDecodeError as error:
        _refuse(f"the line is not JSON: {error.msg} at byte {error.pos}", error)
    if again != data:
        _refuse("the JSON is not in canonical form (RFC 8785)")
    if not isinstance(value, dict):
        _refuse("the line is not a JSON object")
    return value


def _read_event(value: object) -> Event:
    if not isinstance(value, dict):
        _refuse("event is not an object")
    if not value.keys() >= _EVENT_KEYS or not value.keys() <= _EVENT_KEYS | _EVENT_OPTIONAL_TEXTS:
        odd = sorted((_EVENT_KEYS - value.keys()) | (value.keys() - _EVENT_KEYS - _EVENT_OPTIONAL_TEXTS))
        _refuse(f"event lacks or does not know: {', '.join(odd)[:200]}")
    for key in value.keys() & (_EVENT_TEXTS | _EVENT_OPTIONAL_TEXTS):
        _text(value, key)
    if not isinstance(value["data"], dict):
        _refuse("data is not an object")
    if _integer(value, "stream_version") < 0 or _integer(value, "v") < 1:
        _refuse("stream_version is at least 0 and v at least 1")
    kind = _text(value, "type")
    first, _, rest = kind.partition(".")
    aggregate = rest.partition(".")[0]
    if not first or not aggregate:
        _refuse("type has no aggregate: it is written service.aggregate.verb")
    return Event(_text(value, "id"), _text(value, "source"), kind, aggregate)


def _text(value: JsonObject, key: str) -> str:
    text = value[key]
    if not isinstance(text, str) or not text:
        _refuse(f"{key} is not a text")
    return text


def _integer(value: JsonObject, key: str) -> int:
    number = value[key]
    if not isinstance(number, int) or isinstance(number, bool):
        _refuse(f"{key} is not an integer")
    return number


def _safe_integer(digits: str) -> int:
    number = int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else MAX_INTEGER + 1
    if abs(number) > MAX_INTEGER:
        _refuse("an integer is outside ±(2^53-1)")
    return number


def _no_float(_text: str) -> NoReturn:
    _refuse("a number is not an integer")


def _ascii_object(pairs: list[tuple[str, object]]) -> JsonObject:
    if not all(key.isascii() for key, _ in pairs):
        _refuse("a key is not ASCII")
    return dict(pairs)


def _refuse(message: str, cause: Exception | None = None) -> NoReturn:
    raise EntryError(code="format", message=message) from cause
