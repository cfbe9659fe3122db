"""`revocation`: from the commit that ends a session until a service that follows identity's epochs has forgotten it.

A real Postgres and a real NATS with TLS and an account for each service. The announcer runs at the worker's interval;
revocations fall at random moments within it.
"""

import asyncio
import os
import random
from contextlib import suppress
from datetime import timedelta
from statistics import quantiles
from time import perf_counter
from typing import Final
from uuid import UUID, uuid4

import uvloop
from sqlalchemy import text
from tallystick_chassis.bus import Bus, BusUnavailableError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.epoch_watch import EpochWatch
from tallystick_chassis.http.epochs import decode_announcement
from tallystick_chassis.http.session_memory import SessionMemory
from tallystick_chassis.ids import TenantId
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime
from tallystick_chassis.settings import load_settings
from tallystick_cli.stack.temporary import RunningServers, running_servers
from tallystick_contracts.topology import ServiceName
from tallystick_identity.app import EPOCH_INTERVAL_S, SERVICE
from tallystick_identity.bootstrap import create_tenant
from tallystick_identity.epochs.announcer import EpochAnnouncer
from tallystick_identity.sessions import store
from tallystick_identity.sessions.domain import Session
from tallystick_identity.settings import IdentitySettings

from bench.measure import Measure, Result, result

GOAL: Final = 1.0
LIMIT_MS: Final = 100.0
_PERSON: Final = "p_0123456789abcdefghijkl"
_INSERT_PERSON: Final = text(
    "insert into identity.people (tenant_id, id, org_unit_id, person, key_id, created_at) "
    "values (:tenant, gen_random_uuid(), :tenant, :person, 'bench', now())"
)


class _Listening(SessionMemory):
    """A memory that says when it heard of a session."""

    def __init__(self) -> None:
        super().__init__(clock=utc_now)
        self.heard: dict[str, asyncio.Event] = {}

    async def hear(self, subject: str, payload: bytes) -> None:
        await super().hear(subject, payload)
        for epoch in decode_announcement(payload).epochs:
            if epoch.subject in self.heard:
                self.heard.pop(epoch.subject).set()


def take() -> Result:
    """End TALLY_BENCH_REVOCATIONS sessions (1,000) one after the other; the 99th percentile of the delays."""
    number = int(os.environ.get("TALLY_BENCH_REVOCATIONS", "1000"))
    with running_servers() as servers:
        databases = servers.fresh_databases()
        databases.migrate(ServiceName.IDENTITY)
        settings = load_settings(IdentitySettings, databases.environment(ServiceName.IDENTITY))
        delays_ms = uvloop.run(_measure(servers, make_runtime(SERVICE, settings), number))
    return result(
        name="revocation",
        value=quantiles(delays_ms, n=100)[98],
        unit="ms, p99",
        reference="the limit, in ms",
        reference_value=LIMIT_MS,
        goal=GOAL,
        better="lower",
    )


async def _measure(servers: RunningServers, runtime: Runtime, number: int) -> list[float]:
    tenant = await create_tenant(runtime, slug="bench", name="Bench")
    scope = Scope.for_duty(tenant, "identity")
    async with runtime.database.transaction(scope) as tx:
        await tx.execute(_INSERT_PERSON, {"tenant": tenant, "person": _PERSON})
    memory, stop = _Listening(), asyncio.Event()
    bus = bus_of(servers, "identity")
    tasks = [
        asyncio.create_task(_announce(EpochAnnouncer(duty=runtime.duty, bus=bus, clock=utc_now), stop)),
        asyncio.create_task(EpochWatch(memory, lambda: bus_of(servers, "assessment")).run(stop)),
    ]
    try:
        while not memory.is_fresh:  # noqa: ASYNC110 - freshness is a matter of time
            await asyncio.sleep(0.05)
        return [await _delay_ms(runtime, tenant, memory) for _ in range(number)]
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        await bus.close()
        await runtime.close()


async def _delay_ms(runtime: Runtime, tenant: TenantId, memory: _Listening) -> float:
    now = utc_now()
    reference = f"s_{uuid4().hex}"
    session = Session(
        id=UUID(int=random.getrandbits(128)),
        person=_PERSON,
        session_ref=reference,
        token_version=1,
        amr=("otp",),
        refresh_hash=bytes(32),
        previous_hash=None,
        refreshed_at=now,
        created_at=now,
        expires_at=now + timedelta(hours=1),
        ended_at=None,
    )
    scope = Scope.for_duty(tenant, "identity")
    async with runtime.database.transaction(scope) as tx:
        await store.insert_session(tx, session)
    await asyncio.sleep(random.random() * EPOCH_INTERVAL_S)  # noqa: S311 - a moment of the interval
    heard = memory.heard[reference] = asyncio.Event()
    async with runtime.database.transaction(scope) as tx:
        await store.end_session(tx, reference, reason="logout", now=now)
    begin = perf_counter()
    async with asyncio.timeout(10):
        await heard.wait()
    return (perf_counter() - begin) * 1_000


async def _announce(announcer: EpochAnnouncer, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with suppress(BusUnavailableError):
            await announcer.step()
        await asyncio.sleep(EPOCH_INTERVAL_S)


def bus_of(servers: RunningServers, user: str) -> Bus:
    """Return a connection to NATS as one of its users; it is made at its first use."""
    seed = servers.nats_seed(user).read_text()
    return Bus(servers.nats_url, name=user, seed=seed, ca_file=servers.ca_file)


MEASURE: Final = Measure("revocation", take)
