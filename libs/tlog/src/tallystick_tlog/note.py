"""Signed notes of c2sp.org/signed-note: a text and the Ed25519 signatures under it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple, Self

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tallystick_tlog.encoding import from_base64, to_base64
from tallystick_tlog.errors import InvalidSignatureError, KeyFormatError, MalformedNoteError, UnverifiedNoteError

MAX_NOTE_BYTES: Final = 1_000_000
MAX_SIGNATURES: Final = 100

_ED25519: Final = 0x01
_ED25519_COSIGNATURE: Final = 0x04
_ML_DSA_44: Final = 0x06
_KEY_BYTES_BY_ALGORITHM: Final = {_ED25519: 32, _ED25519_COSIGNATURE: 32, _ML_DSA_44: 1312}
_KEY_ID_BYTES: Final = 4
_VKEY: Final = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+(\S+)")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE_PREFIX: Final = "\N{EM DASH} "


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name, as the text ``name+hash+key`` carries it.

    Only ``algorithm`` 1 (Ed25519) verifies notes here; keys of witnesses (4, 6) parse but count as unknown.
    ``key_id`` is the 4 bytes that point from a signature to its key.
    """

    name: str
    key_id: bytes
    algorithm: int
    public_key: bytes

    def __post_init__(self) -> None:
        """Refuse bad names, algorithms that are not assigned, and keys of the wrong length."""
        if not _is_key_name(self.name):
            message = "a key name is empty or has a space or a plus sign"
            raise KeyFormatError(message)
        if _KEY_BYTES_BY_ALGORITHM.get(self.algorithm) != len(self.public_key):
            message = f"key {self.name}: no algorithm {self.algorithm} with a key of {len(self.public_key)} bytes"
            raise KeyFormatError(message)
        # The hash is only recommended by the specification; ML-DSA keys are seen with another, and are not used here.
        if self.algorithm != _ML_DSA_44 and self.key_id != _key_id(self.name, self.algorithm, self.public_key):
            message = f"key {self.name}: the hash {self.key_id.hex()} is not this key's"
            raise KeyFormatError(message)

    @classmethod
    def ed25519(cls, name: str, public_key: bytes) -> Self:
        """Name a 32-byte Ed25519 public key."""
        return cls(name, _key_id(name, _ED25519, public_key), _ED25519, public_key)

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Say whether the signature is this key's over exactly these bytes."""
        if self.algorithm != _ED25519:
            return False
        try:
            VerifyKey(self.public_key).verify(text, signature)
        except (BadSignatureError, ValueError):
            return False
        return True

    def __str__(self) -> str:
        """Write the key as ``name+hash+key``."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes([self.algorithm]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name+hash+key``.

        Raises:
            KeyFormatError: it is malformed, its hash is another key's, or its algorithm is unknown.

        """
        parts = _VKEY.fullmatch(text)
        if parts is None:
            message = "a verifier key is name+hash+key"
            raise KeyFormatError(message)
        name, key_id, encoded = parts.groups()
        try:
            data = from_base64(encoded)
        except ValueError as error:
            message = f"key {name}: the key is {error}"
            raise KeyFormatError(message) from error
        return cls(name, bytes.fromhex(key_id), data[0] if data else 0, data[1:])


class Signer:
    """An Ed25519 key that signs notes under a name."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Take the key's name and its 32-byte seed.

        Raises:
            KeyFormatError: the name or the seed's length is wrong.

        """
        try:
            self._key = SigningKey(seed)
        except (ValueError, TypeError) as error:
            message = f"key {name}: a seed is 32 bytes"
            raise KeyFormatError(message) from error
        self.verifier = VerifierKey.ed25519(name, bytes(self._key.verify_key))

    def sign(self, text: str, *others: "Signer") -> bytes:
        """Make the note: the text, a blank line, one signature line, and one more for each of the others.

        Raises:
            MalformedNoteError: the text does not end in a newline or has control characters.

        """
        if not text.endswith("\n") or _CONTROL.search(text):
            message = "a note's text ends in a newline and has no control characters"
            raise MalformedNoteError(message)
        return f"{text}\n{''.join(signer.signature_line(text) for signer in (self, *others))}".encode()

    def signature_line(self, text: str) -> str:
        """Sign a text as one line under a note."""
        signature = self._key.sign(text.encode()).signature
        return f"{_SIGNATURE_PREFIX}{self.verifier.name} {to_base64(self.verifier.key_id + signature)}\n"


class NoteSignature(NamedTuple):
    """One signature line: who (name and key id) and the algorithm's own bytes."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note whose signatures nobody has checked yet."""

    text: str
    signatures: tuple[NoteSignature, ...]


def parse_note(data: bytes) -> Note:
    """Split a note at its last blank line; nothing is verified.

    Raises:
        MalformedNoteError: it is not a note.

    """
    if len(data) > MAX_NOTE_BYTES:
        message = f"a note has more than {MAX_NOTE_BYTES} bytes"
        raise MalformedNoteError(message)
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = "a note is not UTF-8"
        raise MalformedNoteError(message) from error
    if _CONTROL.search(whole):
        message = "a note has control characters"
        raise MalformedNoteError(message)
    text, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        message = "a note is a text, a blank line and signature lines"
        raise MalformedNoteError(message)
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        message = f"a note has more than {MAX_SIGNATURES} signatures"
        raise MalformedNoteError(message)
    return Note(text + "\n", tuple(_parse_signature(line) for line in lines))


def open_note(data: bytes, verifiers: Iterable[VerifierKey]) -> tuple[Note, tuple[VerifierKey, ...]]:
    """Parse a note and verify every signature by a known key; unknown keys are passed over.

    Returns:
        The note and the keys, at least one, whose signatures hold.

    Raises:
        MalformedNoteError: it is not a note.
        InvalidSignatureError: a known key's signature does not verify.
        UnverifiedNoteError: no known key signed it.

    """
    note = parse_note(data)
    known = {(key.name, key.key_id): key for key in verifiers if key.algorithm == _ED25519}
    verified: dict[VerifierKey, None] = {}
    for name, key_id, signature in note.signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        if not key.verifies(note.text.encode(), signature):
            message = f"invalid signature for key {name}+{key_id.hex()}"
            raise InvalidSignatureError(message)
        verified[key] = None
    if not verified:
        message = "no signature is by a known key"
        raise UnverifiedNoteError(message)
    return note, tuple(verified)


def _parse_signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(_SIGNATURE_PREFIX) or not space or not _is_key_name(name):
        message = "a signature line is an em dash, a key name and base64"
        raise MalformedNoteError(message)
    try:
        data = from_base64(encoded)
    except ValueError as error:
        message = f"a signature is {error}"
        raise MalformedNoteError(message) from error
    if len(data) <= _KEY_ID_BYTES:
        message = "a signature is too short"
        raise MalformedNoteError(message)
    return NoteSignature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        message = "a key name is not Unicode text"
        raise KeyFormatError(message) from error
    return sha256(encoded + b"\n" + bytes([algorithm]) + public_key).digest()[:_KEY_ID_BYTES]


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(character.isspace() for character in name)
