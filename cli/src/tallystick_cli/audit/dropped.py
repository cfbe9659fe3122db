"""Logs whose content was dropped after its retention, as a compliance log tells of them."""

from typing import Final

import msgspec

_TYPE: Final = "ledger.audit_log.dropped"
_MARK: Final = f'"type":"{_TYPE}"'.encode()

MAX_NOTES: Final = 1_000
"""A bound on memory: that many months of logs are 83 years."""

_MAX_WORDS: Final = 512
"""Characters of what is repeated of an entry."""


class DroppedLog(msgspec.Struct, frozen=True):
    """What is left of a log: its ``root`` (base64) over ``size`` entries; ``on`` is the day when the rest went."""

    log: str
    period: str
    size: int
    root: str
    on: str

    def in_words(self) -> str:
        """Say it in a sentence."""
        return (
            f"{self.log} of period {self.period}: content dropped on {self.on} after its retention; "
            f"its {self.size} entries had the root {self.root}, as its closing says, or the entry of its break"
        )


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


def dropped_in(data: bytes) -> tuple[DroppedLog, ...]:
    """Return each log that was dropped, as the whole lines in ``data`` tell."""
    if _MARK not in data:
        return ()
    return tuple(found for line in data.split(b"\n") if _MARK in line and (found := _read(line)) is not None)


def _read(line: bytes) -> DroppedLog | None:
    try:
        entry = msgspec.json.decode(line, type=_Line)
        if (entry.event.source, entry.event.type) != ("ledger", _TYPE):
            return None
        log = msgspec.json.decode(entry.event.data, type=_Data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if len(log.origin) + len(log.period) + len(log.root) > _MAX_WORDS:
        return None
    return DroppedLog(log.origin, log.period, log.size, log.root, entry.recorded[:10])
