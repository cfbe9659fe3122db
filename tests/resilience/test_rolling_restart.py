"""A replica is replaced under load: no request is refused or cut, whatever moment it was sent at.

Two processes of a real service stand behind a balancer that knows no more than Kubernetes' Service does: which of them
says that it is ready. ``make bench only=rolling_restart`` does this with every process of every service.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import ssl
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tallystick_cli.stack import ports
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick_cli.stack.temporary import Databases

ROOT = Path(__file__).parents[2]
SERVICE = ServiceName.VERIFICATION
UNKNOWN = "/certs/verify/AAAAAAAAAAAAAAAAAAAAAAAAAAA"
CLIENTS = 16
DRAIN_S = 2.0
PROBE_S = 0.2
READY_WITHIN_S = 60.0


class Replica:
    """A process of the service on a port of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.port = ports.choose()
        own = {"TALLY_PORT": str(self.port), "TALLY_DRAIN_S": str(DRAIN_S)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", SERVICE_PACKAGES[SERVICE], "api"],
            env=environment | own,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )

    async def ends(self) -> int:
        """Wait for the end and return its status."""
        return await asyncio.to_thread(self.process.wait, 30)


@pytest.fixture
def replicas(migrated_databases: Databases) -> Iterator[list[Replica]]:
    environment = dict(migrated_databases.environment(SERVICE))
    made = [Replica(environment) for _ in range(2)]
    yield made
    for one in made:
        one.process.kill()
        one.process.wait()


class Visitors:
    """Clients that ask without a pause over connections that they keep open."""

    def __init__(self, tls: ssl.SSLContext, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self.stopped = False
        self._tls, self._url = tls, url

    async def ask(self) -> None:
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=20) as client:
            while not self.stopped:
                try:
                    answer = await client.get(self._url, headers={"Accept": "application/json"})
                    self.answers[str(answer.status_code)] += 1
                except httpx.TransportError as error:
                    self.answers[type(error).__name__] += 1

    async def some_more(self, requests: int = 200) -> None:
        """Wait until so many more requests have been answered, one way or another."""
        wanted = self.answers.total() + requests
        async with asyncio.timeout(60):
            while self.answers.total() < wanted:  # noqa: ASYNC110 - many tasks count
                await asyncio.sleep(0.01)


async def test_a_replica_that_is_told_to_end_under_load_refuses_and_cuts_nothing(
    replicas: list[Replica], migrated_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    balancing: Any = importlib.import_module("bench.balancer").balancing
    layout = migrated_databases.servers.layout
    port = migrated_databases.servers.state.port(SERVICE_FOLDERS[SERVICE])
    async with contextlib.AsyncExitStack() as stack:
        balancer = await stack.enter_async_context(
            balancing(layout, port, [one.port for one in replicas], probe_s=PROBE_S)
        )
        async with asyncio.timeout(READY_WITHIN_S):
            for one in replicas:
                while not await balancer.is_ready(one.port):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)
        tls = ssl.create_default_context(cafile=str(layout.ca_file))
        visitors = Visitors(tls, f"https://localhost:{port}{UNKNOWN}")
        asking = [asyncio.create_task(visitors.ask()) for _ in range(CLIENTS)]
        await visitors.some_more()
        leaving = replicas[0]
        leaving.process.send_signal(signal.SIGTERM)
        status = await leaving.ends()
        await visitors.some_more()
        visitors.stopped = True
        await asyncio.gather(*asking)
    assert status == 0
    assert set(visitors.answers) == {"200"}, visitors.answers
