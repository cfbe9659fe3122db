"""An event on the wire: one line of RFC 8785 JSON, built and read under the same rules.

The bytes are what the ledger hashes, so there is one form for one event: keys sorted, absent instead of null, no
floats, integers within ±(2^53-1), at most `MAX_EVENT_BYTES`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated
from uuid import UUID

import msgspec

from tallystick_contracts.errors import (
    ContractError,
    EventTooLargeError,
    MalformedEventError,
    NotCanonicalError,
    PublicEventError,
)
from tallystick_contracts.message import EventData, EventType
from tallystick_contracts.pii import check_pii
from tallystick_contracts.registry import REGISTRY, Registry
from tallystick_contracts.topology import SERVICES

MAX_EVENT_BYTES = 60_000  # the ledger adds to it and keeps a line within 65,535 bytes (tlog-tiles bundles)
MAX_SAFE_INTEGER = 2**53 - 1

Reference = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._:-]{1,128}\Z")]
Correlation = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._-]{1,64}\Z")]
StreamName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._:/-]{1,200}\Z")]
Version = Annotated[int, msgspec.Meta(ge=1, le=MAX_SAFE_INTEGER)]
Trace = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f-]{1,64}\Z")]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The event as it is written; `data` is the data's own JSON, untouched."""

    actor: Reference
    causation: Reference | None = None
    correlation: Correlation | None = None
    data: msgspec.Raw
    id: UUID
    org_unit: UUID | None = None
    source: str
    stream: StreamName
    stream_version: Version
    subject: Reference | None = None
    time: str
    trace: Trace | None = None
    type: str
    v: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event as it is read: typed data, upcast to the newest version of its type.

    `v` is the version that was written. `tenant` and `source_seq` are not in the bytes: whoever received the event adds
    them (subject and header of the message).
    """

    id: UUID
    type: str
    v: int
    source: str
    stream: str
    stream_version: int
    time: datetime
    actor: str
    data: EventData
    event_type: EventType
    correlation: str | None = None
    causation: str | None = None
    org_unit: UUID | None = None
    subject: str | None = None
    trace: str | None = None
    tenant: UUID | None = None
    source_seq: int | None = None

    @property
    def aggregate(self) -> str:
        """The second part of the type."""
        return self.event_type.aggregate


_ENCODER = msgspec.json.Encoder(order="sorted")
_ENVELOPE_DECODER = msgspec.json.Decoder(Envelope)
_DATA_DECODERS: dict[type[EventData], msgspec.json.Decoder[EventData]] = {}


def format_time(time: datetime) -> str:
    """Write an aware time in UTC with six digits: "2026-11-21T23:34:05.123456Z"."""
    if time.tzinfo is None:
        message = "time: a naive datetime names no moment"
        raise MalformedEventError(message)
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@lru_cache(maxsize=64)  # an event's time is read with its envelope, and again for its value
def parse_time(text: str) -> datetime:
    """Read what `format_time` wrote."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is not UTC or format_time(time) != text:
        message = "time: not a moment of the form 2026-11-21T23:34:05.123456Z"
        raise MalformedEventError(message)
    return time


def encode_event(
    data: EventData,
    *,
    id: UUID,  # noqa: A002 (the envelope's own name for it)
    source: str,
    stream: str,
    stream_version: int,
    time: datetime,
    actor: str,
    correlation: str | None = None,
    causation: str | None = None,
    org_unit: UUID | None = None,
    subject: str | None = None,
    trace: str | None = None,
    registry: Registry = REGISTRY,
) -> bytes:
    """Return the event's canonical bytes; raise a `ContractError` if it may not exist."""
    event_type = registry.by_struct(type(data))
    # On the values as given, so that a plain string in a sealed field is named for what it is.
    check_pii(event_type, data)
    try:
        envelope = Envelope(
            actor=actor,
            causation=causation,
            correlation=correlation,
            data=msgspec.Raw(_ENCODER.encode(data)),
            id=id,
            org_unit=org_unit,
            source=source,
            stream=stream,
            stream_version=stream_version,
            subject=subject,
            time=format_time(time),
            trace=trace,
            type=event_type.type,
            v=event_type.version,
        )
        body = _ENCODER.encode(envelope)
    except (TypeError, ValueError, OverflowError) as error:
        message = f"{event_type.type}: a value that JSON cannot carry ({type(error).__name__})"
        raise MalformedEventError(message) from None
    # A Struct does not check its values when it is built; reading back does (floats, ranges, lone surrogates).
    _read(body, registry)
    return body


