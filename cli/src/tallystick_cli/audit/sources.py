"""Where a log is read from: a folder, or a server that gives the same files; an export or a tiled log."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from urllib.error import URLError
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

from tallystick_cli.audit.errors import AuditError, NotThereError, UnreachableError
from tallystick_cli.audit.pace import PacedResponse
from tallystick_cli.audit.resuming import ResumingStream
from tallystick_cli.audit.tiled import TiledSource, first_bundle_of

ENTRIES: Final = "entries.ndjson"
CHECKPOINT: Final = "checkpoint"
VKEY: Final = "ledger.vkey"
MAX_SMALL_FILE_BYTES: Final = 1_000_000

_SIGNED_IN: Final = ": pass --header 'Cookie: …' of a session that is signed in and may read this log"
_ADVICE_BY_STATUS: Final = {
    HTTPStatus.UNAUTHORIZED: _SIGNED_IN,
    HTTPStatus.FORBIDDEN: _SIGNED_IN,
    HTTPStatus.CONFLICT: ": the export was not asked for, or is not ready yet",
    HTTPStatus.GONE: ": the log's entries were deleted after their retention",
}
_PASSING: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_GIVEN: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
_OTHER_AUTHORITY: Final = ": pass --ca FILE with the authority that signed the server's certificate"
_X509_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})  # X509_V_ERR_* of OpenSSL's x509_vfy.h
_TIMEOUT_S: Final = 30.0
_MAX_HEADER_BYTES: Final = 16_384


class ByteStream(Protocol):
    """What can be read block by block."""

    def read(self, size: int, /) -> bytes:
        """Give up to ``size`` bytes, none at the end."""
        ...


class LogSource(Protocol):
    """One exported log."""

    @property
    def name(self) -> str:
        """How the auditor called it."""
        ...

    @property
    def path(self) -> Path | None:
        """The entries' file, if it can be opened again and read in parts."""
        ...

    def read_small(self, name: str) -> bytes:
        """Read the checkpoint or the key; AuditError if it cannot be read."""
        ...

    def open_entries(self) -> AbstractContextManager[ByteStream]:
        """Open the entries for reading from the first byte."""
        ...


def read_small_file(path: Path) -> bytes:
    """Read a checkpoint, key, proof or entry, up to one byte more than any of them may have.

    Raises:
        AuditError: it cannot be read.

    """
    with open_file(path) as file:
        return file.read(MAX_SMALL_FILE_BYTES + 1)


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; every failure, then or later, is an AuditError of one line."""
    if "\0" in str(path):
        message = f"{path} is not a path"
        raise AuditError(message)
    try:
        if path.exists() and not path.is_file():
            message = f"{path} is not a file"
            raise AuditError(message)
        with path.open("rb") as file:
            yield file
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise AuditError(message) from error


class FolderSource:
    """An export folder."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is read."""
        self._folder = folder
        self.name = str(folder)
        self.path: Path | None = folder / ENTRIES

    def read_small(self, name: str) -> bytes:
        """Read one of the small files."""
        return read_small_file(self._folder / name)

    def read_file(self, name: str, max_bytes: int) -> bytes:
        """Read a file below the folder, up to one byte more than it may have."""
        with open_file(self._folder / name) as file:
            return file.read(max_bytes + 1)

    @contextmanager
    def open_entries(self) -> Iterator[ByteStream]:
        """Open the entries."""
        with open_file(self._folder / ENTRIES) as file:
            yield file


