"""`proofs`: inclusion proofs by the ledger's API in a long log, against a primary-key select through the same process.

The API is the ledger's own process (`api`) with everything it serves, over TLS, and one route more: the reference,
which reads one entry's leaf hash by its primary key in the same kind of transaction. Both pass the framework, the edge,
the guard with its session check, and the log line. The session is recalled from a memory that announcements over NATS
keep fresh; the only thing made up is identity's first answer. Random entries, the same ones for both, in turns, on
eight connections that stay open. One proof is verified before the clock runs.

TALLY_BENCH_ENTRIES is the length of the log (1,000,000, filled as in `append_growth`), TALLY_BENCH_TURNS the number of
turns (30) of 200 requests each.
"""

import asyncio
import base64
import os
import random
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, Self
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec
import uvloop
from litestar import get
from sqlalchemy import text
from tallystick_chassis.bus import Bus, BusMessage
from tallystick_chassis.ids import TenantId
from tallystick_chassis.process import main
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Runtime, Wiring
from tallystick_cli.stack.temporary import Databases, RunningServers, running_servers
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.topology import EPOCH_SUBJECT, ServiceName
from tallystick_ledger.app import SERVICE
from tallystick_ledger.high_water.files import FileHighWater
from tallystick_ledger.high_water.mark import Head
from tallystick_ledger.logs.domain import origin_of
from tallystick_ledger.reading.api import BASE, InclusionProof
from tallystick_tlog import to_base64, verify_inclusion

from bench.append import BATCH, PREFIX, batches, connect, fill, ledger_writer, make_tables
from bench.append_one_log import append_ahead
from bench.measure import Measure, Result, result
from bench.revocation import bus_of
from bench.session import ANNOUNCE_S, Identity, announcement, session_cookie

GOAL: Final = 0.6
_AT_ONCE: Final = 8
_A_TURN: Final = 200
_WARM_UP_TURNS: Final = 1
_START_S: Final = 120.0
_STOP_S: Final = 15.0
_SELECT: Final = text("select leaf_hash from ledger.entries where tenant_id = :tenant and log_id = :log and seq = :seq")


class _Leaf(msgspec.Struct, frozen=True):
    seq: int
    leaf_hash: str


@get(f"{BASE}/bench/{{log_id:uuid}}/{{seq:int}}", opt={"capability": Capability.LEDGER_READ})
async def selected(tenant_scope: Scope, runtime: Runtime, log_id: UUID, seq: int) -> _Leaf:
    """Read one entry's leaf hash by the table's primary key: the reference."""
    async with runtime.database.transaction(tenant_scope) as tx:
        found = await tx.execute(_SELECT, {"tenant": tx.scope.tenant, "log": log_id, "seq": seq})
        return _Leaf(seq, to_base64(found.scalar_one()))


