"""NATS as Tallystick uses it: atomic batches into JetStream, pulls from a durable, core publish and subscribe.

The client reconnects for ever. A service's user may publish its own subjects alone and manages no stream, so nothing
here makes streams or durables.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import nats.errors
import structlog
from nats.js.api import Header
from tallystick_contracts.topology import PULL_EXPIRES_S, inbox_prefix

from tallystick_chassis.ids import new_id
from tallystick_chassis.metric_catalogue import CONSUMER_LAG
from tallystick_chassis.metrics import gauge, is_on
from tallystick_chassis.quick_client import QuickClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg

MAX_BATCH: Final = 500
"""Messages in one atomic batch; the server's own limit is 1,000."""

_CONNECT_WAIT_S: Final = 2.0
_PING_INTERVAL_S: Final = 3
_MAX_OUTSTANDING_PINGS: Final = 2
_STATUS_EXPIRED: Final = frozenset({"404", "408"})
_STATUS_CONFLICT: Final = "409"
_FATAL_CONFLICTS: Final = ("consumer deleted", "consumer is push based")

log = structlog.get_logger(__name__)


class BusUnavailableError(Exception):
    """NATS did not take or give messages in time; nothing is known to have been stored. Try again."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """A message to publish."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class _BatchError(msgspec.Struct, frozen=True):
    description: str = ""
    code: int = 0