class UrlSource:
    """A server that gives the three files under one address."""

    path: Path | None = None

    def __init__(self, base: str, ca: Path | None, headers: Sequence[str]) -> None:
        """Take the address, a file of certificate authorities to trust, and headers written ``Name: value``.

        Raises:
            AuditError: a header or the authority's file is unusable.

        """
        self.name = base
        self._base = base.rstrip("/")
        self._headers = dict(_parse_header(header) for header in headers)
        try:
            context = ssl.create_default_context(cafile=str(ca) if ca else None)
        except OSError as error:
            message = f"cannot use {ca} as certificate authorities: {error.strerror or error}"
            raise AuditError(message) from error
        # Not urllib's usual opener: that one follows redirects, and would carry the auditor's cookie to another place.
        self._opener = OpenerDirector()
        self._opener.add_handler(HTTPHandler())
        self._opener.add_handler(HTTPSHandler(context=context))

    def read_small(self, name: str) -> bytes:
        """Read one of the small files."""
        with self.open(name) as stream:
            return stream.read(MAX_SMALL_FILE_BYTES + 1)

    def read_file(self, name: str, max_bytes: int) -> bytes:
        """Read what is at a path below the address, up to one byte more than it may have."""
        with self.open(name) as stream:
            return stream.read(max_bytes + 1)

    def gives(self, name: str) -> bool:
        """Say whether there is anything at a path below the address."""
        try:
            with self.open(name):
                return True
        except AuditError:
            return False

    @contextmanager
    def open_entries(self) -> Iterator[ByteStream]:
        """Open the entries; where the connection breaks and the server gives parts, the reading goes on there."""
        with ResumingStream(lambda headers: self.open(ENTRIES, headers)) as stream:
            yield stream

    @contextmanager
    def open(self, name: str, headers: Mapping[str, str] | None = None) -> Iterator[PacedResponse]:
        """Open what lies under a name below the address; ``headers`` may ask for a part of it.

        Raises:
            NotThereError: the server says that there is nothing.
            UnreachableError: there is no server, or it cannot answer now.
            AuditError: it cannot be read.

        """
        url = f"{self._base}/{name}"
        try:
            request = Request(url, headers={**self._headers, **(headers or {})})  # noqa: S310 (the scheme is checked by open_sources)
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                if response.status == HTTPStatus.NOT_FOUND:
                    message = f"{url} answered 404"
                    raise NotThereError(message)
                if response.status in _PASSING:
                    message = f"{url} answered {response.status}"
                    raise UnreachableError(message)
                if response.status not in (_GIVEN if headers else {HTTPStatus.OK}):
                    message = f"{url} answered {response.status}{_ADVICE_BY_STATUS.get(response.status, '')}"
                    raise AuditError(message)
                yield PacedResponse(response)
        except URLError as error:
            advice = _OTHER_AUTHORITY if _is_from_an_unknown_authority(error.reason) else ""
            message = f"cannot read {url}: {error.reason}{advice}"
            raise UnreachableError(message) from error
        except (OSError, HTTPException, ValueError) as error:
            message = f"cannot read {url}: {str(error) or type(error).__name__}"
            raise UnreachableError(message) from error


def open_sources(source: str, ca: Path | None, headers: Sequence[str]) -> list[LogSource]:
    """Find the logs under a folder or an address.

    Raises:
        AuditError: there are none.

    """
    if source.startswith(("https://", "http://")):
        server = UrlSource(source, ca, headers)
        bundle = first_bundle_of(server)
        return [TiledSource(server) if bundle and server.gives(bundle) else server]
    folder = Path(source)
    try:
        if not folder.is_dir():
            message = f"{source} is neither a folder nor an http(s) address"
            raise AuditError(message)
        if _looks_like_a_log(folder):
            return [_folder_source(folder)]
        inner = sorted(item for item in folder.iterdir() if item.is_dir() and _looks_like_a_log(item))
    except (OSError, ValueError) as error:
        message = f"cannot read {source}: {error}"
        raise AuditError(message) from error
    if not inner:
        message = f"{source} holds no log: neither {ENTRIES} and {CHECKPOINT} nor folders with them"
        raise AuditError(message)
    return [_folder_source(item) for item in inner]


def _folder_source(folder: Path) -> LogSource:
    is_tiled = (folder / "tile").is_dir() and not (folder / ENTRIES).exists()
    return TiledSource(FolderSource(folder)) if is_tiled else FolderSource(folder)


def _looks_like_a_log(folder: Path) -> bool:
    # A log that lacks a file must fail, not be passed over.
    return any((folder / name).exists() or (folder / name).is_symlink() for name in (ENTRIES, CHECKPOINT))


def _is_from_an_unknown_authority(reason: object) -> bool:
    # Not for a wrong name or an expired certificate, which another authority would not mend.
    return isinstance(reason, ssl.SSLCertVerificationError) and reason.verify_code in _X509_UNKNOWN_ISSUER


def _parse_header(header: str) -> tuple[str, str]:
    name, colon, value = header.partition(":")
    if not colon or not name.strip() or len(header) > _MAX_HEADER_BYTES or not header.isprintable():
        message = "a --header is written 'Name: value'"
        raise AuditError(message)
    return name.strip(), value.strip()
