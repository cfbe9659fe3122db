"""The entries of a live log: page by page from the ledger's own routes, or from an export that grows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tallystick_cli.audit.blocks import first_lines, from_entry
from tallystick_cli.audit.errors import AuditError, NotThereError
from tallystick_cli.audit.sources import ByteStream, LogSource, UrlSource

PAGE_ENTRIES: Final = 200
_MAX_PAGE_BYTES: Final = 100_000_000  # 200 lines of 65,535 bytes, each byte escaped


class _Entry(msgspec.Struct):
    line: str


class _Page(msgspec.Struct):
    entries: tuple[_Entry, ...]


class LiveSource:
    """The entries ``[start, end)`` of a log that may have grown further; everything else is as in ``base``."""

    path: Path | None = None

    def __init__(self, base: LogSource, start: int, end: int) -> None:
        """Name the log and the entries."""
        self.name = base.name
        self._base, self._start, self._end = base, start, end

    def read_small(self, name: str) -> bytes:
        """Read the checkpoint or the key."""
        return self._base.read_small(name)

    @contextmanager
    def open_entries(self) -> Iterator[ByteStream]:
        """Open the entries: by pages, or where the server has none, from the whole log's file."""
        count = self._end - self._start
        if isinstance(self._base, UrlSource):
            try:
                first = _read_page(self._base, self._start)
            except NotThereError:
                pass
            else:
                yield _Bounded(first_lines(_Pages(self._base, self._start, first).read, count))
                return
        with self._base.open_entries() as stream:
            yield _Bounded(first_lines(from_entry(stream.read, self._start), count))


class _Bounded:
    """A stream made of a reading function."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read(self, size: int, /) -> bytes:
        return self._read(size)


class _Pages:
    """Pages as one stream of lines."""

    def __init__(self, source: UrlSource, start: int, first: list[bytes]) -> None:
        self._source = source
        self._next = start + len(first)
        self._held = b"".join(first)

    def read(self, size: int, /) -> bytes:
        if not self._held:
            lines = _read_page(self._source, self._next)
            self._next += len(lines)
            self._held = b"".join(lines)
        chunk, self._held = self._held[:size], self._held[size:]
        return chunk


def _read_page(source: UrlSource, start: int) -> list[bytes]:
    with source.open(f"entries?start={start}&limit={PAGE_ENTRIES}") as stream:
        data = bytearray()
        while chunk := stream.read(1 << 20):
            data += chunk
            if len(data) > _MAX_PAGE_BYTES:
                break
    try:
        page = msgspec.json.decode(bytes(data), type=_Page)
        return [entry.line.encode() + b"\n" for entry in page.entries]
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        message = f"{source.name} does not answer with a page of entries: {error}"
        raise AuditError(message) from error
