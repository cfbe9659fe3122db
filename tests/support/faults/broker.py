"""A broker in memory that does whatever brokers may: deliver twice, late, in another order, and what is no event.

It takes the places of ``Bus`` and ``Pull``. Each use of it is a place where the process may die (``Fuse``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from tallystick_chassis.bus import BusMessage


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing may catch it."""


class Fuse:
    """Burns down by one at every place where the process may die, and lets it die at the end."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.place = ""
        self.crashes = 0

    def light(self, places: int) -> None:
        """Die at the ``places``-th place from now."""
        self.left, self.place = places, ""

    def at(self, place: str) -> None:
        """Die whenever this place is reached next."""
        self.left, self.place = None, place

    def burn(self, place: str) -> None:
        """Be at ``place``."""
        if self.left is not None:
            self.left -= 1
        if self.left == 0 or self.place == place:
            self.left, self.place = None, ""
            self.crashes += 1
            raise Crash(place)


@dataclass(frozen=True)
class Weather:
    """How bad the broker is: probabilities for each message of a fetch."""

    twice: float = 0.0
    late: float = 0.0
    shuffled: bool = False


@dataclass
class Stored:
    """A message that the broker keeps until it is acknowledged."""

    message: BusMessage
    delivered: int = 0
    in_hand: bool = False


@dataclass
class Delivery:
    """One delivery of it."""

    broker: Broker
    stored: Stored
    delivered: int

    @property
    def subject(self) -> str:
        return self.stored.message.subject

    @property
    def payload(self) -> bytes:
        return self.stored.message.payload

    @property
    def headers(self) -> Mapping[str, str]:
        return self.stored.message.headers

    async def ack(self) -> None:
        self.broker.fuse.burn("before acknowledgement")
        self.broker.forget(self.stored)
        self.broker.fuse.burn("after acknowledgement")

    async def keep(self) -> None:
        """Nothing is taken back here while it is in hand."""

    async def nak(self, delay_s: float) -> None:  # noqa: ARG002 - the delivery's own signature
        self.stored.in_hand = False

    async def term(self) -> None:
        self.broker.forget(self.stored)


@dataclass
class Pull:
    """The durable of one kind of subject (``evt``, ``rcpt``)."""

    broker: Broker
    kind: str

    async def fetch(self, limit: int, wait_s: float) -> list[Delivery]:  # noqa: ARG002 - the pull's own signature
        """Return what waits, as the weather has it."""
        luck, weather = self.broker.luck, self.broker.weather
        waiting = [one for one in self.broker.kept if not one.in_hand and self._is_ours(one)]
        taken = [one for one in waiting[:limit] if luck.random() >= weather.late]
        taken += [one for one in taken if luck.random() < weather.twice]
        if weather.shuffled:
            luck.shuffle(taken)
        for one in taken:
            one.in_hand = True
            one.delivered += 1
        return [Delivery(self.broker, one, one.delivered) for one in taken]

    def _is_ours(self, one: Stored) -> bool:
        return one.message.subject.split(".")[0] == self.kind


@dataclass
class Broker:
    """Everything published and not yet acknowledged; publish by ``publish_batch``, read by ``pull``."""

    luck: random.Random
    fuse: Fuse = field(default_factory=Fuse)
    weather: Weather = field(default_factory=Weather)
    kept: list[Stored] = field(default_factory=list)

    async def publish_batch(self, messages: Sequence[BusMessage], *, timeout_s: float) -> None:  # noqa: ARG002 - the bus's own signature
        """Store them all."""
        kind = messages[0].subject.split(".")[0]
        self.fuse.burn(f"before publishing {kind}")
        self.kept += [Stored(message) for message in messages]
        self.fuse.burn(f"after publishing {kind}")

    def pull(self, kind: str) -> Pull:
        """Read messages whose subject begins with ``kind``."""
        return Pull(self, kind)

    def forget(self, stored: Stored) -> None:
        """Delete a message, unless that was done."""
        self.kept = [one for one in self.kept if one is not stored]

    def take_back(self) -> None:
        """The reader is dead: what it had in hand waits again."""
        for one in self.kept:
            one.in_hand = False

    def wipe(self) -> None:
        """Lose everything."""
        self.kept.clear()
