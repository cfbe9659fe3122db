"""Kill -9 for every process of the system, one after the other, while requests are under way."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick_cli.cluster.steps import StepFailed, require
from tallystick_cli.stack import status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallystick_cli.cluster.person import Traffic
    from tallystick_cli.stack.layout import Layout

SPARED = frozenset({"mail"})
"""The local mail server is the demo's tool, not a part of the system."""
_BACK_WITHIN_S = 30.0
_TRAFFIC_WITHIN_S = 20.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL: whom, how many requests were under way, and how long until a new process stood in its place."""

    program: str
    in_flight: int
    back_after_s: float


class Chaos:
    """Kills each program once, with ``pause_s`` between."""

    def __init__(self, layout: Layout, traffic: Traffic, *, pause_s: float, tell: Callable[[str], None]) -> None:
        self._layout = layout
        self._traffic = traffic
        self._pause_s = pause_s
        self._tell = tell
        self.kills: list[Kill] = []

    def victims(self) -> Sequence[str]:
        """Return all programs that are to die, servers in the middle of the services."""
        names = [name for name in status.read(self._layout).programs if name not in SPARED]
        servers = [name for name in names if name in {"postgres", "nats"}]
        services = [name for name in names if name not in servers]
        middle = len(services) // 2
        return [*services[:middle], *servers, *services[middle:]]

    async def run(self) -> None:
        """Kill all of them, one by one, each while requests are under way."""
        for program in self.victims():
            await asyncio.sleep(self._pause_s)
            await self._kill(program)

    async def _kill(self, program: str) -> None:
        waiting_since = time.monotonic()
        while self._traffic.in_flight == 0:
            require(
                time.monotonic() - waiting_since < _TRAFFIC_WITHIN_S,
                f"{program} was to be killed under load, but there was no load",
            )
            await asyncio.sleep(_POLL_S)
        victim = status.read(self._layout).programs[program].pid
        if victim is None:
            msg = f"{program} was not running when it was to be killed"
            raise StepFailed(msg)
        in_flight = self._traffic.in_flight
        os.kill(victim, signal.SIGKILL)
        died = time.monotonic()
        while True:
            now = status.read(self._layout).programs[program].pid
            if now is not None and now != victim:
                break
            require(time.monotonic() - died < _BACK_WITHIN_S, f"{program} did not come back after SIGKILL")
            await asyncio.sleep(_POLL_S)
        kill = Kill(program, in_flight, time.monotonic() - died)
        self.kills.append(kill)
        self._tell(f"SIGKILL {program}, requests under way: {in_flight}, a new process after {kill.back_after_s:.1f} s")
