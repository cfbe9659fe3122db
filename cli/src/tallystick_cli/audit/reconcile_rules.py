"""What the ledger's events say of the services' rows, from the table that comes with the command line."""

from collections import defaultdict
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Literal

import msgspec

from tallystick_cli.audit.records import RecordedEvent

Value = str | int | bool | list[object] | dict[str, object] | None


class Part(msgspec.Struct, frozen=True):
    """Where a value comes from: the event's data, its envelope, or the rule itself."""

    data: str | None = None
    event: Literal["id", "actor", "subject", "org_unit", "stream_version"] | None = None
    value: Value = None
    absent: Value = None
    form: Literal["time"] | None = msgspec.field(name="as", default=None)

    @property
    def is_read(self) -> bool:
        """Whether the value is the event's, not the rule's own."""
        return self.data is not None or self.event is not None

    def of(self, event: RecordedEvent, data: dict[str, object]) -> object:
        """Take the value from an event."""
        if self.event is not None:
            return getattr(event, self.event)
        if self.data is None:
            return self.value
        found = data.get(self.data, self.absent)
        return _moment(found) if self.form == "time" and isinstance(found, str) else found


class Rule(msgspec.Struct, frozen=True):
    """One row that an event makes (``creates``) or changes; ``elsewhere``: the event is of another stream than it."""

    type: str
    v: int
    log: Literal["audit", "compliance"]
    service: str
    kind: str
    key: tuple[Part, ...]
    sets: dict[str, Part]
    creates: bool
    elsewhere: bool

    @property
    def source(self) -> str:
        """The service that says it; another than ``service`` where the row follows another's events."""
        return self.type.partition(".")[0]

    @property
    def aggregate(self) -> str:
        """The aggregate whose numbers show that no such event is missing."""
        return self.type.split(".")[1]


@cache
def rules_by_type() -> dict[tuple[str, int], tuple[Rule, ...]]:
    """Give the rules by event type and version."""
    found: dict[tuple[str, int], list[Rule]] = defaultdict(list)
    for rule in all_rules():
        found[rule.type, rule.v].append(rule)
    return {key: tuple(rules) for key, rules in found.items()}


@cache
def all_rules() -> tuple[Rule, ...]:
    """Give the table."""
    data = files("tallystick_cli.audit").joinpath("reconcile_rules.json").read_bytes()
    return msgspec.json.decode(data, type=tuple[Rule, ...])


def _moment(text: str) -> str:
    """Write a time as the services write theirs; what is none stays as it is, and will differ."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    if moment.tzinfo is None:
        return text
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