class _Connection:
    """One connection that stays open: nothing but what a GET needs, so that the client is not what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    @classmethod
    async def to(cls, url: str, ca_file: Path) -> Self:
        """Connect."""
        address = urlsplit(url)
        tls = ssl.create_default_context(cafile=str(ca_file))
        reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=tls)
        return cls(reader, writer, address.netloc)

    async def get(self, path: str, cookie: str) -> bytes:
        """Return the body of a 200."""
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: {self._host}\r\ncookie: {cookie}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        body = await self._reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        if not head.startswith(b"http/1.1 200 "):
            raise RuntimeError(path, head.partition(b"\r\n")[0], body)
        return body

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()


def take() -> Result:
    """Ask for proofs and for leaves in turns and compare the medians."""
    entries = max(2 * BATCH, int(os.environ.get("TALLY_BENCH_ENTRIES", "1000000")))
    turns = int(os.environ.get("TALLY_BENCH_TURNS", "30"))
    with running_servers(durable=True) as servers:
        databases = servers.fresh_databases()
        jwks = Path(databases.environment(ServiceName.IDENTITY)["TALLY_SESSION_KEY_FILE"]).read_bytes()
        proofs_s, selects_s = uvloop.run(_measure(servers, databases, jwks, entries, turns))
    return result(
        name="proofs",
        value=_A_TURN / median(proofs_s),
        unit="requests/s",
        reference="a primary-key select through the same process",
        reference_value=_A_TURN / median(selects_s),
        goal=GOAL,
    )


async def _measure(
    servers: RunningServers, databases: Databases, jwks: bytes, entries: int, turns: int
) -> tuple[list[float], list[float]]:
    tenant = TenantId(uuid4())
    log, root = await _make_log(databases, servers.ca_file, tenant, entries)
    proof, leaf = f"{BASE}/logs/{log}/proofs/inclusion?seq=", f"{BASE}/bench/{log}/"
    proofs_s, selects_s = [], []
    async with AsyncExitStack() as closing:
        connections = await _connect(servers, databases, tenant, closing)
        await _check(connections[0], f"{proof}{entries // 3}", session_cookie(jwks, tenant), root)
        for number in range(-_WARM_UP_TURNS, turns):
            cookie = session_cookie(jwks, tenant)  # a token lives for five minutes
            wanted = random.sample(range(entries), _A_TURN)
            begin = perf_counter()
            await _turn(connections, proof, wanted, cookie)
            between = perf_counter()
            await _turn(connections, leaf, wanted, cookie)
            end = perf_counter()
            if number >= 0:
                proofs_s.append(between - begin)
                selects_s.append(end - between)
    return proofs_s, selects_s


async def _make_log(databases: Databases, ca_file: Path, tenant: TenantId, entries: int) -> tuple[UUID, bytes]:
    """Make the log; return its id and its root."""
    await make_tables(databases, ca_file)
    async with ledger_writer(databases, ca_file) as writer:
        await append_ahead(writer, batches(tenant, 1, 1))
    superuser = await connect(databases, ca_file)
    await fill(superuser, tenant, entries - BATCH)
    await superuser.execute("analyze")
    await superuser.execute("checkpoint")
    log, root = await superuser.fetchrow(
        "select log_id, root from ledger.checkpoints where tenant_id = $1 and size = $2", tenant, entries
    )
    await superuser.close()
    # As the writer would have: what is not marked is not remembered by whoever reads.
    folder = Path(databases.environment(ServiceName.LEDGER)["TALLY_HIGH_WATER"])
    await FileHighWater(folder).raise_to({origin_of(PREFIX, tenant, None): Head(entries, root)})
    return log, root


async def _connect(
    servers: RunningServers, databases: Databases, tenant: TenantId, closing: AsyncExitStack
) -> list[_Connection]:
    environment = databases.environment(ServiceName.LEDGER)
    bus = bus_of(servers, ServiceName.IDENTITY)
    closing.push_async_callback(bus.close)
    await closing.enter_async_context(_announcing(bus))
    process = await closing.enter_async_context(_process({**os.environ, **environment}, tenant))
    connections = []
    for _ in range(_AT_ONCE):
        connections.append(await _first(process, environment["TALLY_PUBLIC_URL"], servers.ca_file))
        closing.push_async_callback(connections[-1].close)
    return connections


async def _first(process: subprocess.Popen[bytes], url: str, ca_file: Path) -> _Connection:
    """Connect as soon as the process listens; fail if it has ended."""
    async with asyncio.timeout(_START_S):
        while True:
            try:
                return await _Connection.to(url, ca_file)
            except OSError:
                if process.poll() is not None:
                    raise
                await asyncio.sleep(0.1)


@asynccontextmanager
async def _announcing(bus: Bus) -> AsyncIterator[None]:
    async def announce() -> None:
        while True:
            await bus.publish(BusMessage(EPOCH_SUBJECT, announcement()))
            await asyncio.sleep(ANNOUNCE_S)

    task = asyncio.create_task(announce())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def _process(environment: dict[str, str], tenant: TenantId) -> AsyncIterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "bench.proofs", str(tenant)]
    running = subprocess.Popen(  # noqa: ASYNC220 - only its start and its end wait
        command, env=environment, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL
    )
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


async def _check(connection: _Connection, path: str, cookie: str, root: bytes) -> None:
    """Verify one proof, so that it is proofs that are measured."""
    proof = msgspec.json.decode(await connection.get(path, cookie), type=InclusionProof)
    hashes = [base64.b64decode(one) for one in proof.hashes]
    verify_inclusion(base64.b64decode(proof.leaf_hash), proof.seq, proof.size, hashes, root)


async def _turn(connections: Sequence[_Connection], path: str, wanted: Sequence[int], cookie: str) -> None:
    async def some(connection: _Connection, seqs: Sequence[int]) -> None:
        for seq in seqs:
            await connection.get(f"{path}{seq}", cookie)

    await asyncio.gather(*(some(one, wanted[n::_AT_ONCE]) for n, one in enumerate(connections)))


def _serve(tenant: TenantId) -> None:
    """Be the ledger's API process, with one route more and identity's answer at hand."""

    def wire(runtime: Runtime) -> Wiring:
        wiring = SERVICE.wire(runtime)
        runtime.service_client = Identity(tenant)  # type: ignore[assignment] # has the methods that are used
        return replace(wiring, routes=(*wiring.routes, selected))

    main(replace(SERVICE, wire=wire), ["api"])


MEASURE: Final = Measure("proofs", take)

if __name__ == "__main__":
    _serve(TenantId(UUID(sys.argv[1])))
