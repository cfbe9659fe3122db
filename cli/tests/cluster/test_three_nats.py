"""Three NATS servers, each stream on all: what one loses the others have, and what all lose the keeper puts back."""

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import sysconfig
from pathlib import Path

import nats as nats_client
import pytest
from nats.errors import Error as NatsError
from tallystick_cli.stack import authority, nats, ports
from tallystick_cli.stack.accounts import ADMIN, KEEPER
from tallystick_cli.stack.broker_setup import put_missing, put_topology
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.temporary import temporary_folder
from tallystick_contracts.topology import DURABLES, STREAM_SUBJECTS

pytestmark = pytest.mark.control("X-10")

SERVERS = range(3)
EVERYTHING = {*STREAM_SUBJECTS, *(durable.name for durable in DURABLES)}


class Cluster:
    def __init__(self, layout):
        self.layout = layout
        authority.ensure_authority(layout)
        taken = []
        for _ in range(9):
            taken.append(ports.choose(taken))
        self.clients, self.monitors, self.routes = taken[:3], taken[3:6], taken[6:]
        self.url = ",".join(f"tls://127.0.0.1:{port}" for port in self.clients)
        self.children = [Child.start(self._program(each)) for each in SERVERS]

    def _program(self, number):
        text = nats.configuration(
            self.layout,
            listen=f"127.0.0.1:{self.clients[number]}",
            monitor=f"127.0.0.1:{self.monitors[number]}",
            tls=authority.ensure_server(self.layout, "nats"),
            store=self.store(number),
        ).replace("server_name: tally", f"server_name: nats-{number}")
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self.routes)
        text += f'cluster {{ name: nats, listen: "127.0.0.1:{self.routes[number]}", routes: [{routes}] }}\n'
        file = self.layout.nats / f"{number}.conf"
        file.write_text(text)
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        return Program(f"nats-{number}", (str(binary), "-c", str(file)), self.layout.log_file(f"nats-{number}"))

    def store(self, number):
        return self.layout.nats / f"store-{number}"

    def lose(self, *numbers):
        """Take the disks away from under some servers, all at once, and start them on empty ones."""
        for each in numbers:
            os.kill(self.children[each].process.pid, signal.SIGKILL)
            self.children[each].process.wait()
            shutil.rmtree(self.store(each))
        for each in numbers:
            self.children[each] = Child.start(self.children[each].program)

    async def until(self, work):
        """Try until the cluster has its leaders, and return what came of it."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(NatsError, OSError):
                    return await work()
                await asyncio.sleep(0.2)

    async def put_back(self):
        seed = nats.seed_file(self.layout, KEEPER).read_text()
        return await self.until(
            lambda: put_missing(self.url.split(",")[0], seed=seed, ca_file=self.layout.ca_file, replicas=3)
        )

    async def copies(self):
        """Return how many servers hold each stream and are up to date with it."""

        async def ask():
            connection = await nats_client.connect(
                self.url.split(","),
                nkeys_seed_str=nats.seed_file(self.layout, ADMIN).read_text(),
                tls=ssl.create_default_context(cafile=str(self.layout.ca_file)),
                allow_reconnect=False,
            )
            try:
                infos = await connection.jetstream().streams_info()
                return {info.config.name: 1 + sum(one.current for one in info.cluster.replicas) for info in infos}
            finally:
                await connection.close()

        return await self.until(ask)

    async def is_whole(self):
        async with asyncio.timeout(60):
            while await self.copies() != dict.fromkeys(STREAM_SUBJECTS, 3):  # noqa: ASYNC110 - servers catch up by themselves
                await asyncio.sleep(0.2)


@pytest.fixture
def cluster():
    with temporary_folder() as layout:
        layout.create()
        made = Cluster(layout)
        try:
            yield made
        finally:
            for child in made.children:
                child.process.kill()
                child.process.wait()


async def test_what_one_server_loses_the_others_have_and_what_all_lose_is_put_back(cluster):
    admin = nats.seed_file(cluster.layout, ADMIN).read_text()
    await cluster.until(
        lambda: put_topology(cluster.url.split(",")[0], seed=admin, ca_file=cluster.layout.ca_file, replicas=3)
    )
    await cluster.is_whole()
    assert await cluster.put_back() == ()
    cluster.lose(2)
    assert await cluster.put_back() == ()
    await cluster.is_whole()
    cluster.lose(*SERVERS)
    assert set(await cluster.put_back()) <= EVERYTHING
    assert await cluster.put_back() == ()
    await cluster.is_whole()
