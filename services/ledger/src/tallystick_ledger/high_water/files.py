"""High-water marks in a file: one line for each mark, only ever added to, on the disk before anything goes out.

Whoever adds a line holds the file's lock in shared mode, and one ``write`` of a file opened for appending lands as a
whole; so several processes may write one file, in any order, for the highest mark of a log counts. Compacting (by the
worker, now and then) takes the lock alone and puts a new file in place.

The folder must lie on another disk than the database's, or at least outside what is backed up and restored with it.
The file system must have POSIX locks and atomic appends, as local ones do; NFS does not.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from tallystick_tlog import to_base64
from tallystick_tlog.encoding import from_base64
from tallystick_tlog.hashing import HASH_BYTES

from tallystick_ledger.high_water.mark import NOTHING, Head, MarkConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FILE: Final = "high-water.ndjson"
_COMPACT_ABOVE_BYTES: Final = 1024 * 1024
_PRIVATE: Final = 0o600

log = structlog.get_logger(__name__)


class _Line(msgspec.Struct, frozen=True):
    log: str
    root: str
    size: int


class FileHighWater:
    """Marks in one file of ``folder``, which is made when it is missing; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._marks: dict[str, Head] = {}
        self._inode = 0
        self._offset = 0
        self._waiting: dict[str, Head] = {}
        self._durable: dict[str, Head] = {}
        """Marks that this process knows to be on the disk; what it has only read may still be on its way there."""
        self._turn = asyncio.Lock()
        self._reading = threading.Lock()
        """Never held while the disk is waited for: whoever reads need not wait for who writes."""

    async def read(self, log_name: str) -> Head | None:
        """Return a log's mark, whichever process wrote it.

        Raises:
            OSError: the file cannot be read. A missing one has no marks.
        """
        self._refresh()
        return self._marks.get(log_name)

    async def recall(self, log_name: str) -> Head | None:
        """Return what ``read`` returns: asking the file costs next to nothing."""
        return await self.read(log_name)

    async def read_all(self) -> Mapping[str, Head]:
        """Return every log's mark by the log's name; raises as ``read`` does."""
        self._refresh()
        return dict(self._marks)

    async def raise_to(self, marks: Mapping[str, Head]) -> None:
        """Raise marks; they are on the disk when this returns. A mark that is higher already stays.

        What several callers wait for at one time goes to the disk at once.

        Raises:
            OSError: the disk did not take it. Nothing that was signed above the old mark may go out.
            MarkConflictError: a log has a mark of this size and another root.
        """
        if self._has(marks):
            return
        for name, head in marks.items():
            self._waiting[name] = max(head, self._waiting.get(name, head), key=lambda one: one.size)
        async with self._turn:
            if self._has(marks):
                return  # whoever had the turn before has written ours too
            taken, self._waiting = self._waiting, {}
            await asyncio.to_thread(self._append, {**taken, **marks})

    async def compact(self) -> bool:
        """Leave one line for each log in a file that has grown; say that there is no more to do."""
        async with self._turn:
            await asyncio.to_thread(self._compact)
        return False

    def _has(self, marks: Mapping[str, Head]) -> bool:
        return all(_is_reached(name, head, self._durable.get(name, NOTHING)) for name, head in marks.items())

    def _append(self, wanted: Mapping[str, Head]) -> None:
        with self._open(fcntl.LOCK_SH) as file:
            self._refresh()
            higher = {}
            for name, head in wanted.items():
                before = self._marks.get(name)
                if before is None or head.size > before.size:
                    higher[name] = head
                else:
                    _is_reached(name, head, before)
            # The line feed before it closes what a crash or a full disk may have cut short: that was never relied on.
            lines = b"\n" + b"".join(_encode(name, head) for name, head in higher.items())
            if higher and os.write(file, lines) != len(lines):
                message = "the disk took a part of the high-water marks only"
                raise OSError(message)
            os.fdatasync(file)
            self._refresh()
            self._durable |= wanted

    def _compact(self) -> None:
        with self._open(fcntl.LOCK_EX) as file:
            if os.fstat(file).st_size <= _COMPACT_ABOVE_BYTES:
                return
            self._refresh()
            fresh = self._path.with_suffix(".new")
            with open(fresh, "wb", opener=_private) as target:
                target.writelines(_encode(name, head) for name, head in self._marks.items())
                target.flush()
                os.fsync(target.fileno())
            fresh.replace(self._path)
            _sync_folder(self._path.parent)

    @contextmanager
    def _open(self, lock: int) -> Iterator[int]:
        """Open the file for appending under its lock: the file that has the name, not one that was replaced."""
        while True:
            file = self._create_or_open()
            try:
                fcntl.flock(file, lock)
                if os.fstat(file).st_ino == self._path.stat().st_ino:
                    yield file
                    return
            finally:
                os.close(file)

    def _create_or_open(self) -> int:
        try:
            return os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _PRIVATE)
            _sync_folder(self._path.parent)
            return file

    def _refresh(self) -> None:
        """Read what was added since the last time: usually nothing, which one ``stat`` tells."""
        with self._reading:
            self._read_added()

    def _read_added(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return  # nothing was ever marked, or somebody took the file away: what this process knows still holds
        if found.st_ino == self._inode and found.st_size == self._offset:
            return
        with self._path.open("rb") as file:
            opened = os.fstat(file.fileno())
            if opened.st_ino != self._inode or opened.st_size < self._offset:
                self._inode, self._offset = opened.st_ino, 0
            file.seek(self._offset)
            added = file.read()
        whole = added.rfind(b"\n") + 1
        self._offset += whole
        for line in added[:whole].split(b"\n"):
            if line:
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            read = msgspec.json.decode(line, type=_Line)
            root = from_base64(read.root)
        except (msgspec.DecodeError, ValueError):
            root = b""
        if len(root) != HASH_BYTES:
            # What a crash cut short was never relied on; anything else is for somebody to look at.
            log.warning("high_water_line_unreadable", size=len(line))
            return
        head = Head(read.size, root)
        before = self._marks.get(read.log)
        if before is None or head.size > before.size:
            self._marks[read.log] = head


def _is_reached(name: str, head: Head, mark: Head) -> bool:
    if head.size == mark.size and head.root != mark.root:
        raise MarkConflictError(name)
    return head.size <= mark.size


def _encode(name: str, head: Head) -> bytes:
    return msgspec.json.encode(_Line(name, to_base64(head.root), head.size)) + b"\n"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, _PRIVATE)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
