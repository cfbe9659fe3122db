"""Steps of a main job: what has to hold, at once or before long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_SETTLE_S = 60.0
_POLL_S = 0.1


class StepFailed(Exception):
    """A step did not hold. The text says what was expected and what was seen."""


def require(condition: object, otherwise: str) -> None:
    """Go on only if ``condition`` holds.

    Raises:
        StepFailed: with ``otherwise``.
    """
    if not condition:
        raise StepFailed(otherwise)


async def eventually(
    check: Callable[[], Awaitable[T | None]], what: str, *, within_s: float = _SETTLE_S, every_s: float = _POLL_S
) -> T:
    """Wait until ``check`` gives something; fail loudly when it does not in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        found = await check()
        if found:
            return found
        require(asyncio.get_running_loop().time() < deadline, f"{what} did not happen within {within_s:.0f} s")
        await asyncio.sleep(every_s)
