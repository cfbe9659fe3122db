"""Witnesses' cosignatures of c2sp.org/tlog-cosignature, the Ed25519 kind: ``cosignature/v1``, algorithm 0x04.

A cosignature says: at this time, this was the largest consistent tree that I had seen of this log. It stands as one
more signature line under the checkpoint; whoever does not know the witness passes it over.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tallystick_tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick_tlog.encoding import to_base64
from tallystick_tlog.errors import InvalidSignatureError, KeyFormatError
from tallystick_tlog.note import VerifierKey, parse_note

COSIGNATURE: Final = 0x04
MAX_TIME_S: Final = 2**63 - 1

_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's verified statement; ``time_s`` is its POSIX time, on the witness's word."""

    witness: VerifierKey
    time_s: int


def witness_key(name: str, public_key: bytes) -> VerifierKey:
    """Name a witness's 32-byte Ed25519 public key.

    Raises:
        KeyFormatError: the name or the key's length is wrong.

    """
    material = bytes([COSIGNATURE]) + public_key
    return VerifierKey(name, sha256(name.encode() + b"\n" + material).digest()[:4], COSIGNATURE, public_key)


class Witness:
    """A key that cosigns checkpoints. It must sign nothing else: the message does not name the witness."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Take the witness's name and its 32-byte seed.

        Raises:
            KeyFormatError: the name or the seed's length is wrong.

        """
        try:
            self._key = SigningKey(seed)
        except (ValueError, TypeError) as error:
            message = f"key {name}: a seed is 32 bytes"
            raise KeyFormatError(message) from error
        self.verifier = witness_key(name, bytes(self._key.verify_key))

    def cosign(self, checkpoint: bytes, time_s: int) -> bytes:
        """Make the signature line, newline included, to put under a signed checkpoint.

        Whether the log's signature holds and the tree extends what the witness saw last is for the caller to check.

        Raises:
            MalformedNoteError, CheckpointError: it is not a checkpoint.
            ValueError: the time is negative or above 2^63-1.

        """
        read_checkpoint(checkpoint)
        if not 0 <= time_s <= MAX_TIME_S:
            message = f"a cosignature cannot have the time {time_s}"
            raise ValueError(message)
        signature = self._key.sign(_message(parse_note(checkpoint).text, time_s)).signature
        encoded = to_base64(self.verifier.key_id + time_s.to_bytes(_TIME_BYTES, "big") + signature)
        return f"\N{EM DASH} {self.verifier.name} {encoded}\n".encode()


def verify_cosignatures(
    checkpoint: bytes, witnesses: Iterable[VerifierKey]
) -> tuple[Checkpoint, tuple[Cosignature, ...]]:
    """Verify the cosignatures of known witnesses; other lines, the log's own among them, are passed over.

    How many witnesses are enough is for the caller to say; none may be known, and then there are none.

    Returns:
        The checkpoint and each known witness's cosignature, in the order of the lines, one a witness: the latest.

    Raises:
        MalformedNoteError, CheckpointError: it is not a checkpoint.
        InvalidSignatureError: a known witness's cosignature does not verify.

    """
    note = parse_note(checkpoint)
    read = Checkpoint.from_text(note.text)
    known = {(key.name, key.key_id): key for key in witnesses if key.algorithm == COSIGNATURE}
    found: dict[VerifierKey, Cosignature] = {}
    for name, key_id, data in note.signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        time_s = int.from_bytes(data[:_TIME_BYTES], "big")
        if len(data) != _TIME_BYTES + _SIGNATURE_BYTES or time_s > MAX_TIME_S:
            message = f"the cosignature of {name} is not a time and a signature"
            raise InvalidSignatureError(message)
        try:
            VerifyKey(key.public_key).verify(_message(note.text, time_s), data[_TIME_BYTES:])
        except (BadSignatureError, ValueError) as error:
            message = f"invalid cosignature by witness {name}+{key_id.hex()}"
            raise InvalidSignatureError(message) from error
        if key not in found or found[key].time_s < time_s:
            found[key] = Cosignature(key, time_s)
    return read, tuple(found.values())


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()
