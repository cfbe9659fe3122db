"""Every job of every service's worker, consumers among them, by the names under which the worker runs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tallystick_chassis.bus import Bus
from tallystick_chassis.process import make_runtime
from tallystick_chassis.settings import load_settings
from tallystick_chassis.worker import chassis_jobs
from tallystick_cli.stack import boot, state
from tallystick_contracts.topology import ServiceName

from sweep.routes import service_of

if TYPE_CHECKING:
    from tallystick_chassis.service import Closable
    from tallystick_cli.stack.layout import Layout


def every_job(layout: Layout) -> frozenset[tuple[ServiceName, str]]:
    """Return service and job as the workers of a running stack are wired; nothing is connected to."""

    async def named() -> frozenset[tuple[ServiceName, str]]:
        return frozenset((service, name) for service in ServiceName for name in _names(layout, service))

    return asyncio.run(named())


def _names(layout: Layout, name: ServiceName) -> list[str]:
    service = service_of(name)
    environment = boot.describe(layout, state.read(layout)).worker_environment(name)
    runtime = make_runtime(service, load_settings(service.settings, environment))
    wiring = service.wire(runtime)
    bus = Bus(runtime.settings.nats_url, name=service.name)
    closing: list[Closable] = []
    jobs = [*chassis_jobs(runtime, wiring, bus, closing), *wiring.jobs]
    if wiring.bus_jobs is not None:
        jobs += wiring.bus_jobs(bus, closing)
    return [job.name for job in jobs]
