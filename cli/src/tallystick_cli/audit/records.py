"""Entries as an auditor reads them: the event's envelope with its data left as text."""

from typing import Final

import msgspec

from tallystick_cli.audit.errors import AuditError

Json = dict[str, object] | list[object] | str | int | bool | None


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event's envelope; ``data`` is its JSON, unread. Times are as written, UTC."""

    actor: str
    causation: str | None = None
    correlation: str | None = None
    data: msgspec.Raw
    id: str
    org_unit: str | None = None
    source: str
    stream: str
    stream_version: int
    subject: str | None = None
    time: str
    trace: str | None = None
    type: str
    v: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One entry; ``prev`` is base64 as written."""

    event: RecordedEvent
    log: str
    prev: str
    recorded: str
    seq: int
    source_seq: int


_decode_record: Final = msgspec.json.Decoder(Record).decode
_decode_data: Final = msgspec.json.Decoder(dict[str, object]).decode


def read_record(line: bytes) -> Record:
    """Read a line that a replay has found sound.

    Raises:
        AuditError: it is nested too deeply to be read.

    """
    try:
        return _decode_record(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message = f"an entry cannot be read: {error}"
        raise AuditError(message) from error


def read_data(event: RecordedEvent) -> dict[str, object]:
    """Read an event's data.

    Raises:
        AuditError: it is nested too deeply to be read.

    """
    try:
        return _decode_data(event.data)
    except (msgspec.MsgspecError, RecursionError) as error:
        message = f"the data of event {event.id} cannot be read: {error}"
        raise AuditError(message) from error


def in_words(value: object) -> str:
    """Write a value of an event's data for people; a sealed box is named for what it is."""
    if isinstance(value, dict) and value.keys() == {"box", "keyId"}:
        return f"sealed: can be read with key {value['keyId']} alone, until that is erased"
    if isinstance(value, str):
        return value or "(empty)"
    if value is None:
        return "(none)"
    return msgspec.json.encode(value).decode()
