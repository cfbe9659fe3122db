"""The worker process of a service: its duties as supervised tasks, each repeated until the process is told to stop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog
from tallystick_contracts.topology import EVENT_STREAM, RECEIPT_STREAM, Durable, ServiceName, durables_of

from tallystick_chassis.bus import Bus, BusUnavailableError
from tallystick_chassis.catch_up import HttpFeed, OwnFeed
from tallystick_chassis.consumer import ConsumerSettings, EventConsumer
from tallystick_chassis.hand_over import HandOver
from tallystick_chassis.heads import ANNOUNCE_INTERVAL_S, HeadAnnouncer
from tallystick_chassis.metric_catalogue import JOB_FAILURES, JOB_IDLE
from tallystick_chassis.metrics import age, count, is_on
from tallystick_chassis.misses import MissChecker
from tallystick_chassis.outbox_watch import WATCH_INTERVAL_S, OutboxWatch
from tallystick_chassis.pruning import Pruner
from tallystick_chassis.rate_limits import CounterPruner
from tallystick_chassis.receipts import ReceiptReader
from tallystick_chassis.relay import Relay, RelaySettings
from tallystick_chassis.service import Job
from tallystick_chassis.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick_chassis.bus import Pull
    from tallystick_chassis.service import Closable, Runtime, Wiring

RELAY_INTERVAL_S: Final = 0.1
_RETRY_INTERVAL_S: Final = 2.0
_MISS_INTERVAL_S: Final = 0.5
_PRUNE_INTERVAL_S: Final = 60.0
_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 3.0
_GRACE_S: Final = 8.0

log = structlog.get_logger(__name__)


async def run_worker(runtime: Runtime, wiring: Wiring, stop: asyncio.Event) -> None:
    """Run the service's duties until ``stop`` is set, then let each finish its step (8 s at most).

    Raises:
        SettingsError: if the ledger's key or origin is not set: without it no outbox row could ever go.

    """
    settings = runtime.settings
    bus = Bus(settings.nats_url, name=runtime.service, seed=settings.nats_seed, ca_file=settings.ca_file)
    pulls: list[Closable] = []
    try:
        jobs = [*chassis_jobs(runtime, wiring, bus, pulls), *wiring.jobs]
        if wiring.bus_jobs is not None:
            jobs += wiring.bus_jobs(bus, pulls)
        await supervise(jobs, stop, grace_s=_GRACE_S)
    finally:
        for one in (*pulls, *wiring.closing):
            await one.close()
        await bus.close()


def chassis_jobs(runtime: Runtime, wiring: Wiring, bus: Bus, pulls: list[Closable]) -> list[Job]:
    """Return what every service does; ``pulls`` gets what must be closed at the end.

    Raises:
        SettingsError: if the ledger's key or origin is not set.

    """
    settings, service, duty, clock = runtime.settings, runtime.service, runtime.duty, runtime.clock
    if settings.ledger_key is None or settings.ledger_origin is None:
        missing = "TALLY_LEDGER_KEY" if settings.ledger_key is None else "TALLY_LEDGER_ORIGIN"
        raise SettingsError([f"setting {missing} is missing: the worker cannot verify receipts without it"])

    def pull_of(stream: str, durable: str) -> Pull:
        pull = bus.pull(stream=stream, durable=durable)
        pulls.append(pull)
        return pull

    relay = Relay(
        duty=duty,
        bus=bus,
        service=service,
        clock=clock,
        settings=RelaySettings(republish_after_s=settings.republish_after_s),
    )
    announcer = HeadAnnouncer(duty=duty, bus=bus, service=service, clock=clock)
    receipts = ReceiptReader(
        duty=duty,
        pull=pull_of(RECEIPT_STREAM, f"rcpt-{service}"),
        ledger_key=settings.ledger_key,
        origin=settings.ledger_origin,
    )
    jobs = [
        Job("relay", relay.step, RELAY_INTERVAL_S),
        Job("heads", announcer.step, ANNOUNCE_INTERVAL_S),
        Job("receipts", receipts.step),
    ]
    if is_on():
        jobs.append(Job("outbox-watch", OutboxWatch(duty).step, WATCH_INTERVAL_S))
    pruner = Pruner(duty, clock, key_days=settings.idempotency_days, inbox_days=settings.inbox_days)
    jobs += [
        Job("rate-counters", CounterPruner(duty, clock).step, _PRUNE_INTERVAL_S),
        Job("prune", pruner.step, _PRUNE_INTERVAL_S),
    ]
    if settings.url_of(ServiceName.LEDGER) is not None:
        hand_over = HandOver(
            duty=duty,
            relay=relay,
            receipts=receipts,
            client=runtime.service_client,
            after_s=settings.hand_over_after_s,
        )
        jobs.append(Job("hand-over", hand_over.step))
    if wiring.miss_tables:
        checker = MissChecker(database=runtime.database, duty=duty, miss_tables=wiring.miss_tables)
        jobs.append(Job("misses", checker.step, _MISS_INTERVAL_S))
    for durable in durables_of(service):
        if durable.stream == EVENT_STREAM and not _takes_everything(durable):
            consumer = EventConsumer(
                durable=durable,
                handlers=wiring.handlers,
                database=runtime.database,
                duty=duty,
                pull=pull_of(EVENT_STREAM, durable.name),
                feeds=_feeds(runtime),
                # Verification tells the public how fresh its answer is; the others need not write that down.
                settings=ConsumerSettings(track_as_of=service == ServiceName.VERIFICATION),
            )
            jobs += _consumer_jobs(durable.name, consumer, bus)
    return jobs


def _takes_everything(durable: Durable) -> bool:
    """Say whether the durable is the ledger writer's: it reads it itself, and needs no handlers, inbox or cursors."""
    return any(wanted.source == wanted.aggregate == "*" for wanted in durable.filters)


