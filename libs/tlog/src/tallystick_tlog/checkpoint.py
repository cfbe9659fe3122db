"""Checkpoints of c2sp.org/tlog-checkpoint: a log's origin, size and root as the text of a signed note."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from tallystick_tlog.encoding import from_base64, to_base64
from tallystick_tlog.errors import CheckpointError, UnverifiedNoteError
from tallystick_tlog.hashing import HASH_BYTES
from tallystick_tlog.note import Signer, VerifierKey, open_note, parse_note
from tallystick_tlog.tree import MAX_SIZE

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_FIXED_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: the log's ``origin``, its ``size`` in entries and the 32-byte ``root``."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be written and read back."""
        if not self.origin or any(not line or "\n" in line for line in (self.origin, *self.extensions)):
            message = "a checkpoint's lines are not empty"
            raise CheckpointError(message)
        if not 0 <= self.size <= MAX_SIZE:
            message = f"a checkpoint cannot have size {self.size}"
            raise CheckpointError(message)
        if len(self.root) != HASH_BYTES:
            message = f"a checkpoint's root is {HASH_BYTES} bytes"
            raise CheckpointError(message)

    def to_text(self) -> str:
        """Write the note's text, final newline included."""
        return "\n".join((self.origin, str(self.size), to_base64(self.root), *self.extensions)) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a note's text; nothing is verified.

        Raises:
            CheckpointError: it is not a checkpoint.

        """
        lines = text.removesuffix("\n").split("\n")
        if not text.endswith("\n") or len(lines) < _FIXED_LINES:
            message = "a checkpoint is an origin, a size and a root, one a line"
            raise CheckpointError(message)
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            message = "a checkpoint's size is a decimal number"
            raise CheckpointError(message)
        try:
            return cls(origin, int(size), from_base64(root), tuple(extensions))
        except ValueError as error:
            message = f"a checkpoint's root is {error}"
            raise CheckpointError(message) from error


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer, *others: Signer) -> bytes:
    """Make the signed note, with one signature by each signer.

    Raises:
        CheckpointError: a signer's name is not the log's origin; :func:`open_checkpoint` would not accept it.

    """
    for each in (signer, *others):
        if each.verifier.name != checkpoint.origin:
            message = f"key {each.verifier.name} does not sign for log {checkpoint.origin}"
            raise CheckpointError(message)
    return signer.sign(checkpoint.to_text(), *others)


def open_checkpoint(data: bytes, verifiers: Iterable[VerifierKey]) -> Checkpoint:
    """Verify a signed checkpoint; only keys that bear the log's origin as their name count.

    Several logs' keys may be given at once: the key of one log does not speak for another.

    Raises:
        NoteError: it is not a note, a known key's signature is bad, or no known key signed it.
        CheckpointError: its text is not a checkpoint.

    """
    checkpoint = read_checkpoint(data)
    named = [key for key in verifiers if key.name == checkpoint.origin]
    if not named:
        message = f"no key is named {checkpoint.origin}, which is the log's origin"
        raise UnverifiedNoteError(message)
    open_note(data, named)
    return checkpoint


def read_checkpoint(data: bytes) -> Checkpoint:
    """Read a signed checkpoint **without** verifying it.

    Raises:
        MalformedNoteError: it is not a note.
        CheckpointError: its text is not a checkpoint.

    """
    return Checkpoint.from_text(parse_note(data).text)
