"""One event as it reaches the ledger: read, held against its contract, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from tallystick_chassis.ids import TenantId
from tallystick_contracts.envelope import decode_event
from tallystick_contracts.errors import ContractError, EventTooLargeError
from tallystick_contracts.registry import REGISTRY
from tallystick_contracts.topology import event_subject

from tallystick_ledger.errors import Refusal, RefusedEventError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_contracts.envelope import Event
    from tallystick_contracts.message import LogKind

SEQUENCE_HEADER = "source-seq"

_SUBJECT_PARTS = 5
_MAX_SEQUENCE_DIGITS = 15  # below 2^53, so that JSON carries it


class Feed(NamedTuple):
    """One source's events of one aggregate, numbered by the source from 1 without gaps."""

    source: str
    aggregate: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event that may be recorded. ``body`` is the producer's canonical bytes, recorded as they are."""

    tenant: TenantId
    feed: Feed
    source_seq: int
    event: Event
    body: bytes

    @property
    def log_kind(self) -> LogKind:
        """The kind of log that records this event's aggregate."""
        return REGISTRY.log_of(*self.feed)


def tenant_of(subject: str) -> TenantId | None:
    """Return the tenant that a subject names, if it names one."""
    parts = subject.split(".")
    try:
        return TenantId(UUID(parts[1]))
    except (IndexError, ValueError):
        return None


def read_message(subject: str, headers: Mapping[str, str], body: bytes) -> Arrival:
    """Read a message of the event stream.

    Raises:
        RefusedEventError: subject, number and event do not make one recordable event.
    """
    tenant = tenant_of(subject)
    if tenant is None or len(subject.split(".")) != _SUBJECT_PARTS:
        raise RefusedEventError(Refusal.BAD_SUBJECT, "the subject is not evt.<tenant>.<source>.<aggregate>.<verb>")
    digits = headers.get(SEQUENCE_HEADER, "")
    # `isdecimal` alone would let other scripts' digits through.
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MAX_SEQUENCE_DIGITS and int(digits) > 0):
        raise RefusedEventError(Refusal.BAD_SEQUENCE, "the source-seq header is not a positive number")
    arrival = read_event(tenant, int(digits), body)
    event = arrival.event
    expected = event_subject(tenant, event.source, event.aggregate, event.event_type.verb)
    if subject != expected:
        # A source may publish its own subjects only: this is how a service cannot speak for another.
        raise RefusedEventError(Refusal.WRONG_SUBJECT, "the subject is not that of the event in it")
    return arrival


def read_event(tenant: TenantId, source_seq: int, body: bytes) -> Arrival:
    """Read an event that its source has numbered.

    Raises:
        RefusedEventError: the event breaks its contract.
    """
    try:
        event = decode_event(body, tenant=tenant, source_seq=source_seq)
    except EventTooLargeError as error:
        raise RefusedEventError(Refusal.TOO_LARGE, str(error)) from error
    except ContractError as error:
        raise RefusedEventError(Refusal.BROKEN_CONTRACT, str(error)) from error
    return Arrival(tenant, Feed(event.source, event.aggregate), source_seq, event, body)
