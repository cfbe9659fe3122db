"""The worker's answer to the platform's probes: `/live` and `/ready` over plain HTTP, and nothing else.

A worker serves nobody, so it has no certificate and no routes. A kubelet asks two questions whose answers are public.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_chassis.http.health import Readiness

_MAX_REQUEST_BYTES: Final = 4_096
_TIMEOUT_S: Final = 5.0


@asynccontextmanager
async def probe_port(host: str, port: int | None, readiness: Readiness) -> AsyncIterator[None]:
    """Answer on ``port`` while the block runs; without a port do nothing.

    Raises:
        OSError: the port cannot be had.
    """
    if port is None:
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, body = await _answer(head.split(b"\r\n", 1)[0].decode("latin-1"), readiness)
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode("latin-1")
                )
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, host, port, limit=_MAX_REQUEST_BYTES)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def _answer(request_line: str, readiness: Readiness) -> tuple[str, str]:
    match request_line.split(" ")[:2]:
        case ["GET", "/live"]:
            return "200 OK", "live\n"
        case ["GET", "/ready"]:
            failing = await readiness.failing()
            return ("503 Service Unavailable", f"failing: {' '.join(failing)}\n") if failing else ("200 OK", "ready\n")
        case _:
            return "404 Not Found", "not found\n"
