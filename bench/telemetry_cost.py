"""`telemetry_cost`: an endpoint with traces, metrics and logs exported against the same one without.

Both read one row in a scoped transaction on a real Postgres and pass the whole application, without a socket of their
own, as in `session_check`. Each turn is a process of its own: what the exporter's threads do is in its time. The
collector is a socket in this process that takes everything and answers at once.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from time import perf_counter
from typing import Final

import msgspec
import uvloop
from tallystick_chassis.heap import freeze_heap
from tallystick_chassis.http.app import create_app
from tallystick_chassis.ids import TenantId, new_id
from tallystick_chassis.otlp import OtlpSettings, start_exporting
from tallystick_chassis.process import make_runtime
from tallystick_chassis.service import Service, Wiring
from tallystick_chassis.settings import Settings, load_settings
from tallystick_chassis.telemetry import configure_logging
from tallystick_cli.stack.temporary import running_servers
from tallystick_contracts.topology import ServiceName

from bench.measure import Measure, Result, result
from bench.session_check import made_jwks, tile, turn_of_requests, unchecked, vkey

GOAL: Final = 0.90
_TURNS_A_PROCESS: Final = 15
_REQUESTS_A_TURN: Final = 200
_WARM_UP_TURNS: Final = 3


class _Wanted(msgspec.Struct, frozen=True):
    environment: dict[str, str]
    endpoint: str | None


def take() -> Result:
    """Run TALLY_BENCH_PROCESSES processes (10) of 3,000 requests with and as many without, and compare the medians."""
    processes = int(os.environ.get("TALLY_BENCH_PROCESSES", "10"))
    with running_servers() as servers, tempfile.TemporaryDirectory() as folder, _collector() as endpoint:
        jwks = Path(folder) / "jwks.json"
        jwks.write_bytes(made_jwks())
        environment = {
            **servers.fresh_databases().environment(ServiceName.LEDGER),
            "TALLY_SESSION_JWKS_FILE": str(jwks),
        }
        rates: dict[str | None, list[float]] = {endpoint: [], None: []}
        for _ in range(processes):
            for which, found in rates.items():
                found.append(_rate(environment, which))
    return result(
        name="telemetry_cost",
        value=median(rates[endpoint]),
        unit="requests/s",
        reference="the same without telemetry",
        reference_value=median(rates[None]),
        goal=GOAL,
    )


def _rate(environment: Mapping[str, str], endpoint: str | None) -> float:
    wanted = msgspec.json.encode(_Wanted(dict(environment), endpoint))
    done = subprocess.run([sys.executable, "-m", __name__], check=True, input=wanted, capture_output=True)
    return float(done.stderr.splitlines()[-1])


@contextmanager
def _collector() -> Iterator[str]:
    class Collector(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


async def _serve(wanted: _Wanted) -> float:
    service = Service("ledger", "tallystick_ledger", Settings, lambda _: Wiring())
    runtime = make_runtime(service, load_settings(Settings, wanted.environment))
    app = create_app(service, runtime, Wiring(routes=[unchecked, vkey, tile]))
    freeze_heap()  # as a process does when it has started
    path = f"/open/logs/{TenantId(new_id())}/checkpoint"
    try:
        for number in range(-_WARM_UP_TURNS, _TURNS_A_PROCESS):
            if number == 0:
                began = perf_counter()
            await turn_of_requests(app, path, [])
        return _TURNS_A_PROCESS * _REQUESTS_A_TURN / (perf_counter() - began)
    finally:
        await runtime.close()


def main() -> None:
    """Run one turn: what is wanted comes on standard input, the rate goes to standard error."""
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=_Wanted)
    configure_logging(service="ledger", process="api")
    settings = None if wanted.endpoint is None else OtlpSettings(wanted.endpoint)
    exporting = start_exporting(settings, service="ledger", process="api", version="bench")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate = runner.run(_serve(wanted))
    exporting.close()
    sys.stderr.write(f"{rate}\n")


MEASURE: Final = Measure("telemetry_cost", take)

if __name__ == "__main__":
    main()
