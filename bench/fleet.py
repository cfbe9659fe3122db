"""Every service as a cluster runs it: APIs with two replicas behind a balancer, workers with one, each replaceable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from subprocess import Popen
from time import monotonic
from typing import Final

from tallystick_cli.stack import boot, ports, readiness
from tallystick_cli.stack.program import stop
from tallystick_cli.stack.services import Servers
from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

from bench.balancer import Balancer, balancing
from bench.cold_start import Process, process_of

_REPLICAS: Final = 2
_PROBE_S: Final = 5.0
"""As often as a kubelet asks an API, by the chart; a drain must be longer, for nothing else says that one has begun."""
_READY_WITHIN_S: Final = 60.0
_GRACE_S: Final = 20.0
"""What the chart adds to the drain before a pod is killed."""
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Replica:
    """A running process; an API has a port of its own."""

    process: Process
    running: Popen[bytes]
    port: int


@dataclass
class Deployment:
    """The replicas of one process of a service, and the balancer before an API."""

    named: ServiceName
    role: str
    balancer: Balancer | None = None
    replicas: list[Replica] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return its name, such as ``ledger-api``."""
        return f"{SERVICE_FOLDERS[self.named]}-{self.role}"


class Fleet:
    """All deployments."""

    def __init__(self, servers: Servers, drain_s: float) -> None:
        self._servers = servers
        self._drain_s = drain_s
        self._ports: set[int] = set()
        self.deployments = [Deployment(named, role) for named in ServiceName for role in ("api", "worker")]

    async def replace(self, deployment: Deployment, old: Replica) -> None:
        """Start a new replica, wait until it is ready, and ask the old one to end.

        Raises:
            RuntimeError: if one is not ready in time, or did not end by itself with status 0.
        """
        new = self.start(deployment)
        await self.ready(new)
        if deployment.balancer is not None:
            deployment.balancer.add(new.port)
            await deployment.balancer.is_ready(new.port)
        old.running.send_signal(old.process.program.stop_signal)
        deadline = monotonic() + self._drain_s + _GRACE_S
        while (status := old.running.poll()) is None and monotonic() < deadline:  # noqa: ASYNC110 - a process tells nobody
            await asyncio.sleep(_POLL_S)
        if status != 0:
            message = f"{deployment.name} ended with {status} (none: it had to be killed)"
            raise RuntimeError(message)
        deployment.replicas.remove(old)
        if deployment.balancer is not None:
            deployment.balancer.forget(old.port)

    def start(self, deployment: Deployment) -> Replica:
        """Start one more replica, without waiting."""
        process, port = process_of(self._servers, deployment.named, deployment.role), 0
        if deployment.role == "api":
            port = ports.choose(self._ports)
            self._ports.add(port)
            own = {"TALLY_PORT": str(port), "TALLY_DRAIN_S": str(self._drain_s)}
            program = replace(process.program, environment={**process.program.environment, **own})
            process = Process(program, partial(readiness.is_ready, self._servers.layout, port))
        # From this thread: the kernel ends a child when the thread that started it ends.
        replica = Replica(process, process.program.start(), port)
        deployment.replicas.append(replica)
        return replica

    async def ready(self, replica: Replica) -> None:
        """Wait until a replica says that it is ready."""
        deadline = monotonic() + _READY_WITHIN_S
        while not await asyncio.to_thread(replica.process.is_ready):
            if replica.running.poll() is not None or monotonic() > deadline:
                raise boot.failure(replica.process.program, "is not ready")
            await asyncio.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def fleet(servers: Servers, *, drain_s: float) -> AsyncIterator[Fleet]:
    """Run every service for the length of the block; the balancers listen where the services are said to be."""
    running = Fleet(servers, drain_s)
    try:
        async with contextlib.AsyncExitStack() as stack:
            for deployment in running.deployments:
                for _ in range(_REPLICAS if deployment.role == "api" else 1):
                    running.start(deployment)
            for deployment in running.deployments:
                await asyncio.gather(*map(running.ready, deployment.replicas))
                if deployment.role == "api":
                    replicas = [replica.port for replica in deployment.replicas]
                    port = servers.state.port(SERVICE_FOLDERS[deployment.named])
                    listening = balancing(servers.layout, port, replicas, probe_s=min(_PROBE_S, drain_s / 2))
                    deployment.balancer = await stack.enter_async_context(listening)
            yield running
    finally:
        for deployment in running.deployments:
            for replica in deployment.replicas:
                replica.running.send_signal(replica.process.program.stop_signal)
        for deployment in running.deployments:
            for replica in deployment.replicas:
                stop(replica.running, replica.process.program.stop_signal, timeout_s=drain_s + _GRACE_S)
