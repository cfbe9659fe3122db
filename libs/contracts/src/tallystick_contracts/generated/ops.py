"""The `ops` messages. Generated from proto/tallystick/ops; run `make proto`."""

from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.message import EventData, EventType, LogKind, PiiClass, UInt32


class DeadLetterDiscarded(EventData, frozen=True, kw_only=True):
    """An operator gave up on an event that a consumer could not handle."""

    # P0. The consumer that does without the event.
    consumer: str = ""
    # P0. The event that was discarded.
    event_id: str = msgspec.field(name="eventId", default="")
    # P0. The service that emitted it.
    source: str = ""
    # P0. Its aggregate.
    aggregate: str = ""
    # P0. Its number in the sequence of source and aggregate.
    source_seq: UInt32 = msgspec.field(name="sourceSeq", default=0)
    # P2. Why, in the operator's words; sealed to the tenant.
    reason: Sealed | None = None


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        type="ops.dead_letter.discarded",
        version=1,
        service=None,
        aggregate="dead_letter",
        verb="discarded",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6003,
        ocsf_activity=4,
        ocsf_status="Success",
        summary="An operator gave up on an event that a consumer could not handle.",
        struct=DeadLetterDiscarded,
        pii=MappingProxyType(
            {
                "consumer": PiiClass.P0,
                "event_id": PiiClass.P0,
                "source": PiiClass.P0,
                "aggregate": PiiClass.P0,
                "source_seq": PiiClass.P0,
                "reason": PiiClass.P2,
            }
        ),
    ),
)