def _feeds(runtime: Runtime) -> HttpFeed:
    urls = {str(source): url for source in ServiceName if (url := runtime.settings.url_of(source))}
    return HttpFeed(runtime.service_client, urls, own=OwnFeed(runtime.database))


def _consumer_jobs(name: str, consumer: EventConsumer, bus: Bus) -> list[Job]:
    listening = False

    async def follow_heads() -> bool:
        nonlocal listening
        if not listening:
            listening = True  # the bus remembers the subscription even if it is not connected yet
            await bus.subscribe("head.*", consumer.hear)
        return await consumer.follow_heads()

    return [
        Job(f"consumer-{name}", consumer.step),
        Job(f"heads-of-{name}", follow_heads, 0.5),
        Job(f"dead-letters-{name}", consumer.retry_dead_letters, _RETRY_INTERVAL_S),
    ]


async def supervise(jobs: Sequence[Job], stop: asyncio.Event, *, grace_s: float) -> None:
    """Repeat every job until ``stop`` is set; a step that fails is tried again with back-off, and no other job notices.

    Steps in progress get ``grace_s`` to end; what is not done then is cancelled (its transaction rolls back).
    """
    tasks = {asyncio.create_task(_repeat(job, stop), name=job.name) for job in jobs}
    if not tasks:
        await stop.wait()
        return
    stopping = asyncio.create_task(stop.wait())
    try:
        await stopping
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        if late:
            log.warning("worker_stopped_late", count=len(late))
    finally:
        stopping.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)


async def _repeat(job: Job, stop: asyncio.Event) -> None:
    failures = 0
    about = {"tallystick.job": job.name}
    count(JOB_FAILURES, 0, about)
    while not stop.is_set():
        pause_s = 0.0
        try:
            if not await job.run():
                pause_s = job.interval_s
            failures = 0
            age(JOB_IDLE, time.time(), about)
        except BusUnavailableError as error:
            failures += 1
            log.warning(
                "job_waits_for_bus", job=job.name, error=type(error).__name__, reason=str(error), tries=failures
            )
        except Exception as error:
            # The supervisor is the consumer loop's edge: one failing step must not end the process.
            failures += 1
            log.exception("job_failed", job=job.name, error=type(error).__name__, tries=failures)
        if failures:
            count(JOB_FAILURES, 1, about)
            pause_s = max(pause_s, min(_FIRST_BACKOFF_S * 2 ** (failures - 1), _LONGEST_BACKOFF_S))
        if pause_s:
            await _wait(stop, pause_s)
        else:
            await asyncio.sleep(0)


async def _wait(stop: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await stop.wait()
    except TimeoutError:
        return
