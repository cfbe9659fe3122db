"""The `common` messages. Generated from proto/tallystick/common; run `make proto`."""

import enum

import msgspec

from tallystick_contracts.message import Message, UInt32


class ErasureOutcome(enum.Enum):
    """What a store did when it was told to erase a person."""

    UNSPECIFIED = "ERASURE_OUTCOME_UNSPECIFIED"
    ERASED = "ERASURE_OUTCOME_ERASED"
    NOTHING_HELD = "ERASURE_OUTCOME_NOTHING_HELD"


class StoreErasure(Message, frozen=True, kw_only=True):
    """What one store of a service did about one person."""

    # P0. The store, for example "data-key" or "directory".
    name: str = ""
    # P0. Items destroyed.
    items: UInt32 = 0
    # P0.
    outcome: ErasureOutcome = ErasureOutcome.UNSPECIFIED


class Sealed(Message, frozen=True, kw_only=True):
    """A libsodium sealed box around one personal value."""

    # P1. The key pair that opens it: a person's, or the tenant's key of the day.
    key_id: str = msgspec.field(name="keyId", default="")
    # P2. The box in standard base64. The plaintext names event, field and subject, so a box cannot be moved.
    box: str = ""
