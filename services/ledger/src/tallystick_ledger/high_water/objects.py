"""High-water marks in an object store: an object for each log, put there only over the one that was read.

Every write is conditional (``If-None-Match: *`` for the first, ``If-Match`` with the entity tag for the others), so
that of two writers one is told that the mark has moved. It looks again, and a mark never goes down. What a process
knows of a mark goes on to hold when the object is gone or older: that is an alarm, and the next look of the worker's
watch puts it back.

The store is asked in threads of its own, one request for a log at a time; raises that wait meanwhile go out as one.
(The library's coroutines may abort an interpreter that ends: PyO3/pyo3-async-runtimes, issue 40.)
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import structlog
from obstore.exceptions import BaseError
from obstore.store import from_url

from tallystick_ledger.high_water.mark import Head, MarkConflictError, MarkMovedError
from tallystick_ledger.high_water.stored_marks import (
    ChangedError,
    HighWaterUnavailableError,
    get_mark,
    heeds_conditions,
    list_marks,
    put_mark,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from obstore import UpdateVersion
    from obstore.store import ClientConfig, ObjectStore

SCHEMES: Final = ("s3://", "gs://", "az://")
PATIENCE_S: Final = 10.0
RECENT_S: Final = 1.0
_AT_ONCE: Final = 16
_TRIES: Final = 8
_IN_HAND: Final = 2  # batches; half of what the next process takes for a crash's (mark.MOST_UNMARKED)
_LISTING_S: Final = 60.0

_NEVER: Final = float("-inf")

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Line:
    """What is known of one log's mark, and the raises that wait for it."""

    known: Head | None = None
    """The highest mark that was ever seen in the store."""
    version: UpdateVersion | None = None
    """The object that was there when we last looked; without one there was none."""
    is_lost: bool = False
    """Whether that object is gone, or older than the mark that is known."""
    asked_at: float = _NEVER
    """When the request began whose answer this is, on the monotonic clock."""
    wanted: list[Head] = field(default_factory=list)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class ObjectHighWater:
    """Marks under one address of an object store, which any number of processes on any number of machines may share."""

    def __init__(self, store: ObjectStore, *, patience_s: float = PATIENCE_S) -> None:
        """Keep marks in ``store``; a request that takes longer than ``patience_s`` with its repetitions has failed."""
        self._store = store
        self._patience_s = patience_s
        self._lines: dict[str, _Line] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="high-water")
        self._is_proved = False

    @classmethod
    def at(cls, url: str, *, trusted: bytes | None = None, patience_s: float = PATIENCE_S) -> ObjectHighWater:
        """Keep marks at ``url``, such as ``s3://bucket/prefix``; ``trusted``: more authorities for its https (PEM).

        Region, endpoint and credentials come from the environment, as the store's own tools have them there.

        Raises:
            ValueError: the address, or what the environment says about it, is not one of an object store.
        """
        if not url.startswith(SCHEMES):
            message = f"not an address of an object store ({', '.join(SCHEMES)})"
            raise ValueError(message)
        options: dict[str, Any] = {
            "timeout": timedelta(seconds=patience_s / 2),
            "connect_timeout": timedelta(seconds=patience_s / 4),
        }
        if trusted:
            options["root_certificate"] = trusted
        try:
            store = from_url(
                url,
                client_options=cast("ClientConfig", options),  # its types do not name the certificate
                retry_config={
                    "max_retries": 2,
                    "retry_timeout": timedelta(seconds=patience_s),
                    "backoff": {
                        "init_backoff": timedelta(seconds=patience_s / 100),
                        "max_backoff": timedelta(seconds=patience_s / 10),
                        "base": 2,
                    },
                },
            )
        except (BaseError, ValueError) as error:
            raise ValueError(_first_line(error)) from error
        return cls(store, patience_s=patience_s)

    async def read(self, log_name: str) -> Head | None:
        """Return a log's mark as it was when this was called, or later.

        Raises:
            OSError: the store did not answer, or what it has is no mark.
            MarkConflictError: it has another root at the size that it had before.
        """
        asked, line = monotonic(), self._line(log_name)
        async with line.turn:
            if line.asked_at < asked:  # or whoever had the turn before has asked for us too
                await self._look(log_name, line)
            return line.known

    async def recall(self, log_name: str) -> Head | None:
        """Return a log's mark as it was a second ago or later; raises as ``read`` does.

        In a log that is written all the time, raising its mark tells so, and nothing is asked. Where two raises are
        under way already it waits for them: no more batches than that are to be unmarked when a process is killed.
        """
        line = self._line(log_name)
        if len(line.wanted) >= _IN_HAND:
            async with line.turn:
                pass
        if monotonic() - line.asked_at <= RECENT_S:
            return line.known
        return await self.read(log_name)

    async def read_all(self) -> Mapping[str, Head]:
        """Return every log's mark by the log's name, and put back what the store has lost; raises as ``read`` does.

        The list has the objects' entity tags: only those that have changed are fetched.
        """
        listed = await self._ask(partial(list_marks, self._store), within_s=_LISTING_S)
        known = {name: line.version for name, line in self._lines.items() if line.known}
        await _all(self.read(name) for name in listed.keys() | known.keys() if not _is_same(listed, known, name))
        await _all(self._put_back(name, line) for name, line in self._lines.items() if line.is_lost)
        return {name: line.known for name, line in self._lines.items() if line.known}

    async def raise_to(self, marks: Mapping[str, Head]) -> None:
        """Raise marks; they are in the store when this returns. A mark that is higher already stays.

        Raises:
            OSError: the store did not say that it has them. Nothing that was signed above the old marks may go out.
            MarkMovedError: another process has raised one of them since it was read here.
            MarkConflictError: a log has a mark of this size and another root.
        """
        await _all(self._raise(name, head) for name, head in marks.items())

    async def compact(self) -> bool:
        """Do nothing: an object is replaced whole."""
        return False

    def _line(self, name: str) -> _Line:
        return self._lines.setdefault(name, _Line())

    async def _raise(self, name: str, head: Head) -> None:
        line = self._line(name)
        line.wanted.append(head)
        try:
            if self._is_there(name, line, head):
                return
            async with line.turn:
                if not self._is_there(name, line, head):  # or whoever had the turn before has put ours there too
                    await self._put(name, line, max(line.wanted, key=_size_of))
                    _has(name, line.known, head)
        finally:
            line.wanted.remove(head)

    async def _put_back(self, name: str, line: _Line) -> None:
        async with line.turn:
            if line.is_lost and line.known:
                await self._put(name, line, line.known)

    def _is_there(self, name: str, line: _Line, head: Head) -> bool:
        return _has(name, line.known, head) and not line.is_lost

    async def _put(self, name: str, line: _Line, head: Head) -> None:
        """Put a mark over the one that is known; look again when there is another, until ours or a higher is there."""
        await self._prove()
        if line.asked_at == _NEVER:
            await self._look(name, line)
        for _ in range(_TRIES):
            if self._is_there(name, line, head):
                return
            asked, before = monotonic(), line.known
            highest = max(head, before or head, key=_size_of)
            try:
                line.version = await self._ask(partial(put_mark, self._store, name, highest, line.version))
            except ChangedError:
                await self._look(name, line)
                if not _has(name, line.known, head) and line.known not in {before, *line.wanted}:
                    raise MarkMovedError(name) from None
            else:
                line.known, line.asked_at, line.is_lost = highest, asked, False
                return
        message = f"the high-water mark of {name} could not be put in its place"
        raise HighWaterUnavailableError(message)

    async def _look(self, name: str, line: _Line) -> None:
        asked = monotonic()
        try:
            found = await self._ask(partial(get_mark, self._store, name))
        except FileNotFoundError:
            found = None
        known = line.known
        line.is_lost = known is not None and (found is None or found.head.size < known.size)
        if line.is_lost:
            log.error("high_water_lost", log_name=name, size=found.head.size if found else 0, mark=known and known.size)
        elif found and not _has(name, known, found.head):
            line.known = found.head
        line.version, line.asked_at = found.version if found else None, asked

    async def _prove(self) -> None:
        """Find out once that the store heeds conditions: one that does not would let a mark go down."""
        if not self._is_proved:
            if not await self._ask(partial(heeds_conditions, self._store)):
                message = "the object store does not heed If-Match and If-None-Match, and cannot have high-water marks"
                raise HighWaterUnavailableError(message)
            self._is_proved = True

    async def _ask(self, request: Callable[[], T], *, within_s: float | None = None) -> T:
        try:
            async with self._slots, asyncio.timeout(within_s or self._patience_s):  # waiting for a slot is no fault
                return await asyncio.get_running_loop().run_in_executor(self._threads, request)
        except BaseError as error:
            raise HighWaterUnavailableError(_first_line(error)) from error


def _size_of(head: Head) -> int:
    return head.size


def _is_same(listed: Mapping[str, UpdateVersion], known: Mapping[str, UpdateVersion | None], name: str) -> bool:
    """Say whether the object is the one that we know, as far as a list says it: it has no numbers of versions."""
    there, ours = listed.get(name), known.get(name)
    return there is not None and ours is not None and "e_tag" in there and there["e_tag"] == ours.get("e_tag")


def _has(name: str, known: Head | None, head: Head) -> bool:
    if known and known.size == head.size and known.root != head.root:
        raise MarkConflictError(name)
    return known is not None and head.size <= known.size


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


async def _all(doing: Iterable[Awaitable[object]]) -> None:
    """Wait for all, also where one of them failed; then raise what failed first."""
    done = await asyncio.gather(*doing, return_exceptions=True)
    for one in done:
        if isinstance(one, BaseException):
            raise one