def decode_event(
    body: bytes, *, tenant: UUID | None = None, source_seq: int | None = None, registry: Registry = REGISTRY
) -> Event:
    """Read an event's canonical bytes; raise a `ContractError` if `encode_event` would not have written them."""
    envelope, event_type, data = _read(body, registry)
    data = registry.upcast(data)
    return Event(
        id=envelope.id,
        type=envelope.type,
        v=envelope.v,
        source=envelope.source,
        stream=envelope.stream,
        stream_version=envelope.stream_version,
        time=parse_time(envelope.time),
        actor=envelope.actor,
        data=data,
        event_type=event_type if type(data) is event_type.struct else registry.by_struct(type(data)),
        correlation=envelope.correlation,
        causation=envelope.causation,
        org_unit=envelope.org_unit,
        subject=envelope.subject,
        trace=envelope.trace,
        tenant=tenant,
        source_seq=source_seq,
    )


def decode_envelope(body: bytes) -> Envelope:
    """Read the envelope alone, for those who do not know the type; raise a `ContractError` if it is malformed."""
    if len(body) > MAX_EVENT_BYTES:
        message = f"an event of {len(body)} bytes; the limit is {MAX_EVENT_BYTES}"
        raise EventTooLargeError(message)
    try:
        envelope = _ENVELOPE_DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"envelope: {error}"
        raise MalformedEventError(message) from None
    if _ENCODER.encode(envelope) != body:
        message = f"{envelope.type}: the envelope is not in canonical form"
        raise NotCanonicalError(message)
    parse_time(envelope.time)
    return envelope


def _read(body: bytes, registry: Registry) -> tuple[Envelope, EventType, EventData]:
    envelope = decode_envelope(body)
    event_type = registry.by_name(envelope.type, envelope.v)
    data = _decode_data(event_type, envelope.data)
    _check_source(envelope, event_type)
    if event_type.public:
        _check_public(envelope)
    check_pii(event_type, data)
    return envelope, event_type, data


def _decode_data(event_type: EventType, raw: msgspec.Raw) -> EventData:
    decoder = _DATA_DECODERS.get(event_type.struct)
    if decoder is None:
        decoder = _DATA_DECODERS[event_type.struct] = msgspec.json.Decoder(event_type.struct)
    try:
        data = decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{event_type.type} data: {error}"
        raise MalformedEventError(message) from None
    if _ENCODER.encode(data) != bytes(raw):
        message = f"{event_type.type}: the data is not in canonical form"
        raise NotCanonicalError(message)
    return data


def _check_source(envelope: Envelope, event_type: EventType) -> None:
    if envelope.source not in SERVICES or event_type.service not in (None, envelope.source):
        message = f"{event_type.type}: not an event of this source"
        raise MalformedEventError(message)


def _check_public(envelope: Envelope) -> None:
    linking = (envelope.org_unit, envelope.subject, envelope.correlation, envelope.causation, envelope.trace)
    if envelope.actor != envelope.source or any(value is not None for value in linking):
        message = f"{envelope.type}: a public event has its service as actor and no org unit, subject or correlation"
        raise PublicEventError(message)


__all__ = [
    "MAX_EVENT_BYTES",
    "MAX_SAFE_INTEGER",
    "ContractError",
    "Envelope",
    "Event",
    "decode_envelope",
    "decode_event",
    "encode_event",
    "format_time",
    "parse_time",
]
