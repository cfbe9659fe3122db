"""Why an event cannot be built or read. Messages name fields, never their values: a value may be personal."""


class ContractError(Exception):
    """An event breaks its contract."""


class UnknownEventTypeError(ContractError):
    """The registry has no such type, version or struct."""


class MalformedEventError(ContractError):
    """A field is missing, unknown, out of range or of the wrong type; floats are refused here."""


class NotCanonicalError(ContractError):
    """The bytes are not the RFC 8785 form of what they say."""


class EventTooLargeError(ContractError):
    """The event is longer than `MAX_EVENT_BYTES`."""


class ForbiddenFieldError(ContractError):
    """The type has a P3 field; no event may."""


class UnsealedPersonalDataError(ContractError):
    """A P2 field holds something other than a sealed box."""


class NotAPseudonymError(ContractError):
    """A P1 field holds something that cannot be a random reference, such as a mail address."""


class PublicEventError(ContractError):
    """A public event names a person, an org unit, or what it belongs to."""
