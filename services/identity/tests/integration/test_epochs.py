"""Whatever ends a session or moves a capability is announced; what is lost on the way makes nobody believe a lie."""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from faults.freezing import frozen
from sqlalchemy import text
from tallystick_chassis.bus import Bus, BusMessage, BusUnavailableError
from tallystick_chassis.clock import utc_now
from tallystick_chassis.http.epoch_watch import EpochWatch
from tallystick_chassis.http.epochs import FRESH_S, Announcement, Epoch, EpochScope, decode_announcement
from tallystick_chassis.http.introspection import Introspection, RemoteAuthenticator
from tallystick_chassis.http.problems import Unavailable
from tallystick_chassis.http.service_client import ServiceCallError
from tallystick_chassis.http.session_memory import SessionMemory
from tallystick_cli.stack.temporary import RunningServers, running_servers
from tallystick_identity.epochs.announcer import EpochAnnouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx
    from tallystick_cli.stack.child import Child

    from conftest import Identity

SESSION_COOKIE = "__Host-tally_session"


class Notebook:
    """Notes what is published; breaks when told to."""

    def __init__(self) -> None:
        self.said: list[Announcement] = []
        self.broken = False

    async def publish(self, message: BusMessage) -> None:
        if self.broken:
            raise BusUnavailableError
        self.said.append(decode_announcement(message.payload))


async def announced(identity: Identity, tenant: UUID) -> set[tuple[EpochScope, str]]:
    """Announce what waits; return what of it is the tenant's."""
    notebook = Notebook()
    announcer = EpochAnnouncer(duty=identity.runtime.duty, bus=notebook, clock=utc_now)
    while await announcer.step():
        pass
    return {(one.scope, one.subject) for said in notebook.said for one in said.epochs if one.tenant == tenant}


def session_of(client: httpx.AsyncClient) -> str:
    claims = client.cookies[SESSION_COOKIE].split(".")[1]
    return str(msgspec.json.decode(_unpadded(claims))["sid"])


def _unpadded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.control("AC-05")
async def test_each_change_that_matters_leaves_its_epoch_in_its_own_transaction(identity: Identity):
    tenant = await identity.new_tenant()
    admin = await identity.signed_in(tenant)
    person = await identity.new_person(admin, f"p@{tenant.slug}.example")
    await announced(identity, tenant.id)

    grant = await identity.grant(admin, person["id"], "auditor", str(tenant.id))
    assert await announced(identity, tenant.id) == {(EpochScope.PERSON, person["person"])}
    await identity.command(admin, "DELETE", f"identity/grants/{grant['id']}")
    assert await announced(identity, tenant.id) == {(EpochScope.PERSON, person["person"])}
    roles = (await admin.get("/api/v1/identity/roles")).json()["roles"]
    auditor = next(role for role in roles if role["name"] == "auditor")
    await identity.command(admin, "PUT", f"identity/roles/{auditor['id']}", {"capabilities": []})
    assert await announced(identity, tenant.id) == {(EpochScope.TENANT, str(tenant.id))}
    await identity.new_unit(admin, "north")
    assert await announced(identity, tenant.id) == {(EpochScope.TENANT, str(tenant.id))}
    other = await identity.signed_in(tenant, f"p@{tenant.slug}.example")
    ended = session_of(other)
    assert await announced(identity, tenant.id) == set(), "nobody remembers a session that begins"
    await other.post("/session/refresh")
    assert await announced(identity, tenant.id) == set(), "nor does it matter that one goes on"
    await identity.command(other, "POST", "auth/logout")
    assert await announced(identity, tenant.id) == {(EpochScope.SESSION, ended)}
    await identity.command(admin, "POST", f"identity/people/{person['id']}/sessions/end")
    assert (EpochScope.PERSON, person["person"]) in await announced(identity, tenant.id)
    await identity.command(admin, "DELETE", f"identity/people/{person['id']}")
    assert (EpochScope.PERSON, person["person"]) in await announced(identity, tenant.id)


