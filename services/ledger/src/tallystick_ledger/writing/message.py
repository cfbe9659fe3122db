"""What the writer needs of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tallystick_chassis.bus import BusMessage


class Message(Protocol):
    """One delivery of the durable (``tallystick_chassis.bus.Delivery``)."""

    @property
    def subject(self) -> str: ...  # noqa: D102 - as in `bus.Delivery`
    @property
    def payload(self) -> bytes: ...  # noqa: D102 - as in `bus.Delivery`
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102 - as in `bus.Delivery`
    @property
    def delivered(self) -> int: ...  # noqa: D102 - as in `bus.Delivery`
    async def ack(self) -> None: ...  # noqa: D102 - as in `bus.Delivery`
    async def keep(self) -> None: ...  # noqa: D102 - as in `bus.Delivery`
    async def nak(self, delay_s: float) -> None: ...  # noqa: D102 - as in `bus.Delivery`


class Source(Protocol):
    """The durable ``ledger``."""

    async def fetch(self, limit: int, wait_s: float) -> Sequence[Message]:
        """Return what there is, or what comes within ``wait_s``."""


class ReceiptPublisher(Protocol):
    """Where receipts go."""

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:
        """Store all or none, or raise ``BusUnavailableError``."""


_RETRY_S = 1.0
_RETRY_MAX_S = 30.0


def backoff_s(message: Message) -> float:
    """Return how long the broker should keep a message that failed before it comes again."""
    return min(_RETRY_S * message.delivered**2, _RETRY_MAX_S)
