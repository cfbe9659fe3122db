"""Self-contained proofs of c2sp.org/tlog-proof@v1: index, inclusion proof and checkpoint in one small text file."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from tallystick_tlog.checkpoint import Checkpoint, open_checkpoint
from tallystick_tlog.encoding import from_base64, to_base64
from tallystick_tlog.errors import HashLengthError, IndexOutOfRangeError, ProofFormatError
from tallystick_tlog.hashing import HASH_BYTES
from tallystick_tlog.note import MAX_NOTE_BYTES, VerifierKey
from tallystick_tlog.proof import verify_inclusion
from tallystick_tlog.tree import MAX_SIZE

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")
_MAX_HASHES: Final = MAX_SIZE.bit_length()


@dataclass(frozen=True, slots=True)
class TlogProof:
    """One entry's proof: its index, the hashes from its sibling up, and the signed checkpoint, verbatim.

    ``extra`` is opaque and authenticated by nothing.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be written and read back."""
        if not 0 <= self.index <= MAX_SIZE:
            message = f"no entry has index {self.index}"
            raise IndexOutOfRangeError(message)
        if any(len(item) != HASH_BYTES for item in self.hashes):
            message = f"a hash of the proof is not {HASH_BYTES} bytes"
            raise HashLengthError(message)

    def to_bytes(self) -> bytes:
        """Write the proof file."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines.extend(to_base64(item) for item in self.hashes)
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a proof file; nothing is verified.

        Raises:
            ProofFormatError: it is not one.

        """
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank or len(data) > 2 * MAX_NOTE_BYTES:
            message = "a proof file is a header, a blank line and a checkpoint"
            raise ProofFormatError(message)
        try:
            lines = head.decode("ascii").split("\n")
            if lines.pop(0) != _HEADER:
                message = f"the first line is not {_HEADER}"
                raise ProofFormatError(message)
            extra = None
            if lines and lines[0].startswith("extra "):
                extra = from_base64(lines.pop(0).removeprefix("extra "))
            index = _INDEX.fullmatch(lines.pop(0) if lines else "")
            if index is None or len(lines) > _MAX_HASHES:
                message = "the index line is missing, or the proof is too long"
                raise ProofFormatError(message)
            return cls(int(index[1]), tuple(from_base64(line) for line in lines), checkpoint, extra)
        except (ValueError, HashLengthError, IndexOutOfRangeError) as error:
            message = f"the proof file is malformed: {error}"
            raise ProofFormatError(message) from error

    def verify(self, leaf: bytes, verifiers: Iterable[VerifierKey]) -> Checkpoint:
        """Check that the entry with this 32-byte leaf hash stands at ``index`` in a log signed by a known key.

        Raises:
            NoteError: the checkpoint's signature does not hold.
            CheckpointError: it is not a checkpoint.
            ProofError: the entry is not in that log.

        """
        checkpoint = open_checkpoint(self.checkpoint, verifiers)
        verify_inclusion(leaf, self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint
