"""`telemetry_cost`: a service with traces, metrics and logs exported against the same one without.

Both are real processes that answer over HTTPS and read one row in a scoped transaction. They work in turns, a block of
requests each, and neighbouring blocks are compared, so that neither gains from what drifts. The collector is a process
of its own that takes everything and answers at once; it, Postgres and the load have the other processor.
"""

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import uvloop
from tallystick_chassis.heap import freeze_heap
from tallystick_chassis.ids import TenantId, new_id
from tallystick_cli.stack import boot, ports, readiness
from tallystick_cli.stack.program import stop
from tallystick_cli.stack.services import Servers
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.topology import ServiceName

from bench.cold_start import process_of
from bench.connections import Connections
from bench.measure import Measure, Result, result
from bench.processors import processor_s

GOAL: Final = 0.90
_BLOCKS: Final = 20
_WARM_UP_BLOCKS: Final = 2
_REQUESTS_A_BLOCK: Final = 1_000
_AT_ONCE: Final = 8
_OK: Final = 200
_GOODBYE_S: Final = 0.2


@dataclass(frozen=True)
class _Server:
    """A running API, and what asks it."""

    pid: int
    connections: Connections
    request: bytes


@dataclass(frozen=True)
class _Block:
    """What a block of requests took, in seconds of the clock and of the process's processor."""

    clock_s: float
    processor_s: float


def take() -> Result:
    """Compare the rates of TALLY_BENCH_PROCESSES pairs of processes (6), 20 blocks of 1,000 requests each."""
    count = int(os.environ.get("TALLY_BENCH_PROCESSES", "6"))
    with running_servers() as running, _collector() as endpoint:
        boot.fill(running.servers)
        pairs = [_pairs(running.servers, endpoint) for _ in range(count)]
    ratios = sorted(silent.clock_s / told.clock_s for some in pairs for told, silent in some)
    # The median's interval of 95 % by ranks: a binomial of one half, near enough to the normal for so many.
    off = round(0.98 * len(ratios) ** 0.5)
    low, high = ratios[max(0, len(ratios) // 2 - off)], ratios[min(len(ratios) - 1, len(ratios) // 2 + off)]
    told_us, silent_us = (
        median(pair[which].processor_s for some in pairs for pair in some) / _REQUESTS_A_BLOCK * 1e6 for which in (0, 1)
    )
    sys.stderr.write(
        f"{median(ratios):.3f}, between {low:.3f} and {high:.3f} (95 %, {len(ratios)} pairs of blocks); by pair of "
        f"processes {', '.join(f'{median(s.clock_s / t.clock_s for t, s in some):.3f}' for some in pairs)}; of its own "
        f"processor {told_us:.0f} µs a request, without {silent_us:.0f}\n"
    )
    reference = _REQUESTS_A_BLOCK / median(silent.clock_s for some in pairs for _, silent in some)
    return result(
        name="telemetry_cost",
        value=median(ratios) * reference,
        unit="requests/s",
        reference="the same without telemetry",
        reference_value=reference,
        goal=GOAL,
    )


def _pairs(servers: Servers, endpoint: str) -> list[tuple[_Block, _Block]]:
    """Have one pair of processes work in turns; return each turn's two blocks, the exporting one's first."""
    with _server(servers, endpoint) as exporting, _server(servers, "") as silent:
        return uvloop.run(_turns(exporting, silent))


async def _turns(exporting: _Server, silent: _Server) -> list[tuple[_Block, _Block]]:
    pairs = []
    with closing(exporting.connections), closing(silent.connections):
        for number in range(-_WARM_UP_BLOCKS, _BLOCKS):
            if number % 2:
                told, untold = await _block(exporting), await _block(silent)
            else:
                untold, told = await _block(silent), await _block(exporting)
            if number >= 0:
                pairs.append((told, untold))
    await asyncio.sleep(_GOODBYE_S)  # TLS takes its leave
    return pairs


async def _block(server: _Server) -> _Block:
    async def ask(count: int) -> None:
        for _ in range(count):
            answer = await server.connections.send(server.request)
            if answer.status != _OK:
                message = f"answered {answer.status}: {answer.body[:200]!r}"
                raise RuntimeError(message)

    began, used_s = perf_counter(), processor_s(server.pid)
    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(ask(_REQUESTS_A_BLOCK // _AT_ONCE))
    return _Block(perf_counter() - began, processor_s(server.pid) - used_s)


@contextmanager
def _server(servers: Servers, endpoint: str) -> Iterator[_Server]:
    described, port = process_of(servers, ServiceName.LEDGER, "api"), ports.choose()
    environment = {**described.program.environment, "TALLY_PORT": str(port), "PYTHONPATH": str(Path.cwd())}
    if endpoint:
        environment["TALLY_OTLP_ENDPOINT"] = endpoint
    command = (sys.executable, "-m", "bench.telemetry_server", "api")
    program = replace(described.program, command=command, environment=environment)
    running = program.start()
    try:
        boot.wait_until(partial(readiness.is_ready, servers.layout, port), program=program, process=running)
        connections = Connections(
            f"https://localhost:{port}", ssl.create_default_context(cafile=str(servers.layout.ca_file))
        )
        path = f"/open/logs/{TenantId(new_id())}/checkpoint"
        yield _Server(running.pid, connections, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    finally:
        stop(running, program.stop_signal, timeout_s=20.0)


@contextmanager
def _collector() -> Iterator[str]:
    """Run a collector that takes everything."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise RuntimeError
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Be the collector, and say where."""

    class Collector(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        server.daemon_threads = True
        sys.stdout.write(f"http://127.0.0.1:{server.server_address[1]}\n")
        sys.stdout.flush()
        freeze_heap()
        server.serve_forever()


MEASURE: Final = Measure("telemetry_cost", take)

if __name__ == "__main__":
    main()
