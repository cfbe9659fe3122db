"""A balancer as Kubernetes' Service is one: connections are shared out among the replicas that say they are ready.

It looks at no request. A connection stays with its replica for as long as both keep it open, also when the replica is
not ready any more: what is under way there has to be finished there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from tallystick_cli.stack import readiness
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.ports import LOOPBACK

_PART_BYTES: Final = 65_536


class Balancer:
    """Shares connections to one port out among replicas on others, by TCP."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ready: dict[int, bool] = {}
        self._turn = 0
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def add(self, port: int) -> None:
        """Take a replica in; it gets its first connection when it has said that it is ready."""
        self._ready[port] = False

    def forget(self, port: int) -> None:
        """Leave out a replica that has ended."""
        del self._ready[port]

    async def is_ready(self, port: int) -> bool:
        """Ask a replica now, and remember the answer."""
        answer = await asyncio.to_thread(readiness.is_ready, self._layout, port)
        if port in self._ready:
            self._ready[port] = answer
        return answer

    async def probe(self, interval_s: float) -> None:
        """Ask every replica again and again, as a kubelet does."""
        while True:
            await asyncio.gather(*map(self.is_ready, tuple(self._ready)))
            await asyncio.sleep(interval_s)

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry one connection to a replica and back; it is refused where none is ready."""
        if (task := asyncio.current_task()) is not None:
            self._open[task] = to_client
            task.add_done_callback(self._open.pop)
        ready = sorted(port for port, is_ready in self._ready.items() if is_ready)
        self._turn += 1
        try:
            if not ready:
                return
            with suppress(OSError):
                replica, to_replica = await asyncio.open_connection(LOOPBACK, ready[self._turn % len(ready)])
                try:
                    await _both_ways((client, to_replica), (replica, to_client))
                finally:
                    to_replica.close()
        finally:
            to_client.close()

    async def close(self) -> None:
        """Cut what is open."""
        for to_client in self._open.values():
            to_client.transport.abort()
        await asyncio.gather(*self._open, return_exceptions=True)


@asynccontextmanager
async def balancing(layout: Layout, port: int, replicas: list[int], *, probe_s: float) -> AsyncIterator[Balancer]:
    """Listen on a port for the length of the block."""
    balancer = Balancer(layout)
    for replica in replicas:
        balancer.add(replica)
        await balancer.is_ready(replica)
    server = await asyncio.start_server(balancer.serve, LOOPBACK, port)
    probing = asyncio.create_task(balancer.probe(probe_s))
    try:
        yield balancer
    finally:
        probing.cancel()
        server.close()
        await balancer.close()


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Carry bytes both ways until one side has closed; what it sent last still arrives."""
    tasks = [asyncio.create_task(_carry(*way)) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await source.read(_PART_BYTES):
            target.write(part)
            await target.drain()
