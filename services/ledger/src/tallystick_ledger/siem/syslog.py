"""Syslog over TLS (RFC 5424 in RFC 5425): each event one message, each message with its length before it.

Syslog knows no acknowledgement. What comes nearest to one is the end of the TLS connection: a receiver must answer our
close_notify with its own (RFC 5425, 4.4), and has read everything before that by then. So a batch has a connection of
its own, and counts as taken when it was closed in good order.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from tallystick_chassis.http.outbound import OutboundError

from tallystick_ledger.siem.domain import TAKEN, Outcome, Sent, read_address
from tallystick_ledger.siem.ocsf import HIGH, LOW, MEDIUM

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick_chassis.http.outbound import Outbound

    from tallystick_ledger.siem.domain import Batch, Destination
    from tallystick_ledger.siem.ocsf_bodies import Ocsf

_LOG_AUDIT: Final = 13
_INFORMATIONAL: Final = 6
_SEVERITIES: Final = {LOW: 5, MEDIUM: 4, HIGH: 2}
"""OCSF's severities as syslog's: notice, warning, critical."""
_CHUNK_BYTES: Final = 65_536


class SyslogReceiver:
    """Sends to syslog servers that a tenant named, if they are public or internal ones."""

    def __init__(self, *, outbound: Outbound, time_limit_s: float) -> None:
        self._outbound = outbound
        self._limit_s = time_limit_s

    async def send(self, destination: Destination, batch: Batch) -> Sent:
        """Send a batch; it was taken if the receiver ended the connection in good order after it."""
        try:
            async with asyncio.timeout(self._limit_s):
                await self._send(destination, b"".join(frame(event) for event in batch.events))
        except OutboundError as error:
            return Sent(Outcome.FAILED, str(error))
        except TimeoutError:
            return Sent(Outcome.FAILED, "no answer in time")
        except OSError:  # an ssl.SSLError is one
            return Sent(Outcome.FAILED, "no connection")
        return TAKEN

    async def _send(self, destination: Destination, frames: bytes) -> None:
        place = read_address(destination.address)
        address = await self._outbound.address(place.host, place.port)
        reader, writer = await asyncio.open_connection(address, place.port)
        try:
            connection = _Tls(reader, writer, self._outbound.tls, place.host)
            await connection.do(connection.tls.do_handshake)
            for start in range(0, len(frames), _CHUNK_BYTES):
                await connection.do(partial(connection.tls.write, frames[start : start + _CHUNK_BYTES]))
            await connection.do(connection.tls.unwrap)
        finally:
            writer.transport.abort()


class _Tls:
    """TLS over a connection whose end can be told: asyncio's own takes one that broke off for one that ended."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext, host: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)

    async def do(self, step: Callable[[], object]) -> None:
        """Do one thing with ``tls``, with as many exchanges as it takes.

        Raises:
            OSError: the other end broke off, or is not who it should be.
        """
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await self._reader.read(_CHUNK_BYTES):
                    self._received.write(data)
                else:
                    self._received.write_eof()
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        self._writer.write(self._to_send.read())
        await self._writer.drain()


def frame(event: Ocsf) -> bytes:
    """Return an event as a message of RFC 5424 with its length before it (RFC 5425's octet counting).

    The message is JSON in ASCII: UTF-8 would need a byte order mark, over which many readers of JSON stumble.
    """
    severity = _SEVERITIES.get(event["severity_id"], _INFORMATIONAL)
    product = event["metadata"]["product"]
    time = datetime.fromtimestamp(event["time"] / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message_id = f"OCSF-{event['class_uid']}-{event['activity_id']}"
    origin = f'[origin software="{product["name"]}" swVersion="{product["version"]}"]'
    text = json.dumps(event, separators=(",", ":"))
    message = f"<{_LOG_AUDIT * 8 + severity}>1 {time} - tallystick - {message_id} {origin} {text}".encode("ascii")
    return b"%d %s" % (len(message), message)
