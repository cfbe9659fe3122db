"""The services' present state, read over HTTPS into a temporary database: rows by kind, and their event stores."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec
from tallystick_tlog import MAX_INTEGER

from tallystick_cli.audit.errors import AuditError, NotThereError
from tallystick_cli.audit.sources import UrlSource

SERVICES: Final = ("identity", "assessment", "ledger", "verification", "privacy")
_MAX_PAGE_BYTES: Final = 16_000_000
_MAX_REACH: Final = 100_000
_MAX_SEQ_DIGITS: Final = 16  # of 2^53 - 1

_TABLES: Final = """
create table present (service, kind, key, stream, fields, primary key (service, kind, key)) without rowid;
create table stored (service, aggregate, seq integer, event_id, sha256, stream, version integer, type, stored_at,
    primary key (service, aggregate, seq)) without rowid;
create table unnumbered (service, event_id, stream, type, stored_at, primary key (service, event_id)) without rowid;
create table expected (service, kind, key, stream, fields, created integer, log, seq integer,
    primary key (service, kind, key)) without rowid;
"""


class Row(msgspec.Struct, frozen=True):
    """One row as a service gives it."""

    key: str
    stream: str
    fields: dict[str, msgspec.Raw]


class Page(msgspec.Struct, frozen=True):
    """One page of rows."""

    service: str
    kind: str
    rows: tuple[Row, ...]
    next: str | None


class StoredEvent(msgspec.Struct, frozen=True):
    """What a service says of one event in its store; all but ``event_id`` are None where the event is gone."""

    event_id: str | None
    sha256: str | None
    version: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None
    type: str | None
    stored_at: str | None


@contextmanager
def workspace() -> Iterator[sqlite3.Connection]:
    """Open an empty database on disk that goes away afterwards, so that memory stays flat however much there is.

    Raises:
        AuditError: the disk is full, or cannot be written to.

    """
    with (
        TemporaryDirectory(prefix="tally-reconcile-") as folder,
        closing(sqlite3.connect(Path(folder) / "work.db", isolation_level=None)) as work,
    ):
        try:
            work.executescript(f"pragma journal_mode=off; pragma synchronous=off; {_TABLES} begin;")
            yield work
        except sqlite3.OperationalError as error:
            message = f"cannot work in {folder}: {error}"
            raise AuditError(message) from error


class Service:
    """One service whose state is read."""

    def __init__(self, name: str, source: UrlSource) -> None:
        """Take its name and where it answers."""
        self.name = name
        self._source = source

    def reach(self) -> frozenset[str]:
        """Say which org units its answers cover; ``*`` stands for all."""
        return frozenset(row.key for _, row in zip(range(_MAX_REACH), self.rows("reach"), strict=False))

    def rows(self, kind: str) -> Iterator[Row]:
        """Give the rows of a kind in order of their keys.

        Raises:
            AuditError: the service does not answer, or not with such rows.

        """
        after: str | None = None
        while True:
            query = urlencode({"kind": kind} | ({} if after is None else {"after": after}))
            page = self._page(f"api/v1/{self.name}/state?{query}", kind)
            yield from page.rows
            if page.next is None:
                return
            if not page.rows or page.next == after:
                message = f"{self.name} gives the same page of {kind} again and again"
                raise AuditError(message)
            after = page.next

    def _page(self, path: str, kind: str) -> Page:
        try:
            data = self._source.read_file(path, _MAX_PAGE_BYTES)
        except NotThereError as error:
            message = f"{self.name} at {self._source.name} does not show its {kind}: {error}"
            raise AuditError(message) from error
        try:
            page = msgspec.json.decode(data, type=Page)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            message = f"{self.name} at {self._source.name} answers no state: {error}"
            raise AuditError(message) from error
        if (page.service, page.kind) != (self.name, kind):
            message = f"{self._source.name} answers as {page.service}, not as {self.name}"
            raise AuditError(message)
        return page


def read_rows(work: sqlite3.Connection, service: Service, kinds: Sequence[str]) -> None:
    """Read the rows of these kinds.

    Raises:
        AuditError: the service gives a key twice, or does not answer.

    """
    for kind in kinds:
        rows = (
            (service.name, kind, row.key, row.stream, msgspec.json.encode(row.fields)) for row in service.rows(kind)
        )
        _insert(work, "insert into present values (?, ?, ?, ?, ?)", rows)


def read_store(work: sqlite3.Connection, service: Service) -> None:
    """Read the event store: what has no number yet first, so that nothing slips from one to the other unseen.

    Raises:
        AuditError: the service gives an event twice, or does not answer.

    """
    _insert(
        work,
        "insert into unnumbered values (?, ?, ?, ?, ?)",
        (
            (service.name, row.key, row.stream, event.type, event.stored_at)
            for row in service.rows("unnumbered_event")
            for event in [_event(row)]
        ),
    )
    _insert(
        work,
        "insert into stored values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (service.name, aggregate, seq, event.event_id, event.sha256, row.stream, *_rest(event))
            for row in service.rows("event")
            for aggregate, seq in [_place(row.key)]
            for event in [_event(row)]
        ),
    )


def _insert(work: sqlite3.Connection, statement: str, rows: Iterator[tuple[object, ...]]) -> None:
    try:
        work.executemany(statement, rows)
    except sqlite3.IntegrityError as error:
        message = f"a service gives one key twice: {error}"
        raise AuditError(message) from error


def _rest(event: StoredEvent) -> tuple[object, ...]:
    return event.version, event.type, event.stored_at


def _event(row: Row) -> StoredEvent:
    try:
        return msgspec.json.decode(msgspec.json.encode(row.fields), type=StoredEvent)
    except msgspec.MsgspecError as error:
        message = f"a stored event cannot be read: {error}"
        raise AuditError(message) from error


def _place(key: str) -> tuple[str, int]:
    aggregate, _, seq = key.partition("/")
    if not (seq.isascii() and seq.isdigit() and len(seq) <= _MAX_SEQ_DIGITS):
        message = f"a stored event has no number: {key[:100]}"
        raise AuditError(message)
    return aggregate, int(seq)
