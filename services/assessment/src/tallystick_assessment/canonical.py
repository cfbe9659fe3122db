"""Canonical bytes of what is hashed, and the salted hashes that events carry instead of content."""

from hashlib import sha256
from typing import Final

import msgspec

SALT_BYTES: Final = 32

_encoder = msgspec.json.Encoder(order="sorted", decimal_format="string")


def canonical_json(value: object) -> bytes:
    """Return the JSON of a Struct or builtin with sorted keys and no spaces.

    Equals RFC 8785 for ASCII keys, strings and safe integers; decimals become strings, so no float is ever written.
    """
    return _encoder.encode(value)


def content_hash(canonical: bytes) -> str:
    """Return the SHA-256 of canonical bytes, 64 lower-case hexadecimal digits."""
    return sha256(canonical).hexdigest()


def salted_hash(salt: bytes, canonical: bytes) -> str:
    """Return SHA-256(salt ‖ canonical) in hexadecimal; ``salt`` is 32 random bytes, so a guess cannot be checked.

    Raises ValueError for a salt of another length.
    """
    if len(salt) != SALT_BYTES:
        msg = f"a salt has {SALT_BYTES} bytes"
        raise ValueError(msg)
    return sha256(salt + canonical).hexdigest()
