"""The worker: two services' duties side by side on real Postgres and NATS, through kills and losses."""

import asyncio
import time
from types import SimpleNamespace
from uuid import UUID

import httpx
import msgspec
import pytest
import structlog
from tallystick_chassis.bus import BusUnavailableError
from tallystick_chassis.catch_up import read_feed
from tallystick_chassis.clock import utc_now
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Job, Runtime, Wiring
from tallystick_chassis.settings import SettingsError
from tallystick_chassis.worker import run_worker, supervise


class FeedRoute:
    """Identity's feed route as the service client sees it."""

    def __init__(self, database):
        self.database = database

    async def get(self, url, *, params):
        *_, source, feed, tenant, aggregate = url.split("/")
        assert (source, feed) == ("identity", "feed")
        scope = Scope.for_duty(UUID(tenant), "identity")
        async with self.database.transaction(scope) as tx:
            page = await read_feed(tx, aggregate, params["after"], params["limit"])
        return httpx.Response(200, content=msgspec.json.encode(page), request=httpx.Request("GET", url))


class Workers:
    """Workers by service, each a task that can be told to stop."""

    def __init__(self, house, stack, tools):
        self.house, self.stack, self.tools = house, stack, tools
        self.running = {}
        self.identity = house.app("identity")

    def runtime(self, service):
        settings = SimpleNamespace(
            nats_url=self.stack.nats_url,
            nats_seed=self.stack.nats_seed(service).read_text().strip(),
            ca_file=self.stack.ca_file,
            ledger_key=bytes(32),
            ledger_origin="tallystick.local",
            republish_after_s=30.0,
            idempotency_days=7,
            inbox_days=90,
            url_of=lambda source: f"https://{source}.test" if source == "identity" else None,
        )
        return Runtime(
            service=service,
            settings=settings,
            database=self.house.app(service),
            duty=self.house.duty(service),
            keys=None,
            clock=utc_now,
            service_client=FeedRoute(self.identity),
            sealer=None,
            log=structlog.get_logger(),
        )

    def start(self, service):
        stop = asyncio.Event()
        wiring = Wiring(handlers={"identity.tenant.created": self.tools.on_event})
        self.running[service] = stop, asyncio.create_task(run_worker(self.runtime(service), wiring, stop))

    async def stop(self, service):
        stop, task = self.running.pop(service)
        stop.set()
        await asyncio.wait_for(task, 10)

    def restart_nats(self):
        self.stack.nats.process.kill()
        self.stack.nats.process.wait()
        self.stack.nats.process = self.stack.nats.program.start()


@pytest.fixture
async def workers(house, stack, buses, tools):  # noqa: ARG001 - buses empties the streams first
    workers = Workers(house, stack, tools)
    yield workers
    for service in list(workers.running):
        await workers.stop(service)


async def wait_for_effects(tools, duty, tenant, count, timeout_s):
    wanted = [f"identity.tenant {seq}" for seq in range(1, count + 1)]
    begun = time.monotonic()
    while (found := await tools.effects(duty, tenant)) != wanted:
        assert time.monotonic() - begun < timeout_s, found
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def test_an_event_has_its_effect_in_the_other_service_within_a_second(workers, house, tools, tenant):
    duty = house.duty("assessment")
    workers.start("identity")
    workers.start("assessment")
    await tools.commit(workers.identity, tenant, "tenant")
    await wait_for_effects(tools, duty, tenant, 1, 10)
    await tools.commit(workers.identity, tenant, "tenant")
    assert await wait_for_effects(tools, duty, tenant, 2, 10) < 1


async def test_nats_killed_in_between_loses_nothing(workers, house, tools, tenant):
    duty = house.duty("assessment")
    workers.start("identity")
    workers.start("assessment")
    await tools.commit(workers.identity, tenant, "tenant")
    await wait_for_effects(tools, duty, tenant, 1, 10)
    workers.restart_nats()
    await tools.commit(workers.identity, tenant, "tenant", "tenant")
    await wait_for_effects(tools, duty, tenant, 3, 20)


async def test_a_consumer_that_was_away_while_the_broker_lost_all_catches_up(workers, house, buses, tools, tenant):
    duty = house.duty("assessment")
    workers.start("identity")
    await tools.commit(workers.identity, tenant, *["tenant"] * 5)
    while not await buses.stored(f"evt.{tenant}.>"):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.02)
    await buses.purge()
    workers.start("assessment")
    await wait_for_effects(tools, duty, tenant, 5, 15)


async def test_a_worker_without_the_ledgers_key_does_not_start(workers):
    runtime = workers.runtime("identity")
    runtime.settings.ledger_key = None
    with pytest.raises(SettingsError, match="TALLY_LEDGER_KEY"):
        await run_worker(runtime, Wiring(), asyncio.Event())


class Closed:
    """Something of a service's own that is closed at the end."""

    def __init__(self):
        self.times = 0

    async def close(self):
        self.times += 1


async def test_what_a_service_opened_for_its_jobs_is_closed_with_its_worker(workers):
    stop, own = asyncio.Event(), Closed()
    running = asyncio.create_task(run_worker(workers.runtime("identity"), Wiring(closing=(own,)), stop))
    await asyncio.sleep(0.1)
    assert own.times == 0
    stop.set()
    await asyncio.wait_for(running, 10)
    assert own.times == 1


async def test_a_job_that_fails_is_tried_again_and_disturbs_no_other():
    stop, steps, failures = asyncio.Event(), 0, [ValueError(), BusUnavailableError("x"), None]

    async def good():
        nonlocal steps
        steps += 1
        return False

    async def bad():
        error = failures.pop(0)
        if error is None:
            stop.set()
            return False
        raise error

    with structlog.testing.capture_logs() as logs:
        await asyncio.wait_for(supervise([Job("good", good, 0.01), Job("bad", bad)], stop, grace_s=1), 5)
    assert failures == []
    assert steps > 3
    assert [one["event"] for one in logs] == ["job_failed", "job_waits_for_bus"]


async def test_a_step_in_progress_may_end_and_a_stuck_one_is_cancelled():
    stop, ended = asyncio.Event(), []

    async def slow():
        await asyncio.sleep(0.05)  # the other job has begun
        stop.set()
        await asyncio.sleep(0.1)
        ended.append("slow")
        return True

    async def stuck():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return True

    begun = time.monotonic()
    await supervise([Job("slow", slow), Job("stuck", stuck)], stop, grace_s=0.3)
    assert ended == ["slow", "cancelled"]
    assert time.monotonic() - begun < 2
