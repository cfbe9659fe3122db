"""All event types: look them up by type and version or by struct, and ask which log an aggregate belongs to."""

from collections.abc import Iterable, Iterator, Mapping

from tallystick_contracts.errors import UnknownEventTypeError
from tallystick_contracts.generated import assessment, authz, identity, ledger, ops, privacy, verification
from tallystick_contracts.message import EventData, EventType, LogKind
from tallystick_contracts.upcasters import UPCASTERS, Upcaster

__all__ = ["ERASURE_RECEIPTS", "REGISTRY", "EventType", "Registry", "log_of"]


class Registry:
    """An immutable set of event types, in the order of their proto files."""

    def __init__(self, types: Iterable[EventType], upcasters: Mapping[type[EventData], Upcaster] = UPCASTERS) -> None:
        """Take the types; a type, version or struct that stands there twice is a `ValueError`."""
        self._types = tuple(types)
        self._by_name = {(entry.type, entry.version): entry for entry in self._types}
        self._by_struct = {entry.struct: entry for entry in self._types}
        if not len(self._by_name) == len(self._by_struct) == len(self._types):
            message = "an event type, version or struct is registered twice"
            raise ValueError(message)
        self._upcasters = dict(upcasters)
        self._compliance = {(e.service, e.aggregate) for e in self._types if e.log is LogKind.COMPLIANCE}
        self._aggregates = {(entry.service, entry.aggregate) for entry in self._types}

    def __iter__(self) -> Iterator[EventType]:
        """Walk all event types."""
        return iter(self._types)

    def __len__(self) -> int:
        """Count all event types."""
        return len(self._types)

    def by_name(self, event_type: str, version: int) -> EventType:
        """Return the type's entry, or raise `UnknownEventTypeError`."""
        try:
            return self._by_name[event_type, version]
        except KeyError:
            message = f"no event type {event_type!r} version {version}"
            raise UnknownEventTypeError(message) from None

    def by_struct(self, struct: type[EventData]) -> EventType:
        """Return the entry whose data is `struct`, or raise `UnknownEventTypeError`."""
        try:
            return self._by_struct[struct]
        except KeyError:
            message = f"{struct.__name__} is not the data of any event type"
            raise UnknownEventTypeError(message) from None

    def upcast(self, data: EventData) -> EventData:
        """Return `data` as the newest version of its type."""
        while (upcaster := self._upcasters.get(type(data))) is not None:
            data = upcaster(data)
        return data

    def log_of(self, source: str, aggregate: str) -> LogKind:
        """Return the one log of an aggregate: compliance as soon as one of its types is.

        So `source_seq` has no gaps within a log. An aggregate that `source` lacks is an `UnknownEventTypeError`.
        """
        # authz.* and ops.* have no service of their own: their aggregates exist in every source.
        keys = {(source, aggregate), (None, aggregate)}
        if keys.isdisjoint(self._aggregates):
            message = f"no aggregate {aggregate!r} of {source!r}"
            raise UnknownEventTypeError(message)
        return LogKind.AUDIT if keys.isdisjoint(self._compliance) else LogKind.COMPLIANCE


REGISTRY = Registry(
    (
        *identity.EVENT_TYPES,
        *assessment.EVENT_TYPES,
        *ledger.EVENT_TYPES,
        *verification.EVENT_TYPES,
        *privacy.EVENT_TYPES,
        *authz.EVENT_TYPES,
        *ops.EVENT_TYPES,
    )
)

ErasureReceipt = (
    identity.ErasureReceiptGiven
    | assessment.ErasureReceiptGiven
    | ledger.ErasureReceiptGiven
    | verification.ErasureReceiptGiven
    | privacy.ErasureReceiptGiven
)

# Every service says under its own name what it erased; the fields are the same.
ERASURE_RECEIPTS: Mapping[str, type[ErasureReceipt]] = {
    "identity": identity.ErasureReceiptGiven,
    "assessment": assessment.ErasureReceiptGiven,
    "ledger": ledger.ErasureReceiptGiven,
    "verification": verification.ErasureReceiptGiven,
    "privacy": privacy.ErasureReceiptGiven,
}


def log_of(source: str, aggregate: str) -> LogKind:
    """Return the log of an aggregate of the registry; see `Registry.log_of`."""
    return REGISTRY.log_of(source, aggregate)