async def test_a_change_that_is_rolled_back_is_not_announced(identity: Identity):
    tenant = await identity.new_tenant()
    await announced(identity, tenant.id)
    with suppress(ZeroDivisionError):
        async with identity.transaction(tenant.id) as tx:
            await tx.execute(text("update identity.people set token_version = token_version + 1"))
            raise ZeroDivisionError
    assert await announced(identity, tenant.id) == set()


async def test_an_announcement_that_could_not_be_made_is_made_later(identity: Identity):
    tenant = await identity.new_tenant()
    await announced(identity, tenant.id)
    async with identity.transaction(tenant.id) as tx:
        await tx.execute(text("update identity.people set token_version = token_version + 1"))
    notebook = Notebook()
    announcer = EpochAnnouncer(duty=identity.runtime.duty, bus=notebook, clock=utc_now)
    notebook.broken = True
    with pytest.raises(BusUnavailableError):
        await announcer.step()
    notebook.broken = False
    await announcer.step()
    assert len(notebook.said[0].epochs) == 1
    assert notebook.said[0].number == notebook.said[0].previous + 1


async def test_of_two_announcers_one_speaks_at_a_time_and_their_counts_follow_each_other(identity: Identity):
    tenant = await identity.new_tenant()
    notebook = Notebook()
    both = [EpochAnnouncer(duty=identity.runtime.duty, bus=notebook, clock=utc_now) for _ in range(2)]
    for _ in range(20):
        async with identity.transaction(tenant.id) as tx:
            await tx.execute(text("update identity.people set token_version = token_version + 1"))
        await asyncio.gather(*(announcer.step() for announcer in both))
    pairs = zip(notebook.said, notebook.said[1:], strict=False)
    assert all(later.previous == earlier.number for earlier, later in pairs)
    assert notebook.said[-1].number - notebook.said[0].previous == sum(len(said.epochs) for said in notebook.said)


# From here on a broker that is killed and frozen.


@pytest.fixture(scope="module")
def servers() -> Iterator[RunningServers]:
    with running_servers() as running:
        yield running


@dataclass
class Follower:
    """A service beside identity: its memory, its watch, and its way to ask."""

    identity: Identity
    memory: SessionMemory
    service: RemoteAuthenticator
    asked: int = 0
    identity_is_down: bool = False

    async def call(self, *_: Any, body: Any, **__: Any) -> Introspection:
        self.asked += 1
        if self.identity_is_down:
            raise ServiceCallError(self.identity.runtime.service, None)
        return await self.identity.parts.introspector.authenticate(body.token)

    async def until_fresh(self) -> float:
        began = time.monotonic()
        async with asyncio.timeout(20):
            while not self.memory.is_fresh:  # noqa: ASYNC110 - freshness is a matter of time, not of an event
                await asyncio.sleep(0.01)
        return time.monotonic() - began


@asynccontextmanager
async def following(identity: Identity, servers: RunningServers) -> AsyncIterator[Follower]:
    def connect(user: str) -> Bus:
        seed = servers.nats_seed(user).read_text()
        return Bus(servers.nats_url, name=user, seed=seed, ca_file=servers.ca_file)

    stop = asyncio.Event()
    bus = connect("identity")
    announcer = EpochAnnouncer(duty=identity.runtime.duty, bus=bus, clock=utc_now)

    async def announce() -> None:
        while not stop.is_set():
            with suppress(BusUnavailableError):
                await announcer.step()
            await asyncio.sleep(0.02)

    memory = SessionMemory(clock=utc_now)
    follower = Follower(identity, memory, None)  # type: ignore[arg-type] # set in the next line
    follower.service = RemoteAuthenticator(follower, memory)  # type: ignore[arg-type] # it has the method that is used
    tasks = [
        asyncio.create_task(announce()),
        asyncio.create_task(EpochWatch(memory, lambda: connect("assessment")).run(stop)),
    ]
    try:
        await follower.until_fresh()
        yield follower
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        await bus.close()


async def refused_after(follower: Follower, token: str) -> float:
    began = time.monotonic()
    async with asyncio.timeout(10):
        while (await follower.service.authenticate(token)).active:  # noqa: ASYNC110 - a browser that comes again
            await asyncio.sleep(0.005)
    return time.monotonic() - began


