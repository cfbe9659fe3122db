"""Leaf and node hashes of RFC 6962 §2.1: SHA-256 with a one-byte prefix that keeps leaves and nodes apart."""

from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Hash one leaf: SHA-256(0x00 || data), 32 bytes. For an entry, data is the line without its line feed."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash one inner node: SHA-256(0x01 || left || right), 32 bytes."""
    return sha256(b"\x01" + left + right).digest()
