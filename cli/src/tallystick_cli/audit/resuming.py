"""A download that goes on where the connection broke, if the server says that it gives parts of the same file."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from http import HTTPStatus
from http.client import HTTPException
from typing import Final, Self

from tallystick_cli.audit.errors import AuditError, UnreachableError
from tallystick_cli.audit.pace import PacedResponse

TRIES: Final = 6
"""So often in a row a download is gone on with without one more byte; the pauses add up to 6 s."""

_FIRST_PAUSE_S: Final = 0.2
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")

Open = Callable[[Mapping[str, str]], AbstractContextManager[PacedResponse]]
"""Asks for the file with more headers.

An answer that is neither 200 nor 206 is an AuditError, none at all an UnreachableError.
"""


class ResumingStream:
    """A file's bytes from the first on. Leave it by its context manager, which closes the connection."""

    def __init__(self, open_: Open) -> None:
        """Take how to ask for the file; nothing is asked yet."""
        self._open = open_
        self._connection = ExitStack()
        self._answer: PacedResponse | None = None
        self._position = 0
        self._length: int | None = None
        self._etag: str | None = None

    def __enter__(self) -> Self:
        """Ask for the file; AuditError if it cannot be had."""
        self._answer = self._connection.enter_context(self._open({}))
        headers, etag = self._answer.headers, self._answer.headers.get("ETag", "")
        # Without a strong tag nobody can say that the rest is the rest of the same file.
        if headers.get("Accept-Ranges") == "bytes" and etag.startswith('"'):
            self._etag = etag
        if _LENGTH.fullmatch(length := headers.get("Content-Length", "")):
            self._length = int(length)
        return self

    def __exit__(self, *error: object) -> bool | None:
        """Close the connection; what broke it becomes the error of whoever opened it."""
        return self._connection.__exit__(*error)  # type: ignore[arg-type]  # the three are handed on as they came

    def read(self, size: int, /) -> bytes:
        """Give up to ``size`` bytes, none at the file's end.

        Raises:
            AuditError: it ended early, and could not be gone on with.

        """
        tries = 0
        while True:
            try:
                chunk = self._read_once(size)
            except (OSError, HTTPException, UnreachableError):
                if self._etag is None or self._length is None or tries == TRIES:
                    raise
                self._hang_up()
                if tries:
                    time.sleep(_FIRST_PAUSE_S * 2 ** (tries - 1))
                tries += 1
            else:
                self._position += len(chunk)
                return chunk

    def _read_once(self, size: int) -> bytes:
        if self._answer is None:
            self._answer = self._ask_for_the_rest()
        chunk = self._answer.read(size)
        if not chunk and self._length is not None and self._position < self._length:
            # http.client takes a connection that ends early for the end of the file.
            message = f"the connection broke after {self._position} of {self._length} bytes"
            raise UnreachableError(message)
        return chunk

    def _ask_for_the_rest(self) -> PacedResponse:
        wanted = {"Range": f"bytes={self._position}-", "If-Range": self._etag or ""}
        answer = self._connection.enter_context(self._open(wanted))
        place = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        is_rest = place is not None and (int(place[1]), int(place[2])) == (self._position, self._length)
        if answer.status != HTTPStatus.PARTIAL_CONTENT or not is_rest:
            message = "the connection broke, and the server does not give the rest of the same file"
            raise AuditError(message)
        return answer

    def _hang_up(self) -> None:
        self._answer = None
        self._connection.close()
