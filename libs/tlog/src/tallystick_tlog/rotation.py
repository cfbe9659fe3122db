"""Rotations of a checkpoint key: a statement that the old and the new key sign, and the history that they make.

A statement names what it is for: a log (its origin; for the audit logs of all months ``…/audit``, and for a log that
goes on after a break the name of the first), or a whole installation (the origins' prefix). Its text is

    tallystick key rotation v1
    <name>
    <size of the log when it was signed; 0 for an installation>
    <time, as entries write it>
    <old public key, base64>
    <new public key, base64>

under which stand two signature lines of a signed note, by the old and by the new key under that name. No checkpoint
can be taken for it, nor it for a checkpoint: the second line of a checkpoint is a number.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from tallystick_tlog.encoding import from_base64, to_base64
from tallystick_tlog.entry import MAX_INTEGER, is_origin, is_recorded
from tallystick_tlog.errors import KeyFormatError, NoteError, RotationError
from tallystick_tlog.note import Signer, VerifierKey, open_note, parse_note

MAX_ROTATIONS: Final = 1_000
"""In one history: a bound that no installation comes near."""

MAX_STATEMENT: Final = 4_096
"""Characters of one statement, with the longest name that a log may have: a history is held in memory."""

_DOMAIN: Final = "tallystick key rotation v1"
_KEY_BYTES: Final = 32
_LINES: Final = 6
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_SHARED: Final = re.compile(r"(.*/audit)-[0-9]{4}-[0-9]{2}(?:[.][0-9]+)?|(.*/compliance)[.][0-9]+")


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """One statement. ``old`` and ``new`` are 32-byte Ed25519 public keys, ``size`` is the log's when it was signed."""

    name: str
    size: int
    at: str
    old: bytes
    new: bytes

    def __post_init__(self) -> None:
        """Refuse what could not be written and read back, and a rotation from a key to itself."""
        if not is_origin(self.name) or not is_recorded(self.at) or not 0 <= self.size <= MAX_INTEGER:
            message = "a key rotation has a name, a size and a time"
            raise RotationError(message)
        if len(self.old) != _KEY_BYTES or len(self.new) != _KEY_BYTES or self.old == self.new:
            message = f"a key rotation has two different keys of {_KEY_BYTES} bytes"
            raise RotationError(message)

    def to_text(self) -> str:
        """Write what both keys sign, final newline included."""
        lines = (_DOMAIN, self.name, str(self.size), self.at, to_base64(self.old), to_base64(self.new))
        return "\n".join(lines) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the text; nothing is verified.

        Raises:
            RotationError: it is not a rotation.

        """
        lines = text.removesuffix("\n").split("\n")
        if not text.endswith("\n") or len(lines) != _LINES or lines[0] != _DOMAIN or not _SIZE.fullmatch(lines[2]):
            message = "the text is not a key rotation"
            raise RotationError(message)
        _, name, size, at, old, new = lines
        try:
            return cls(name, int(size), at, from_base64(old), from_base64(new))
        except ValueError as error:
            message = f"a key of the rotation is {error}"
            raise RotationError(message) from error


def rotation_name(origin: str) -> str:
    """Say under which name a log's rotations are signed: its origin, or one that it shares with those before it.

    ``…/audit`` is for an audit log of any month, ``…/compliance`` for its successors: between the signing and the
    recording of a statement a month may end, and a log that stands still may be succeeded.
    """
    shared = _SHARED.fullmatch(origin)
    return (shared[1] or shared[2]) if shared else origin


def sign_rotation(rotation: KeyRotation, old_seed: bytes, new_seed: bytes) -> str:
    """Sign with both keys, given as their 32-byte seeds.

    Raises:
        RotationError: a seed is not that of the key which the rotation names.

    """
    old, new = Signer(rotation.name, old_seed), Signer(rotation.name, new_seed)
    if (old.verifier.public_key, new.verifier.public_key) != (rotation.old, rotation.new):
        message = "a rotation is signed by its own two keys"
        raise RotationError(message)
    return old.sign(rotation.to_text(), new).decode()


def open_rotation(note: str, name: str) -> KeyRotation:
    """Verify a statement by both of its keys. Whether the old one was the key in force, a history tells.

    Raises:
        RotationError: it is not a rotation, is another log's, or lacks a valid signature of either key.

    """
    if len(note) > MAX_STATEMENT:
        message = f"the rotation has more than {MAX_STATEMENT} characters"
        raise RotationError(message)
    try:
        data = note.encode()
        rotation = KeyRotation.from_text(parse_note(data).text)
        if rotation.name != name:
            message = f"the rotation is of {rotation.name}, not of {name}"
            raise RotationError(message)
        both = {VerifierKey.ed25519(name, key) for key in (rotation.old, rotation.new)}
        _, verified = open_note(data, both)
    except (NoteError, KeyFormatError, UnicodeEncodeError) as error:
        message = f"the rotation is not signed as it must be: {error}"
        raise RotationError(message) from error
    if set(verified) != both:
        message = "the rotation is not signed by both the old and the new key"
        raise RotationError(message)
    return rotation


class KeySpan(NamedTuple):
    """One key of a history: it signs checkpoints of sizes ``after`` < size <= ``until``; None: it is in force."""

    public_key: bytes
    after: int
    until: int | None


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """The rotations found in one log: ``changes`` are the places (seq) of the entries that hold them, in order."""

    origin: str
    changes: tuple[tuple[int, KeyRotation], ...] = ()

    def add(self, seq: int, note: str) -> Self:
        """Go on by the rotation that the entry at ``seq`` holds.

        Raises:
            RotationError: the statement does not hold, is not this log's, was signed for a longer log, does not begin
                with the key in force, or brings back a key that was retired.

        """
        rotation = open_rotation(note, rotation_name(self.origin))
        # Audit logs of all months share a name, as successors do: the size may be that of the log before.
        if rotation.name == self.origin and rotation.size > seq:
            message = f"the rotation was signed for a log of {rotation.size} entries and stands at {seq}"
            raise RotationError(message)
        if self.changes:
            before = self.changes[-1]
            if seq <= before[0] or rotation.old != before[1].new:
                message = "the rotation does not begin with the key in force"
                raise RotationError(message)
            if rotation.new in self.keys:
                message = "the rotation brings back a key that was retired"
                raise RotationError(message)
        if len(self.changes) >= MAX_ROTATIONS:
            message = f"the log has more than {MAX_ROTATIONS} key rotations"
            raise RotationError(message)
        return type(self)(self.origin, (*self.changes, (seq, rotation)))

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The public keys in the order of their use; empty where the log has no rotation."""
        return tuple(span.public_key for span in self.spans)

    @property
    def spans(self) -> tuple[KeySpan, ...]:
        """Which key signs checkpoints of which sizes; empty where the log has no rotation."""
        if not self.changes:
            return ()
        keys = (self.changes[0][1].old, *(rotation.new for _, rotation in self.changes))
        places = tuple(seq for seq, _ in self.changes)
        return tuple(KeySpan(*span) for span in zip(keys, (0, *places), (*places, None), strict=True))

    def verifiers_at(self, size: int) -> tuple[VerifierKey, ...]:
        """Name the keys that may sign a checkpoint of ``size``: the one in force there, and those after it.

        A later key may sign an old size again, as for a receipt that is given anew; a retired key never signs a size
        beyond its rotation.
        """
        return tuple(
            VerifierKey.ed25519(self.origin, span.public_key)
            for span in self.spans
            if span.until is None or size <= span.until
        )


def follow_keys(name: str, pinned: bytes, notes: Iterable[str]) -> bytes:
    """Follow an installation's statements from a pinned key, anywhere in their chain, to the newest key.

    Without statements that is the pinned key. Nothing that is not signed by the chain is ever trusted.

    Raises:
        RotationError: a statement does not hold, does not continue the one before, or none of them knows the pin.

    """
    keys: list[bytes] = []
    for note in notes:
        rotation = open_rotation(note, name)
        if keys and rotation.old != keys[-1]:
            message = "the rotations do not follow one another"
            raise RotationError(message)
        keys = keys or [rotation.old]
        if rotation.new in keys or len(keys) > MAX_ROTATIONS:
            message = "the rotations bring back a key, or are too many"
            raise RotationError(message)
        keys.append(rotation.new)
    if not keys:
        return pinned
    if pinned not in keys:
        message = "the rotations do not lead to the pinned key or from it"
        raise RotationError(message)
    return keys[-1]
