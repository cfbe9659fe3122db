"""Logs whose content was dropped after its retention, as a compliance log tells of them."""

from typing import Final

import msgspec

_TYPE: Final = "ledger.audit_log.dropped"
_MARK: Final = f'"type":"{_TYPE}"'.encode()

MAX_NOTES: Final = 1_000
"""A bound on memory: that many months of logs are 83 years."""

_MAX_WORDS: Final = 512
"""Characters of what a note repeats of an entry."""


class _Data(msgspec.Struct):
    origin: str
    period: str
    root: str
    size: int


class _Event(msgspec.Struct):
    data: msgspec.Raw
    source: str
    type: str


class _Line(msgspec.Struct):
    event: _Event
    recorded: str


def dropped_in(data: bytes) -> tuple[str, ...]:
    """Say for each log that was dropped, as the whole lines in ``data`` tell, what is left of it."""
    if _MARK not in data:
        return ()
    return tuple(note for line in data.split(b"\n") if _MARK in line and (note := _note(line)) is not None)


def _note(line: bytes) -> str | None:
    try:
        entry = msgspec.json.decode(line, type=_Line)
        if (entry.event.source, entry.event.type) != ("ledger", _TYPE):
            return None
        log = msgspec.json.decode(entry.event.data, type=_Data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if len(log.origin) + len(log.period) + len(log.root) > _MAX_WORDS:
        return None
    return (
        f"{log.origin} of period {log.period}: content dropped on {entry.recorded[:10]} after its retention; "
        f"its {log.size} entries had the root {log.root}, as its closing says"
    )
