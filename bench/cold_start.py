"""`cold_start` and `cold_start_memory`: each service's API and worker, from the start of the process until it is ready.

Postgres and NATS run in memory, with every table; the processes start one at a time. Ready is what Kubernetes asks for:
`/ready`, over TLS of an API and in the clear of a worker. Memory is what the process holds (RSS) a second later. Python
finds its bytecode, as in the images. `python -m bench.cold_start_parts` shows what costs.
"""

import http.client
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Final

import msgspec
from tallystick_cli.stack import boot, ports, readiness
from tallystick_cli.stack.program import Program, stop
from tallystick_cli.stack.services import ROLES, Servers
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

from bench.measure import Measure, Result, result
from bench.processors import processor_s

_LIMIT_S: Final = 3.0
_LIMIT_MB: Final = 120.0
_SETTLED_AFTER_S: Final = 1.0
_STOP_WITHIN_S: Final = 15.0
_PROBE_TIMEOUT_S: Final = 2.0
_MB: Final = 1_000_000


class Process(msgspec.Struct, frozen=True):
    """A process of a service, and what says that it is ready."""

    program: Program
    is_ready: Callable[[], bool]


class Start(msgspec.Struct, frozen=True):
    """One start: how long until it was ready, and what it had taken by then and held a second later."""

    ready_s: float
    processor_s: float
    memory_mb: float


def take() -> Result:
    """Start each process TALLY_BENCH_STARTS times (5); the median of the slowest one."""
    return result(
        name="cold_start",
        value=max(median(start.ready_s for start in starts) for starts in _all_starts()),
        unit="s, slowest process",
        reference="the limit, in s",
        reference_value=_LIMIT_S,
        goal=1.0,
        better="lower",
    )


def take_memory() -> Result:
    """Start each process TALLY_BENCH_STARTS times (5); the median of the largest one."""
    return result(
        name="cold_start_memory",
        value=max(median(start.memory_mb for start in starts) for starts in _all_starts()),
        unit="MB, largest process",
        reference="the limit, in MB",
        reference_value=_LIMIT_MB,
        goal=1.0,
        better="lower",
    )


def _all_starts() -> Iterable[list[Start]]:
    rounds = int(os.environ.get("TALLY_BENCH_STARTS", "5"))
    with running_servers() as running:
        boot.fill(running.servers)
        for process in processes(running.servers):
            starts = []
            for number in range(rounds + 1):
                with started(process) as start:
                    if number:  # the first fills the disk's cache
                        starts.append(start)
            sys.stderr.write(f"{process.program.name}: {told(starts)}\n")
            yield starts


def told(starts: list[Start]) -> str:
    """Say the medians of some starts in a line."""
    ready_s, processor_s, memory_mb = (
        median(getattr(start, name) for start in starts) for name in Start.__struct_fields__
    )
    return f"ready after {ready_s:.2f} s, of which {processor_s:.2f} s of a processor; {memory_mb:.0f} MB"


def processes(servers: Servers) -> Iterator[Process]:
    """Describe the API and the worker of every service."""
    for named in ServiceName:
        for role in ROLES:
            yield process_of(servers, named, role)


def process_of(servers: Servers, named: ServiceName, role: str) -> Process:
    """Describe one process; a worker gets a port for probes."""
    program = boot.service_program(servers, named, role)
    if role == "api":
        port = servers.state.port(SERVICE_FOLDERS[named])
        return Process(program, partial(readiness.is_ready, servers.layout, port))
    port = ports.choose()
    environment = {**program.environment, "TALLY_WORKER_PORT": str(port)}
    return Process(replace(program, environment=environment), partial(_worker_is_ready, port))


@contextmanager
def started(process: Process) -> Iterator[Start]:
    """Start a process and wait until it is ready; it is stopped at the end of the block.

    Raises:
        ServerFailedError: if it ended, or was not ready in time.
    """
    began = perf_counter()
    running = process.program.start()
    try:
        boot.wait_until(process.is_ready, program=process.program, process=running)
        ready_s = perf_counter() - began
        used_s = processor_s(running.pid)
        sleep(_SETTLED_AFTER_S)
        yield Start(ready_s, used_s, _memory_mb(running.pid))
    finally:
        stop(running, process.program.stop_signal, timeout_s=_STOP_WITHIN_S)


def _worker_is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(ports.LOOPBACK, port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _memory_mb(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MB


MEASURE: Final = Measure("cold_start", take)
MEMORY: Final = Measure("cold_start_memory", take_memory)
