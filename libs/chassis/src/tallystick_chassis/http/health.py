"""Health and readiness: is the process alive, and should requests be sent to it now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from litestar import Response, get

from tallystick_chassis.http.openapi import ALSO
from tallystick_chassis.metric_catalogue import CHECK_FAILING
from tallystick_chassis.metrics import gauge
from tallystick_chassis.telemetry import get_log

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

CHECK_TIMEOUT_S = 3.0

Check = Callable[[], Awaitable[None]]
"""A readiness check: it returns when the part works and raises when it does not."""


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str
    version: str


class ReadinessAnswer(msgspec.Struct, frozen=True):
    """Whether requests should come, and the names of the parts that fail."""

    status: str
    failing: tuple[str, ...]


class Readiness:
    """Named checks, and the switch that shutdown flips so that no new requests are sent here."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self.draining = False

    async def failing(self) -> tuple[str, ...]:
        """Return the names of the parts that do not work now, in order; ``draining`` during shutdown."""
        if self.draining:
            return ("draining",)
        names = sorted(self._checks)
        worked = await asyncio.gather(*(self._works(name) for name in names))
        return tuple(name for name, works in zip(names, worked, strict=True) if not works)

    async def _works(self, name: str) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await self._checks[name]()
        except Exception:  # noqa: BLE001 - whatever a check raises means: not ready
            get_log().warning("readiness_failed", check=name, exc_info=True)
            gauge(CHECK_FAILING, 1, {"tallystick.check": name})
            return False
        gauge(CHECK_FAILING, 0, {"tallystick.check": name})
        return True


def health_routes(readiness: Readiness, version: str) -> tuple[HTTPRouteHandler, HTTPRouteHandler]:
    """Return ``GET /api/v1/health`` and ``GET /ready``."""

    @get("/api/v1/health", opt={"public": True})
    async def health() -> Health:
        """Say that the process answers, and its version."""
        return Health(status="ok", version=version)

    @get("/ready", opt={"public": True, ALSO: {HTTPStatus.SERVICE_UNAVAILABLE: ("application/json",)}})
    async def ready() -> Response[ReadinessAnswer]:
        """Say whether requests may be sent here, and which parts fail if not."""
        failing = await readiness.failing()
        answer = ReadinessAnswer(status="failing" if failing else "ready", failing=failing)
        return Response(answer, status_code=503 if failing else 200)

    return health, ready
