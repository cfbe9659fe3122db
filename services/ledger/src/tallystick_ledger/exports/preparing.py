"""What a download needs to know of its file beforehand: the length, for ranges, and the digest, for whoever compares.

A short log is measured and hashed when it is asked for. A long one is the worker's: its length part by part, each part
a transaction that the next worker goes on from; then the digest in one go, because a hash's state cannot be stored.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import structlog

from tallystick_ledger.errors import LedgerStateError
from tallystick_ledger.exports import store
from tallystick_ledger.exports.store import PART_ENTRIES, EntryPlace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tallystick_chassis.database import DutyDatabase

    from tallystick_ledger.exports.store import Unfinished

LINES_AT_ONCE: Final = 500
EXPORTS_AT_ONCE: Final = 100

log = structlog.get_logger(__name__)


async def length_and_digest(read: Callable[[int, int], Awaitable[list[bytes]]], size: int) -> tuple[int, bytes]:
    """Read ``size`` entries, ``read(start, until)`` at a time; return the file's length and its SHA-256.

    Raises:
        LedgerStateError: entries are missing.
    """
    digest, length = sha256(), 0
    for start in range(0, size, LINES_AT_ONCE):
        until = min(start + LINES_AT_ONCE, size)
        lines = await read(start, until)
        if len(lines) != until - start:
            msg = f"entries are missing between {start} and {until}"
            raise LedgerStateError(msg)
        block = b"".join(line + b"\n" for line in lines)
        digest.update(block)
        length += len(block)
    return length, digest.digest()


class ExportPreparer:
    """Prepares long exports of any tenant, as the service's duty role. Any number of workers may."""

    def __init__(self, duty: DutyDatabase, *, part_entries: int = PART_ENTRIES) -> None:
        self._duty = duty
        self._part_entries = part_entries

    async def measure(self) -> bool:
        """Measure a part of each export that is not measured yet; say whether there is more."""
        async with self._duty.duty() as connection:
            waiting = await store.find_unmeasured(connection, EXPORTS_AT_ONCE)
        return await self._each(waiting, self._measure_part)

    async def hash(self) -> bool:
        """Hash the file of each export that is measured and has no digest."""
        async with self._duty.duty() as connection:
            waiting = await store.find_unhashed(connection, EXPORTS_AT_ONCE)
        return await self._each(waiting, self._hash)

    @staticmethod
    async def _each(waiting: list[Unfinished], do: Callable[[Unfinished], Awaitable[bool]]) -> bool:
        more = False
        for one in waiting:
            try:
                more |= await do(one)
            except LedgerStateError as error:
                # Damaged, or dropped this moment. The other exports go on.
                log.error("export_stuck", tenant=str(one.tenant), log_id=str(one.log), error=str(error))  # noqa: TRY400 - known
        return more

    async def _measure_part(self, one: Unfinished) -> bool:
        async with self._duty.duty() as connection:
            if not await store.lock(connection, one):
                return False
            begin = await store.last_part(connection, one)
            until = min(begin.seq + self._part_entries, one.size)
            entries, length = await store.measure(connection, one, begin.seq, until)
            if entries != until - begin.seq:
                msg = f"entries are missing between {begin.seq} and {until}"
                raise LedgerStateError(msg)
            if until == one.size:
                await store.set_bytes(connection, one, begin.start_byte + length)
            else:
                await store.add_part(connection, one, EntryPlace(until, begin.start_byte + length))
        return until < one.size

    async def _hash(self, one: Unfinished) -> bool:
        async with self._duty.duty() as connection:
            if not await store.lock(connection, one):
                return False
            length, digest = await length_and_digest(
                lambda start, until: store.read_lines(connection, one, start, until), one.size
            )
            if length != one.length:
                msg = f"the file has {length} bytes, and was measured as {one.length}"
                raise LedgerStateError(msg)
            await store.set_sha256(connection, one, digest)
        return False
