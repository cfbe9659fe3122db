"""Announce epochs: at once when something changed, and twice a second in any case."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from tallystick_chassis.bus import BusMessage
from tallystick_chassis.http.epochs import ANNOUNCE_INTERVAL_S, MAX_EPOCHS, Announcement, encode_announcement
from tallystick_contracts.topology import EPOCH_SUBJECT

from tallystick_identity.epochs.store import anything_waits, lock_head, take_waiting

if TYPE_CHECKING:
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import DutyDatabase


class _Speaker(Protocol):
    async def publish(self, message: BusMessage) -> None: ...


class EpochAnnouncer:
    """Takes what waits, publishes it, and commits that it is taken: in this order, under the lock of the head.

    Killed after publishing, it says the same again, and whoever heard it has another count and forgets everything.
    Killed before, nothing was taken. Two processes are never inside at once, so announcements go out in their order.
    """

    def __init__(self, *, duty: DutyDatabase, bus: _Speaker, clock: Clock) -> None:
        self._duty = duty
        self._bus = bus
        self._clock = clock
        self._due_at = float("-inf")

    async def step(self) -> bool:
        """Announce if something waits or the time has come; ``True`` when more waits.

        Raises:
            BusUnavailableError: if NATS is away. What was to be announced waits on.
        """
        at = self._clock().timestamp()  # before reading: what committed by then is in it
        if time.monotonic() < self._due_at:
            async with self._duty.glance() as duty:
                if not await anything_waits(duty):
                    return False
        async with self._duty.duty() as duty:
            previous = await lock_head(duty)
            if previous is None:
                return False
            epochs = await take_waiting(duty)
            announcement = Announcement(at, previous, previous + len(epochs), epochs)
            await self._bus.publish(BusMessage(EPOCH_SUBJECT, encode_announcement(announcement)))
        self._due_at = time.monotonic() + ANNOUNCE_INTERVAL_S
        return len(epochs) == MAX_EPOCHS
