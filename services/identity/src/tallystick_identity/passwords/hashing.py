"""Slow hashes, off the event loop and few at a time (OWASP Password Storage: Argon2id, 19 MiB, 2 passes, 1 lane)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import argon2
import bcrypt
from tallystick_chassis.http.problems import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

MEMORY_KIB: Final = 19_456
PASSES: Final = 2
LANES: Final = 1
AT_ONCE: Final = 2
"""How many hashes a process computes at a time; each holds a core and 19 MiB."""

WAITING: Final = 64
"""How many more may wait: about two seconds' worth."""

_BCRYPT_MAX_BYTES: Final = 72
# Of 32 random bytes that were thrown away: verified for whoever has no password, so that it takes as long.
_NOBODYS: Final = "$argon2id$v=19$m=19456,t=2,p=1$LVAoNJrH5O946K9Nw0LcrA$QwOjjVv9tXSWYni9sFnMb1g6Ef6TuzhROwj4kMiiTb0"


class Hasher:
    """Hashes and verifies. argon2-cffi and bcrypt release the interpreter's lock, so threads are enough."""

    def __init__(self, *, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._argon2 = argon2.PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="password-hash")
        self._most = at_once + waiting
        self._under_way = 0

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash of ``password``, with a fresh salt.

        Raises:
            Unavailable: if too many wait already.
        """
        return await self._run(lambda: self._argon2.hash(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Say whether ``stored`` is a hash of exactly ``password``; ``None`` takes as long and is never one.

        Raises:
            Unavailable: if too many wait already.
        """
        if stored is None:
            await self._run(lambda: self._is_argon2_of(_NOBODYS, password))
            return False
        if stored.startswith("$argon2id$"):
            return await self._run(lambda: self._is_argon2_of(stored, password))
        return await self._run(lambda: _is_bcrypt_of(stored, password))

    def is_outdated(self, stored: str) -> bool:
        """Say whether a password should be hashed anew when its owner shows it: bcrypt, or weaker parameters."""
        return not stored.startswith("$argon2id$") or self._argon2.check_needs_rehash(stored)

    def _is_argon2_of(self, stored: str, password: str) -> bool:
        try:
            return self._argon2.verify(stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._under_way >= self._most:
            raise Unavailable(headers={"Retry-After": "2"})
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._under_way -= 1


def _is_bcrypt_of(stored: str, password: str) -> bool:
    """Bcrypt reads 72 bytes. A longer password is refused, not cut: its owner sets a new one by mail (ASVS 6.2.8)."""
    given = password.encode()
    return len(given) <= _BCRYPT_MAX_BYTES and bcrypt.checkpw(given, stored.encode())