async def visitor(follower: Follower) -> tuple[httpx.AsyncClient, str]:
    """Return somebody whom the follower remembers, with nothing left to be announced about them."""
    client = await follower.identity.signed_in(await follower.identity.new_tenant())
    token = client.cookies[SESSION_COOKIE]
    recalled = 0
    async with asyncio.timeout(20):
        while recalled < 5:
            asked = follower.asked
            assert (await follower.service.authenticate(token)).active
            recalled = recalled + 1 if follower.asked == asked else 0
            await asyncio.sleep(0.1)
    return client, token


@pytest.mark.control("AC-05")
async def test_a_revoked_session_is_refused_within_a_second(identity: Identity, servers: RunningServers):
    async with following(identity, servers) as follower:
        for _ in range(3):
            client, token = await visitor(follower)
            assert (await follower.service.authenticate(token)).active
            asked = follower.asked
            assert (await follower.service.authenticate(token)).active
            assert follower.asked == asked
            await identity.command(client, "POST", "auth/logout")
            assert await refused_after(follower, token) < 1.0


@asynccontextmanager
async def lost(broker: Child, fault: str) -> AsyncIterator[None]:
    """Freeze the broker for a while, or kill it and keep it away until the end."""
    if fault == "frozen":
        with frozen(broker.process.pid):
            yield
        return
    broker.process.kill()
    try:
        yield
    finally:
        broker.process.wait()
        while not broker.is_alive:
            broker.tend()
            await asyncio.sleep(0.02)


@pytest.mark.control("AC-05")
@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_within_two_seconds_of_losing_the_broker_a_service_knows_that_it_is_stale(
    identity: Identity, servers: RunningServers, fault: str
):
    async with following(identity, servers) as follower:
        client, token = await visitor(follower)
        assert (await follower.service.authenticate(token)).active
        async with lost(servers.nats, fault):
            await identity.command(client, "POST", "auth/logout")
            assert await refused_after(follower, token) < FRESH_S + 0.3
            assert not follower.memory.is_fresh
            follower.identity_is_down = True
            with pytest.raises(Unavailable):
                await follower.service.authenticate(token)
            follower.identity_is_down = False
        assert await follower.until_fresh() < 6.0, "it listens again by itself"
        assert not (await follower.service.authenticate(token)).active


@pytest.mark.control("AC-05")
async def test_a_silent_identity_worker_makes_services_ask(identity: Identity, servers: RunningServers):
    """No worker, no watermark: everything is asked, and nothing is believed."""
    async with following(identity, servers) as follower:
        _, token = await visitor(follower)
        await follower.service.authenticate(token)
        async with identity.runtime.duty.duty() as duty:  # as a worker that hangs with the lock in its hands
            await duty.execute(text("select number from identity.epoch_head for update"))
            await asyncio.sleep(FRESH_S + 0.2)
            asked = follower.asked
            assert (await follower.service.authenticate(token)).active
            assert (await follower.service.authenticate(token)).active
            assert follower.asked == asked + 2
        await follower.until_fresh()


async def test_noise_of_others_cannot_reach_the_subject(identity: Identity, servers: RunningServers):
    """A service may hear epochs and not say any."""
    async with following(identity, servers) as follower:
        forger = Bus(
            servers.nats_url,
            name="ledger",
            seed=servers.nats_seed("ledger").read_text(),
            ca_file=servers.ca_file,
        )
        _, token = await visitor(follower)
        await follower.service.authenticate(token)
        await forger.publish(BusMessage("epoch.identity", b"forged"))
        await (await forger.client()).flush()
        await asyncio.sleep(0.2)
        asked = follower.asked
        await follower.service.authenticate(token)
        assert follower.asked == asked, "nothing was forgotten"
        await forger.close()


def test_an_epoch_names_no_person_but_by_pseudonym():
    assert msgspec.structs.fields(Epoch)[0].name == "tenant"
    assert {one.value for one in EpochScope} == {"tenant", "person", "session"}
