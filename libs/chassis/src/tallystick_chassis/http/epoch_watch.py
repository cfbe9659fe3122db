"""Listening to identity's epochs, and listening anew by itself when nothing comes.

A client that says it is connected may hear nothing (measured: 19 seconds after a server's restart). So silence counts,
not the connection: after three seconds of it the connection is dropped and made anew, with back-off.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from tallystick_contracts.topology import EPOCH_SUBJECT

from tallystick_chassis.bus import BusUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick_chassis.bus import Bus
    from tallystick_chassis.http.session_memory import SessionMemory

SILENCE_S: Final = 3.0
_LOOK_S: Final = 0.25
_LONGEST_PATIENCE_S: Final = 12.0

log = structlog.get_logger(__name__)


class EpochWatch:
    """Feeds a memory. ``connect`` makes a connection that has not been used yet."""

    def __init__(self, memory: SessionMemory, connect: Callable[[], Bus]) -> None:
        self._memory = memory
        self._connect = connect

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until ``stop`` is set."""
        patience_s = SILENCE_S
        while not stop.is_set():
            heard = await self._listen(stop, patience_s)
            patience_s = SILENCE_S if heard else min(patience_s * 1.5, _LONGEST_PATIENCE_S)

    async def _listen(self, stop: asyncio.Event, patience_s: float) -> bool:
        """Listen on one connection until it has been silent for ``patience_s``; say whether anything came."""
        bus = self._connect()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            try:
                await bus.subscribe(EPOCH_SUBJECT, self._memory.hear)
            except BusUnavailableError as error:
                log.info("epoch_watch_waits", error=type(error).__name__)  # the bus goes on trying to connect
            while not stop.is_set():
                silent_s = min(self._memory.silent_s, loop.time() - began)
                if silent_s > patience_s:
                    log.warning("epoch_watch_silent", duration_ms=round(silent_s * 1000))
                    break
                await _wait(stop, _LOOK_S)
            return self._memory.silent_s < loop.time() - began
        finally:
            await bus.close()


async def _wait(stop: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await stop.wait()
    except TimeoutError:
        return