class _BatchAck(msgspec.Struct, frozen=True):
    error: _BatchError | None = None
    stream: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that a durable delivered, to be acknowledged after its effect is committed."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    _message: Msg

    @property
    def delivered(self) -> int:
        """How often the server has delivered the message, this time included."""
        return int(self._message.metadata.num_delivered or 1)

    @property
    def pending(self) -> int:
        """How many more messages the durable had when the server delivered this one."""
        return int(self._message.metadata.num_pending or 0)

    async def ack(self) -> None:
        """Tell the server that the effect is committed. A lost acknowledgement means a duplicate, no more."""
        await self._send(self._message.ack)

    async def nak(self, delay_s: float) -> None:
        """Ask for the message again after ``delay_s`` seconds."""
        await self._send(lambda: self._message.nak(delay=delay_s))

    async def keep(self) -> None:
        """Tell the server that the message is being worked on: its time to be acknowledged begins anew."""
        await self._send(self._message.in_progress)

    async def term(self) -> None:
        """Tell the server never to deliver the message again."""
        await self._send(self._message.term)

    @staticmethod
    async def _send(action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except (nats.errors.Error, OSError) as error:
            # The message will come again; the inbox drops it.
            log.info("bus_answer_lost", error=type(error).__name__)


class Pull:
    """Messages of one durable. A request is kept open at the server, so a message comes as soon as it is stored."""

    def __init__(self, bus: Bus, *, stream: str, durable: str) -> None:
        """Name the durable; nothing is asked yet."""
        self._bus = bus
        self._request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._names = {"messaging.destination.name": stream, "messaging.consumer.group.name": durable}
        self._client: Client | None = None
        self._inbox = ""
        self._arrived: deque[Msg] = deque()
        self._wake = asyncio.Event()
        self._open = 0  # messages that the server may still send for our request
        self._expires_at = 0.0
        self._connection = -1  # the client's count of reconnects when the request was sent

    async def _arrive(self, message: Msg) -> None:
        self._arrived.append(message)
        self._wake.set()

    async def fetch(self, limit: int, wait_s: float) -> list[Delivery]:
        """Return up to ``limit`` messages: at once what is there, else the first within ``wait_s``, else nothing.

        Raises:
            BusUnavailableError: if NATS is away or has no such durable.

        """
        deadline = time.monotonic() + wait_s
        while True:
            deliveries = self._take(limit)
            if deliveries:
                if is_on():  # reading a message's metadata costs as much as taking it
                    gauge(CONSUMER_LAG, deliveries[-1].pending, self._names)
                return deliveries
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return []
            await self._request(limit)
            self._wake.clear()
            try:
                async with asyncio.timeout(min(remaining_s, 1.0)):
                    await self._wake.wait()
            except TimeoutError:
                gauge(CONSUMER_LAG, 0, self._names)  # the request stands, and nothing came
                continue

    async def close(self) -> None:
        """Give back what was delivered but not taken, so that another process need not wait for it."""
        while self._arrived:
            message = self._arrived.popleft()
            if not _status(message):
                await Delivery._send(message.nak)  # noqa: SLF001 - same module

    async def _request(self, limit: int) -> None:
        client = await self._bus.client()
        if client is not self._client:
            self._inbox, self._open = client.new_inbox(), 0
            await client.subscribe(self._inbox, cb=self._arrive)
            self._client = client
        reconnects = client.stats["reconnects"]
        if self._open > 0 and reconnects == self._connection and time.monotonic() < self._expires_at:
            return
        request = {"batch": limit, "expires": PULL_EXPIRES_S * 10**9}
        try:
            await client.publish(self._request_subject, json.dumps(request).encode(), reply=self._inbox)
        except (nats.errors.Error, OSError) as error:
            raise BusUnavailableError(type(error).__name__) from error
        self._open = limit
        self._connection = reconnects
        self._expires_at = time.monotonic() + PULL_EXPIRES_S + 1.0

    def _take(self, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while self._arrived and len(deliveries) < limit:
            message = self._arrived.popleft()
            status = _status(message)
            if not status:
                self._open -= 1
                deliveries.append(Delivery(message.subject, message.data, message.headers or {}, message))
                continue
            description = (message.headers or {}).get("Description", "")
            self._open = 0
            if status in _STATUS_EXPIRED:
                continue
            if status == _STATUS_CONFLICT and description.lower() not in _FATAL_CONFLICTS:
                continue
            if deliveries:
                self._arrived.appendleft(message)
                return deliveries
            msg = f"the durable answered {status} {description}"
            raise BusUnavailableError(msg)
        return deliveries


def _status(message: Msg) -> str | None:
    # A delivered message carries no body status: the server's own notices have a Status header and no reply subject.
    if message.reply or not message.headers:
        return None
    return message.headers.get(Header.STATUS)


def _in_batch(headers: Mapping[str, str], batch: str, number: int) -> dict[str, str]:
    return {**headers, Header.BATCH_ID.value: batch, Header.BATCH_SEQUENCE.value: str(number)}


class Bus:
    """One connection to NATS, as one service's user. It connects at its first use, and again for ever."""

    def __init__(self, url: str, *, name: str, seed: str | None = None, ca_file: Path | None = None) -> None:
        """Remember where to connect; nothing is sent yet.

        ``name`` is the service's name, also in its inbox prefix (``_INBOX_<name>``), ``seed`` its nkey seed,
        ``ca_file`` the authority of the server's certificate (for ``tls://``).
        """
        self._url = url
        self._name = name
        self._seed = seed
        self._ca_file = ca_file
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._hearers: list[tuple[str, Callable[[Msg], Awaitable[None]]]] = []

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands, as far as the client knows (a frozen server is noticed after about 10 s)."""
        return self._client is not None and bool(self._client.is_connected)

    async def client(self) -> Client:
        """Return the connected client; wait up to 2 s for it.

        Raises:
            BusUnavailableError: if it is not connected by then. It goes on trying.

        """
        if self._client is None or self._connecting is None or self._client.is_closed:
            self._client = QuickClient()
            self._connecting = asyncio.create_task(self._connect(self._client))
        if not self._connecting.done():
            await asyncio.wait({self._connecting}, timeout=_CONNECT_WAIT_S)
        if self._connecting.done() and (error := self._connecting.exception()) is not None:
            self._client = None
            raise BusUnavailableError(type(error).__name__) from error
        if not self._client.is_connected:
            msg = "not connected"
            raise BusUnavailableError(msg)
        return self._client

    async def _connect(self, client: Client) -> None:
        await client.connect(
            self._url,
            name=self._name,
            inbox_prefix=inbox_prefix(self._name),
            nkeys_seed_str=self._seed,
            tls=ssl.create_default_context(cafile=str(self._ca_file)) if self._ca_file else None,
            error_cb=_on_error,
            disconnected_cb=_on_disconnected,
            reconnected_cb=_on_reconnected,
            connect_timeout=2,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,
            ping_interval=_PING_INTERVAL_S,
            max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
        )
        for subject, heard in self._hearers:
            await client.subscribe(subject, cb=heard)

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:
        """Store ``messages`` (1 to 500, of one stream) in order, all or none (ADR-50, header ``Nats-Batch-Id``).

        Raises:
            BusUnavailableError: if the server did not confirm within ``timeout_s``. It may still have stored them.
            ValueError: if there are none or too many.

        """
        if not 0 < len(messages) <= MAX_BATCH:
            msg = f"a batch has 1 to {MAX_BATCH} messages, not {len(messages)}"
            raise ValueError(msg)
        client = await self.client()
        batch = new_id().hex
        try:
            async with asyncio.timeout(timeout_s):
                for number, message in enumerate(messages[:-1], start=1):
                    await client.publish(
                        message.subject, message.payload, headers=_in_batch(message.headers, batch, number)
                    )
                last = messages[-1]
                headers = {**_in_batch(last.headers, batch, len(messages)), Header.BATCH_COMMIT.value: "1"}
                answer = await client.request(last.subject, last.payload, timeout=timeout_s, headers=headers)
        except (nats.errors.Error, OSError) as error:
            raise BusUnavailableError(type(error).__name__) from error
        try:
            ack = msgspec.json.decode(answer.data, type=_BatchAck)
        except msgspec.DecodeError as error:
            msg = "the server's answer is not an acknowledgement"
            raise BusUnavailableError(msg) from error
        if ack.error is not None or not ack.seq:
            msg = f"the server refused the batch: {ack.error.code if ack.error else 'no sequence'}"
            raise BusUnavailableError(msg)

    async def publish(self, message: BusMessage) -> None:
        """Publish without JetStream's word on it: who listens hears it, nobody else.

        Raises:
            BusUnavailableError: if there is no connection.

        """
        client = await self.client()
        try:
            await client.publish(message.subject, message.payload, headers=dict(message.headers) or None)
        except (nats.errors.Error, OSError) as error:
            raise BusUnavailableError(type(error).__name__) from error

    async def subscribe(self, subject: str, hear: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Call ``hear(subject, payload)`` for each core message on ``subject``, one at a time, across reconnects.

        Raises:
            BusUnavailableError: if there is no connection yet; it will hear all the same once there is.

        """

        async def heard(message: Msg) -> None:
            await hear(message.subject, message.data)

        connected = self._connecting is not None and self._connecting.done()
        self._hearers.append((subject, heard))
        client = await self.client()
        if connected:
            await client.subscribe(subject, cb=heard)

    def pull(self, *, stream: str, durable: str) -> Pull:
        """Return the messages of an existing durable; nothing is asked of the server until the first ``fetch``."""
        return Pull(self, stream=stream, durable=durable)

    async def close(self) -> None:
        """Send what is pending and close; a later use connects anew."""
        client, connecting = self._client, self._connecting
        self._client = self._connecting = None
        if connecting is not None and not connecting.done():
            connecting.cancel()
            await asyncio.wait({connecting})
        if client is None or client.is_closed:
            return
        try:
            if client.is_connected:
                await client.flush(timeout=1)
        except (nats.errors.Error, OSError):
            log.info("bus_flush_lost")
        await client.close()


async def _on_error(error: Exception) -> None:
    log.warning("bus_error", error=type(error).__name__)


async def _on_disconnected() -> None:
    log.warning("bus_disconnected")


async def _on_reconnected() -> None:
    log.info("bus_reconnected")
