"""A balancer as Kubernetes' Service is one: connections are shared out among the replicas that say they are ready.

It looks at no request. A connection stays with its replica for as long as both keep it open, also when the replica is
not ready any more: what is under way there has to be finished there. Kubernetes' costs next to nothing (the kernel
does it), and so should this one: bytes go from one transport to the other, without a task or a buffer of our own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from tallystick_cli.stack import readiness
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.ports import LOOPBACK

_CONNECT_WITHIN_S: Final = 5.0


class Balancer:
    """Shares connections to one port out among replicas on others, by TCP."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ready: dict[int, bool] = {}
        self._turn = 0
        self._open: set[asyncio.Transport] = set()
        self._connecting: set[asyncio.Task[None]] = set()

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

    def accepted(self, client: "_Client") -> None:
        """Give a new connection to a replica; it is refused where none is ready."""
        ready = sorted(port for port, is_ready in self._ready.items() if is_ready)
        if not ready:
            client.transport.close()
            return
        self._turn += 1
        task = asyncio.create_task(self._connect(client, ready[self._turn % len(ready)]))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, client: "_Client", port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await loop.create_connection(lambda: _Replica(self, client), LOOPBACK, port)
        except OSError:  # which a timeout is as well
            client.transport.close()

    def opened(self, transport: asyncio.Transport) -> None:
        """Remember what is to be cut at the end."""
        self._open.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget it."""
        self._open.discard(transport)

    async def close(self) -> None:
        """Cut what is open."""
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for transport in tuple(self._open):
            transport.abort()


class _End(asyncio.Protocol):
    """One end of a carried connection: what arrives here leaves at the other, as fast as that takes it."""

    transport: asyncio.Transport

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.other: _End | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # a stream's is one
        self.balancer.opened(self.transport)

    def carry_to(self, other: "_End") -> None:
        """Send there what has arrived and what will."""
        self.other = other
        other.transport.writelines(self._early)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self.balancer.closed(self.transport)
        if self.other is not None:
            self.other.transport.close()  # what this end sent last still arrives


class _Client(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.balancer.accepted(self)


class _Replica(_End):
    def __init__(self, balancer: Balancer, client: _Client) -> None:
        super().__init__(balancer)
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.carry_to(self._client)
        if self._client.transport.is_closing():
            transport.close()  # it did not wait
        else:
            self._client.carry_to(self)


@asynccontextmanager
async def balancing(layout: Layout, port: int, replicas: list[int], *, probe_s: float) -> AsyncIterator[Balancer]:
    """Listen on a port for the length of the block."""
    balancer = Balancer(layout)
    for replica in replicas:
        balancer.add(replica)
        await balancer.is_ready(replica)
    server = await asyncio.get_running_loop().create_server(lambda: _Client(balancer), LOOPBACK, port)
    probing = asyncio.create_task(balancer.probe(probe_s))
    try:
        yield balancer
    finally:
        probing.cancel()
        server.close()
        await balancer.close()
