"""Requests that cost next to nothing to send, so that a load can be had on the machine that it loads.

What httpx does for a request takes longer than a service takes to answer it. Here the bytes are put together from
parts made before, a connection stays open for the next request, and httptools (which the services read requests with)
reads the answer: its status, its body, and whether the connection may be used again. Nothing is ever sent twice.
"""

import asyncio
import ssl
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

TIMEOUT_S: Final = 30.0
_KEPT: Final = 20
"""How many idle connections to a service are kept."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes


class NoAnswerError(Exception):
    """The connection ended before the answer did, or what came was no HTTP."""


class Connections:
    """One person's connections to one service: as many as there are requests under way; the last used is used next."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._tls = parts.hostname or "", parts.port or 443, tls
        self.host_header = parts.netloc
        self._idle: list[_Connection] = []

    async def send(self, request: bytes) -> Answer:
        """Send a request once.

        Raises:
            OSError: if no connection could be made.
            TimeoutError: if the answer did not come in time.
            NoAnswerError: if the connection ended before the answer did.
        """
        async with asyncio.timeout(TIMEOUT_S):
            connection = await self._open_one()
            try:
                answer = await connection.ask(request)
            except BaseException:
                connection.close()
                raise
        if connection.may_be_kept and len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    async def _open_one(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closing:
                return connection
        _, made = await asyncio.get_running_loop().create_connection(
            _Connection, self._host, self._port, ssl=self._tls, server_hostname=self._host
        )
        return made


class _Connection(asyncio.Protocol):
    """One connection; httptools calls the ``on_`` methods while it reads."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._answer: asyncio.Future[Answer] | None = None
        self._is_broken = False
        self.may_be_kept = False

    @property
    def is_closing(self) -> bool:
        return self._is_broken or self._transport.is_closing()

    async def ask(self, request: bytes) -> Answer:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a stream's is one

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {type(error).__name__}")

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"cut: {type(error).__name__}" if error else "cut")

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.may_be_kept = self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, why: str) -> None:
        self._is_broken = True
        self.may_be_kept = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswerError(why))
