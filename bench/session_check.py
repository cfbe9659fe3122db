"""`session_check`: an endpoint behind the session check against the same one without it.

Both read one row in a scoped transaction on a real Postgres; both pass the whole application: edge, guard, problem
handling, log line. The one that is checked has its token's signature and times looked at, and the session recalled from
a memory that identity's announcements keep fresh. Public routes have a budget, which costs a transaction of its own;
here they have none, for it is not what is compared. No socket and no HTTP parser stand between, so nothing makes the
check look smaller than it is. In turns, eight requests at a time.
"""

import asyncio
import base64
import io
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID, uuid4

import msgspec
import structlog
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import get
from sqlalchemy import text
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http import route_limits
from tallystick_chassis.http.app import create_app
from tallystick_chassis.http.introspection import RemoteAuthenticator
from tallystick_chassis.http.session_memory import SessionMemory
from tallystick_chassis.ids import TenantId
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime, Service, Wiring
from tallystick_chassis.settings import Settings, load_settings
from tallystick_chassis.telemetry import keep_allowed
from tallystick_cli.stack.temporary import Databases, running_servers
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.topology import ServiceName

from bench.measure import Measure, Result, result
from bench.session import ANNOUNCE_S, Identity, announcement, session_cookie

GOAL: Final = 0.85
_AT_ONCE: Final = 8
_A_TURN: Final = 200
_TENANT: Final = TenantId(uuid4())
_READ: Final = text("select count(*) from pg_catalog.pg_namespace")

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class _Count(msgspec.Struct, frozen=True):
    count: int


async def _read(runtime: Runtime, scope: Scope) -> _Count:
    async with runtime.database.transaction(scope) as tx:
        return _Count((await tx.execute(_READ)).scalar_one())


@get("/api/v1/ledger/bench", opt={"capability": Capability.LEDGER_READ})
async def checked(tenant_scope: Scope, runtime: Runtime) -> _Count:
    """Read behind the session check."""
    return await _read(runtime, tenant_scope)


# The ledger's three public routes, as its frozen list demands; the first is the reference.
@get("/open/logs/{log_id:uuid}/checkpoint", opt={"public": True})
async def unchecked(log_id: UUID, runtime: Runtime) -> _Count:
    """Read without a session."""
    return await _read(runtime, Scope.for_duty(TenantId(log_id), "ledger"))


@get("/open/logs/{log_id:uuid}/vkey", opt={"public": True})
async def vkey(log_id: UUID) -> None:
    """Answer nothing: a route that the list wants."""
    del log_id


@get("/open/logs/{log_id:uuid}/tile/{name:path}", opt={"public": True})
async def tile(log_id: UUID, name: str) -> None:
    """Answer nothing: a route that the list wants."""
    del log_id, name


def take() -> Result:
    """Take TALLY_BENCH_TURNS turns (30) of 200 requests each and compare the medians."""
    turns = int(os.environ.get("TALLY_BENCH_TURNS", "30"))
    structlog.configure(
        processors=[keep_allowed, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(io.StringIO()),
        cache_logger_on_first_use=False,
    )
    with (
        running_servers() as servers,
        tempfile.TemporaryDirectory() as folder,
        patch.object(route_limits, "ROUTE_BUDGETS", {}),
    ):
        databases = servers.fresh_databases()
        with_s, without_s = uvloop.run(_measure(databases, Path(folder), turns))
    return result(
        name="session_check",
        value=_A_TURN / median(with_s),
        unit="requests/s",
        reference="the same endpoint without a session",
        reference_value=_A_TURN / median(without_s),
        goal=GOAL,
    )


async def _measure(databases: Databases, folder: Path, turns: int) -> tuple[list[float], list[float]]:
    jwks = made_jwks()
    (folder / "jwks.json").write_bytes(jwks)
    environment = {
        **databases.environment(ServiceName.LEDGER),
        "TALLY_SESSION_JWKS_FILE": str(folder / "jwks.json"),
    }
    service = Service("ledger", "tallystick_ledger", Settings, lambda _: Wiring())
    runtime = make_runtime(service, load_settings(Settings, environment))
    memory = SessionMemory(clock=utc_now)
    authenticator = RemoteAuthenticator(Identity(_TENANT), memory)  # type: ignore[arg-type] # has the method that is used
    wiring = Wiring(routes=[checked, unchecked, vkey, tile], authenticator=authenticator)
    app = create_app(service, runtime, wiring)
    announcing = asyncio.create_task(_announce(memory))
    try:
        with_s, without_s = [], []
        cookie = [(b"cookie", session_cookie(jwks, _TENANT).encode())]
        for number in range(-3, turns):
            begin = perf_counter()
            await turn_of_requests(app, "/api/v1/ledger/bench", cookie)
            between = perf_counter()
            await turn_of_requests(app, f"/open/logs/{_TENANT}/checkpoint", [])
            end = perf_counter()
            if number >= 0:
                with_s.append(between - begin)
                without_s.append(end - between)
    finally:
        announcing.cancel()
        await runtime.close()
    return with_s, without_s


async def _announce(memory: SessionMemory) -> None:
    while True:
        await memory.hear("", announcement())
        await asyncio.sleep(ANNOUNCE_S)


async def turn_of_requests(app: Asgi, path: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Send 200 requests, eight at a time."""

    async def some() -> None:
        for _ in range(_A_TURN // _AT_ONCE):
            await _request(app, path, headers)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))


async def _request(app: Asgi, path: str, headers: list[tuple[bytes, bytes]]) -> None:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message.get("status", 200) != 200:  # noqa: PLR2004 - HTTP's own number
            raise RuntimeError(message["status"])

    await app(scope, receive, send)


def made_jwks() -> bytes:
    """Return a private key set with one fresh key."""
    key = Ed25519PrivateKey.generate()
    parts = {"x": key.public_key().public_bytes_raw(), "d": key.private_bytes_raw()}
    encoded = {name: base64.urlsafe_b64encode(raw).rstrip(b"=").decode() for name, raw in parts.items()}
    return msgspec.json.encode({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "bench", **encoded}]})


MEASURE: Final = Measure("session_check", take)
