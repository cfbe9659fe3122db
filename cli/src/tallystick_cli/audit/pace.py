"""An answer that must come at some pace: a server that gives a byte now and then would keep an audit waiting for ever.

A timeout of the connection does not help, as each byte begins it anew; a monitor would wait, and raise no alarm.
"""

import time
from http.client import HTTPException, HTTPResponse
from typing import Final

from tallystick_cli.audit.errors import UnreachableError

GRACE_S: Final = 60.0
"""Seconds spent waiting after which the pace counts."""

SLOWEST_BYTES_PER_S: Final = 2_000
"""On average since then; a modem of 1995 was faster."""


class PacedResponse:
    """An answer's status, headers and bytes."""

    def __init__(self, answer: HTTPResponse) -> None:
        """Take the answer as it begins."""
        self.status, self.headers = answer.status, answer.headers
        self._answer = answer
        self._waited_s = 0.0
        self._got = 0
        self._broke: OSError | HTTPException | None = None

    def read(self, size: int, /) -> bytes:
        """Give up to ``size`` bytes, fewer only at the end or where the connection breaks.

        Raises:
            UnreachableError: they come too slowly.
            OSError, HTTPException: the connection has broken, and all bytes before were given.

        """
        data = bytearray()
        while len(data) < size and self._broke is None:
            chunk = self._read_some(size - len(data))
            data += chunk
            if not chunk:
                break
        if self._broke is not None and not data:
            raise self._broke
        return bytes(data)

    def _read_some(self, size: int) -> bytes:
        began = time.monotonic()
        try:
            chunk = self._answer.read1(size)
        except (OSError, HTTPException) as error:
            self._broke = error
            return b""
        self._waited_s += time.monotonic() - began
        self._got += len(chunk)
        if self._got < (self._waited_s - GRACE_S) * SLOWEST_BYTES_PER_S:
            message = f"the server gave {self._got} bytes in {self._waited_s:.0f} s"
            raise UnreachableError(message)
        return chunk
