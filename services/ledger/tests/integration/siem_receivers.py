"""SIEMs for tests: an HTTPS endpoint and a syslog server over TLS, in the test's own process and loop."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

Event = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One POST that came in."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[Event]:
        """Its lines."""
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Siem:
    """What came in, and what a test has the receiver do. ``taken`` are the requests that it said it took."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    taken: list[Request] = field(default_factory=list)
    answer: Callable[[list[Event]], int] = lambda _events: 204
    delay_s: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    hangs: bool = False

    @property
    def url(self) -> str:
        """Its address."""
        return f"https://127.0.0.1:{self.port}/in"

    def events(self) -> list[Event]:
        """Every event it took, in order, repeated ones too."""
        return [event for request in self.taken for event in request.events]

    def entries(self) -> list[tuple[str, int]]:
        """The entries it took, by log and number, repeated ones too."""
        found = [event["metadata"] for event in self.events() if "sequence" in event["metadata"]]
        return [(one["log_name"], one["sequence"]) for one in found]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")[1:]
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name
            }
            request = Request(headers, await reader.readexactly(int(headers["content-length"])))
            self.requests.append(request)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                if self.hangs:
                    await asyncio.sleep(3600)
                await asyncio.sleep(self.delay_s)
            finally:
                self.at_once -= 1
            status = self.answer(request.events)
            if 200 <= status < 300:
                self.taken.append(request)
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@dataclass
class Syslog:
    """A syslog server, and the messages it read."""

    port: int = 0
    messages: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"syslog+tls://127.0.0.1:{self.port}"

    def entries(self) -> list[tuple[str, int]]:
        """The entries it read, by log and number."""
        found = [json.loads(message.partition(b"] ")[2])["metadata"] for message in self.messages]
        return [(one["log_name"], one["sequence"]) for one in found if "sequence" in one]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read messages until the sender ends the connection."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                length = int(await reader.readuntil(b" "))
                self.messages.append(await reader.readexactly(length))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def listening(receiver: Siem | Syslog, certificate: tuple[Path, Path], *, port: int = 0) -> AsyncIterator[None]:
    """Serve the receiver while the block runs; it then has its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await receiver.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def breaking_off(port: int, *, after_bytes: int) -> AsyncIterator[int]:
    """Give the port of a way to ``port`` that passes on so many bytes of what a client sends, then resets both ends."""
    tasks: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        behind, before = await asyncio.open_connection("127.0.0.1", port)
        back = asyncio.create_task(_pass_on(behind, writer))
        tasks.add(back)
        left = after_bytes
        while left and (data := await reader.read(left)):
            before.write(data)
            await before.drain()
            left -= len(data)
        back.cancel()
        for one in (before, writer):
            one.transport.abort()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
