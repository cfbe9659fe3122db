"""Who may sign a log's checkpoints: the keys that the auditor pinned, followed through the rotations in the log."""

import json
from typing import Final

import msgspec
from tallystick_tlog import KeyHistory, RotationError, VerifierKey

TYPES: Final = frozenset({"ledger.key.rotated", "ledger.audit_key.rotated"})
"""Events that hold a rotation."""


class KeyUse(msgspec.Struct, frozen=True):
    """One key of a log's history: it signs checkpoints of sizes ``after`` < size <= ``until``; None: it is in force."""

    key: str
    after: int
    until: int | None


class KeptRotation(msgspec.Struct, frozen=True):
    """A rotation's place and its statement, verbatim, as a kept replay has it; it is verified again."""

    seq: int
    statement: str


def statement_of(line: bytes) -> str:
    """Return the statement of a rotation's entry.

    Raises:
        RotationError: the entry has none.

    """
    data = json.loads(line)["event"]["data"]
    statement = data.get("statement")
    if not isinstance(statement, str):
        message = "the rotation has no statement"
        raise RotationError(message)
    return statement


def uses(history: KeyHistory) -> tuple[KeyUse, ...]:
    """List the keys of a history, for a report."""
    return tuple(
        KeyUse(str(VerifierKey.ed25519(history.origin, span.public_key)), span.after, span.until)
        for span in history.spans
    )


def trusted_at(size: int, pinned: tuple[VerifierKey, ...], history: KeyHistory) -> tuple[VerifierKey, ...]:
    """Return the keys that may sign a checkpoint of ``size``: the pinned ones, or where the log has rotations, theirs.

    The rotations count only if a pinned key is among their keys: then both its successors and its predecessors are
    vouched for by its own signature. Keys of other logs stay in the answer; they verify nothing here.
    """
    own = {key.public_key for key in pinned if key.name == history.origin}
    if not history.changes or own.isdisjoint(history.keys):
        return pinned
    return history.verifiers_at(size)
