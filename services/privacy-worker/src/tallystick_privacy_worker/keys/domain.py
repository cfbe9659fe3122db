"""Subject key pairs: X25519, minted ahead of people so that nobody waits for the privacy worker.

A private key is 32 random bytes, kept like any other data key (wrapped, in the key store) under the key's id.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

POOL_BATCH = 256
"""Keys minted and announced at a time; an event holds about twice as many at most."""
POOL_LOW = 512
"""Unclaimed keys below which batches are minted: the largest import (500 people) finds a key for everybody."""


class CannotOpenError(Exception):
    """The box does not open under this key, or was made for another event, field or subject."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half: 32 bytes, and the id it goes by."""

    key_id: str
    public_key: bytes

    @property
    def base64(self) -> str:
        """The key in standard base64, as events carry it."""
        return base64.b64encode(self.public_key).decode()


def new_private_key() -> bytes:
    """Return a fresh X25519 private key: 32 bytes."""
    return bytes(PrivateKey.generate())


def public_half(key_id: str, private_key: bytes) -> PublicKey:
    """Return the public half of a 32-byte X25519 private key."""
    return PublicKey(key_id, bytes(PrivateKey(private_key).public_key))


def fingerprint(public_key: bytes) -> str:
    """Return the SHA-256 of a public key in hexadecimal, as the ledger keeps it."""
    return hashlib.sha256(public_key).hexdigest()


def open_box(private_key: bytes, box: str, *, event_id: str, field: str) -> str:
    """Return the value sealed in ``box`` (base64), after checking that it was sealed for this event and field.

    Raises:
        CannotOpenError: if the key is another or the box was moved.
    """
    try:
        plain = json.loads(SealedBox(PrivateKey(private_key)).decrypt(base64.b64decode(box, validate=True)))
    except (CryptoError, ValueError) as error:
        msg = "the box does not open under this key"
        raise CannotOpenError(msg) from error
    if plain.get("event") != event_id or plain.get("field") != field:
        msg = "the box was sealed for another event or field"
        raise CannotOpenError(msg)
    return str(plain["value"])
