"""What each type of event means, from the table that comes with the command line."""

from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from tallystick_cli.audit.records import RecordedEvent, read_data


class EventKind(msgspec.Struct, frozen=True):
    """One version of one event type; ``sealed`` and ``pseudonyms`` are dotted paths in its data.

    ``defaults`` says for each field what it means that an event leaves it out.
    """

    type: str
    v: int
    summary: str
    log: Literal["audit", "compliance"]
    must_record: bool
    public: bool
    sealed: tuple[str, ...]
    pseudonyms: tuple[str, ...]
    defaults: dict[str, object]


@cache
def event_kinds() -> dict[tuple[str, int], EventKind]:
    """Give the table by type and version."""
    data = files("tallystick_cli.audit").joinpath("event_types.json").read_bytes()
    return {(kind.type, kind.v): kind for kind in msgspec.json.decode(data, type=tuple[EventKind, ...])}


def summary_of(event_type: str, version: int) -> str:
    """Say in a sentence what happened; an unknown type is said to be one."""
    kind = event_kinds().get((event_type, version))
    if kind is not None:
        return kind.summary
    _, _, rest = event_type.partition(".")
    return f"{rest.replace('_', ' ').replace('.', ' ').capitalize()} (a type this version of tally does not know)."


def full_data(event: RecordedEvent) -> dict[str, object]:
    """Read an event's data with the fields that it left out because they are at their default.

    Raises:
        AuditError: it is nested too deeply to be read.

    """
    kind = event_kinds().get((event.type, event.v))
    return (kind.defaults if kind else {}) | read_data(event)
