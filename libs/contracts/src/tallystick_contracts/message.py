"""The base classes of generated event data, and what is known about an event type."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A Protobuf message as ProtoJSON: fields at their default are left out."""


class EventData(Message, frozen=True, kw_only=True):
    """The data of one version of one event type."""


class PiiClass(enum.StrEnum):
    """How personal a field is."""

    P0 = "P0"  # nothing personal
    P1 = "P1"  # a random pseudonym
    P2 = "P2"  # personal, so sealed
    P3 = "P3"  # forbidden in events


class LogKind(enum.StrEnum):
    """Which of a tenant's logs records an event."""

    AUDIT = "audit"  # of the period, dropped whole after its retention
    COMPLIANCE = "compliance"  # kept


EventStruct = type[EventData]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One version of one event type, as its proto file declares it.

    `service` is the only source that may emit it, or None for `authz.*` and `ops.*`, which every service emits
    under its own name.
    `log` is what the type itself asks for; where its entries go is `registry.log_of`: a whole aggregate shares a log.
    `pii` maps dotted field paths (Python names, lists left out) to their class; a sealed field is one path.
    """

    type: str
    version: int
    service: str | None
    aggregate: str
    verb: str
    log: LogKind
    must_record: bool
    public: bool
    ocsf_class: int
    ocsf_activity: int
    ocsf_status: str
    summary: str
    struct: EventStruct
    pii: Mapping[str, PiiClass]
    # The paths of `pii` that are not P0, split: what every event is checked against, so it is worked out once.
    sensitive: tuple[tuple[tuple[str, ...], PiiClass], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Work out `sensitive`."""
        paths = ((tuple(path.split(".")), pii) for path, pii in self.pii.items() if pii is not PiiClass.P0)
        object.__setattr__(self, "sensitive", tuple(paths))
