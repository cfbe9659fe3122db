"""Checking a whole block of entries at once, for speed.

A :class:`Digest` says that within the block everything holds, and what has to hold at its edges. No digest means
nothing is proved: the entry-by-entry replay in :mod:`tallystick_cli.audit.replay` then decides, and names what is
wrong. So this module may refuse too much, but must never accept what the replay would not: a test compares them.

Decoding lines and encoding them again gives the same bytes exactly when they are canonical, as far as the JSON library
and RFC 8785 agree. They agree on ASCII text and integers within ±(2^53-1); all else is left to the replay.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from tallystick_tlog import MAX_INTEGER, MAX_LINE_BYTES, CompactRange, is_origin, is_recorded

from tallystick_cli.audit.dropped import DroppedLog, dropped_in
from tallystick_cli.audit.key_history import TYPES as ROTATIONS

_Text = Annotated[str, Meta(min_length=1)]
_OptionalText = _Text | UnsetType
_Integer = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
_Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
_Plain = _Integer | str | bool | None
# Three levels of nesting are typed, so that the decoder itself refuses floats and large integers; deeper ones are rare
# and left to the replay.
_Value1 = _Plain | list[_Plain] | dict[str, _Plain]
_Value2 = _Plain | list[_Value1] | dict[str, _Value1]
_Value3 = _Plain | list[_Value2] | dict[str, _Value2]


class _Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A producer's event; fields stand in canonical order."""

    actor: _Text
    causation: _OptionalText = UNSET
    correlation: _OptionalText = UNSET
    data: dict[str, _Value3]
    id: _Text
    org_unit: _OptionalText = UNSET
    source: _Text
    stream: _Text
    stream_version: _Count
    subject: _OptionalText = UNSET
    time: _Text
    trace: _OptionalText = UNSET
    type: _Text
    v: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]


_Log = TypeVar("_Log", bound=str)


class _Line(msgspec.Struct, Generic[_Log], frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """An entry; fields stand in canonical order."""

    event: _Event
    log: _Log
    prev: bytes
    recorded: str
    seq: _Count
    source_seq: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
    v: Literal[1]


@lru_cache(maxsize=16)
def _decoder(log: str) -> msgspec.json.Decoder[_Line[str]]:
    """Return what decodes the entries of one log, and refuses another's."""
    return msgspec.json.Decoder(_Line[Literal[log]])  # type: ignore[valid-type]  # made for one log


_encode_lines: Final = msgspec.json.Encoder(order="deterministic").encode_lines


class Series(msgspec.Struct, frozen=True):
    """The numbers a source gave to one aggregate within a block: without gaps from ``first`` to ``last``."""

    source: str
    aggregate: str
    first: int
    last: int


class Digest(msgspec.Struct, frozen=True):
    """A block in which everything holds, and its edges. Hashes are 32 bytes, times as entries write them.

    ``first_leaf`` is the first entry's; ``dropped`` are the logs whose contents were dropped.
    """

    tree: CompactRange
    first_prev: bytes
    first_leaf: bytes
    last_leaf: bytes
    first_recorded: str
    last_recorded: str
    series: tuple[Series, ...]
    dropped: tuple[DroppedLog, ...] = ()


class _Run(msgspec.Struct, gc=False):
    """Consecutive numbers of a source, from ``first`` to before ``next``."""

    source: str
    first: int
    next: int


def digest(data: bytes, log: str) -> Digest | None:
    """Check whole lines of one log; None if anything is wrong, odd, or beyond this function."""
    if not is_origin(log) or not data.isascii() or not data.endswith(b"\n"):
        return None
    try:
        entries = _decoder(log).decode_lines(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    lines = data.split(b"\n")
    lines.pop()
    if not entries or len(lines) != len(entries) or _encode_lines(entries) != data:
        return None
    leaves = [sha256(b"\x00" + line).digest() for line in lines]
    start, count = entries[0].seq, len(entries)
    times = [entry.recorded for entry in entries]
    series = _series(entries)
    if (
        max(map(len, lines)) > MAX_LINE_BYTES
        or len(entries[0].prev) != len(leaves[0])
        or [entry.prev for entry in entries[1:]] != leaves[:-1]
        or [entry.seq for entry in entries] != list(range(start, start + count))
        or sorted(times) != times
        or not all(map(is_recorded, dict.fromkeys(times)))
        or series is None
    ):
        return None
    tree = CompactRange(start, start).extend(leaves)
    # Most blocks tell of no log, and looking for it in their bytes costs as much as a twentieth of everything else.
    tells = any(one.source == "ledger" and one.aggregate == "audit_log" for one in series)
    dropped = dropped_in(data) if tells else ()
    return Digest(tree, entries[0].prev, leaves[0], leaves[-1], times[0], times[-1], series, dropped)


def _series(entries: list[_Line[str]]) -> tuple[Series, ...] | None:
    """Collect each source's numbers by aggregate; None if one has a gap, a type has no aggregate, or a key rotates.

    The signatures of a rotation are the replay's to check.
    """
    # First and last number of a source's aggregate, and the source; the types of an aggregate share one of these.
    runs: dict[tuple[str, str], _Run] = {}
    by_type: dict[str, _Run] = {}
    for entry in entries:
        event = entry.event
        run = by_type.get(event.type)
        if run is None or run.source != event.source:
            aggregate = _aggregate(event.type)
            if aggregate is None:
                return None
            run = runs.setdefault((event.source, aggregate), _Run(event.source, entry.source_seq, entry.source_seq))
            by_type[event.type] = run
        if entry.source_seq != run.next:
            return None
        run.next += 1
    return tuple(Series(*key, run.first, run.next - 1) for key, run in runs.items())


def _aggregate(event_type: str) -> str | None:
    service, _, rest = event_type.partition(".")
    aggregate = rest.partition(".")[0]
    return aggregate if service and aggregate and event_type not in ROTATIONS else None
