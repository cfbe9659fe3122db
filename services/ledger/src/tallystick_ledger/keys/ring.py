"""The key ring: the seeds that this process may sign with. Which of them signs, the database says.

A ring is the first key (``TALLY_CHECKPOINT_KEY``) and, if it is set, a folder with one file for each further key, 32
bytes in base64. The folder is read again whenever a key is wanted that is not known yet, so a mounted secret may gain
keys while processes run. Files whose name begins with a dot are passed over, as in a Kubernetes volume.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from typing import TYPE_CHECKING, Final

from nacl.signing import SigningKey

if TYPE_CHECKING:
    from pathlib import Path

SEED_BYTES: Final = 32
_MAX_FILE_BYTES: Final = 1_024


class KeyRingError(RuntimeError):
    """The folder of checkpoint keys cannot be read or written, or a file in it is no key; no key is named."""


class CheckpointKeyMissingError(RuntimeError):
    """The key that signs a log is not in this process' ring: it signs nothing there until the key is mounted."""

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key
        super().__init__(f"the checkpoint key {base64.b64encode(public_key).decode()} is not in this process' key ring")


class KeyRing:
    """Seeds by their public keys; what is read stays known, so a file that goes away is missed at the next start."""

    def __init__(self, first_seed: bytes, folder: Path | None = None) -> None:
        self._folder = folder
        self.first = public_of(first_seed)
        self._seeds = {self.first: first_seed}

    def seed_of(self, public_key: bytes) -> bytes:
        """Return the seed of a key.

        Raises:
            CheckpointKeyMissingError: it is not in the ring.
            KeyRingError: the folder cannot be read.
        """
        if public_key not in self._seeds:
            self.read()
        try:
            return self._seeds[public_key]
        except KeyError:
            raise CheckpointKeyMissingError(public_key) from None

    def has(self, public_key: bytes) -> bool:
        """Whether the key is known without a look into the folder."""
        return public_key in self._seeds

    def read(self) -> tuple[bytes, ...]:
        """Read the folder again and return all public keys: the first, then the folder's by file name.

        Raises:
            KeyRingError: it cannot be read, or a file is not a key.
        """
        if self._folder is not None:
            try:
                files = sorted(path for path in self._folder.iterdir() if path.is_file() and path.name[0] != ".")
                seeds = [(path.name, path.read_bytes()[:_MAX_FILE_BYTES]) for path in files]
            except OSError as error:
                msg = f"the folder of checkpoint keys cannot be read ({error.strerror})"
                raise KeyRingError(msg) from None
            for name, text in seeds:
                seed = _decode(name, text)
                self._seeds.setdefault(public_of(seed), seed)
        return tuple(self._seeds)

    def make(self, name: str) -> bytes:
        """Add a new key to the folder and return its public half; a crash leaves it whole or not.

        Its file is called ``<name>-<begin of the public key>.key``: no key ever takes another one's place.

        Raises:
            KeyRingError: there is no folder, or it cannot be written.
        """
        if self._folder is None:
            msg = "there is no folder of checkpoint keys: set TALLY_CHECKPOINT_KEYS_DIR"
            raise KeyRingError(msg)
        seed = secrets.token_bytes(SEED_BYTES)
        name = f"{name}-{public_of(seed)[:8].hex()}"
        part = self._folder / f".{name}.part"
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(seed))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._folder / f"{name}.key")
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            msg = f"the folder of checkpoint keys cannot be written ({error.strerror})"
            raise KeyRingError(msg) from None
        self._seeds[public_of(seed)] = seed
        return public_of(seed)


def public_of(seed: bytes) -> bytes:
    """Return the 32-byte Ed25519 public key of a seed."""
    return bytes(SigningKey(seed).verify_key)


def _decode(name: str, text: bytes) -> bytes:
    try:
        seed = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        seed = b""
    if len(seed) != SEED_BYTES:
        msg = f"{name} in the folder of checkpoint keys is not {SEED_BYTES} bytes in base64"
        raise KeyRingError(msg)
    return seed
