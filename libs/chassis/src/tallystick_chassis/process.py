"""A service's process: ``api``, ``worker``, ``migrate``, ``wait``, ``openapi``, every service's commands and its own.

Exit codes: 0 done, 1 failed, 2 called or configured wrongly. On SIGTERM or SIGINT readiness flips first, so that no
new requests are sent here, then what runs is finished; ten seconds at most.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import uvicorn
import uvloop
from tallystick_contracts.topology import EPOCH_FOLLOWERS, SERVICES

from tallystick_chassis.clock import utc_now
from tallystick_chassis.database import Database, DutyDatabase, InsecureConnectionError
from tallystick_chassis.dead_letter_command import dead_letter_command
from tallystick_chassis.directory import with_directory
from tallystick_chassis.doctor import doctor_command
from tallystick_chassis.given_files import check_files
from tallystick_chassis.heap import freeze_heap
from tallystick_chassis.http.app import create_app, describe_app
from tallystick_chassis.http.capability import RouteDeclarationError
from tallystick_chassis.http.health import Readiness
from tallystick_chassis.http.key_file import KeyFile
from tallystick_chassis.http.probe_port import probe_port
from tallystick_chassis.http.service_client import ServiceClient
from tallystick_chassis.http.session_memory import SessionMemory
from tallystick_chassis.keystore import KeyStore
from tallystick_chassis.metric_catalogue import EPOCH_AGE
from tallystick_chassis.metrics import watch
from tallystick_chassis.otlp import OtlpSettings, start_exporting
from tallystick_chassis.pool_watch import watch_pools
from tallystick_chassis.revisions import MigrationError, current_revision, head_revision, known_revisions
from tallystick_chassis.sealing import Sealer
from tallystick_chassis.self_test import SelfTestError, self_test
from tallystick_chassis.service import Runtime
from tallystick_chassis.settings import MigrateSettings, Settings, SettingsError, load_settings
from tallystick_chassis.spans import traced
from tallystick_chassis.start_up import StartError, complain, wait_for_database
from tallystick_chassis.telemetry import configure_logging, get_log
from tallystick_chassis.trace_command import trace_command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.http.health import Check
    from tallystick_chassis.service import Command, Service, Wiring

GRACE_S = 8
KEEP_ALIVE_S = 75
"""How long a connection may stay idle: longer than balancers keep theirs (a minute), so that none of them sends a
request on a connection that is just being closed here."""
DATABASE_WAIT_S = 30.0
WAIT_S = 600.0
"""How long `wait` waits for a database and its migrations, which may be coming up beside us."""
POOL_SIZE = 10
DUTY_POOL_SIZE = 4
TLS_1_2_SUITES = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-GCM-SHA256")
    for signature in ("ECDSA", "RSA")
)
"""What is spoken to those without TLS 1.3, the strongest first: forward secrecy and AEAD alone (RFC 9325 §4.2)."""
_WAIT_POLL_S = 1.0
_DONE, _FAILED, _MISUSED = 0, 1, 2
_SERVING = frozenset({"api", "worker", "wait"})


def main(service: Service, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the process that the command line names, and exit."""
    sys.exit(run(service, sys.argv[1:] if arguments is None else arguments))


def run(service: Service, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run the process that ``arguments`` name and return its exit code."""
    commands = ("api", "worker", "migrate", "wait", "openapi", *_commands(service))
    if not arguments or arguments[0] not in commands:
        return complain([f"usage: python -m {service.package} {'|'.join(commands)}"], _MISUSED, environment)
    command, rest = arguments[0], arguments[1:]
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if command == "migrate":
                migration = load_settings(MigrateSettings, environment)
                configure_logging(service=service.name, process=command, level=migration.log_level)
                check_files(migration)
                return runner.run(_migrate(service, migration))
            settings = load_settings(service.settings, environment)
            configure_logging(service=service.name, process=command, level=settings.log_level)
            if command in _SERVING:
                check_files(settings)
            exporting = start_exporting(
                _otlp(settings, command), service=service.name, process=command, version=service.version
            )
            try:
                return runner.run(_serve(service, settings, command, rest))
            finally:
                exporting.close()
    except SettingsError as error:
        return complain(error.problems, _MISUSED, environment)
    except (StartError, SelfTestError, RouteDeclarationError, MigrationError, InsecureConnectionError) as error:
        return complain([str(error)], _FAILED, environment)
    except Exception as error:  # noqa: BLE001 - the edge of the process: one line, the places in the log
        get_log().critical("process_failed", exc_info=True)
        return complain([f"{command} failed: {type(error).__name__}"], _FAILED, environment)


async def _migrate(service: Service, settings: MigrateSettings) -> int:
    from tallystick_chassis.migrate import migrate  # noqa: PLC0415 - nothing that serves needs Alembic

    stop = _stop_on_signal()
    waiting = Database(settings.migrate_dsn, service.name, pool_size=1, ca_file=settings.ca_file)
    try:
        await wait_for_database(waiting.ping, stop, setting="TALLY_MIGRATE_DSN", timeout_s=DATABASE_WAIT_S)
    finally:
        await waiting.dispose()
    await migrate(settings.migrate_dsn, service=service.name, package=service.package, ca_file=settings.ca_file)
    if settings.keys_migrate_dsn is not None:
        await migrate(
            settings.keys_migrate_dsn,
            service=service.name,
            package=service.package,
            folder="key_migrations",
            ca_file=settings.ca_file,
        )
    get_log().info("migrated", revision=head_revision(service.package))
    return _DONE


def _otlp(settings: Settings, command: str) -> OtlpSettings | None:
    if settings.otlp_endpoint is None or command not in {"api", "worker"}:
        return None  # a command is over before anything would be collected
    return OtlpSettings(settings.otlp_endpoint, settings.otlp_interval_s, settings.otlp_trace_ratio)


def make_runtime(service: Service, settings: Settings, clock: Clock = utc_now) -> Runtime:
    """Return what the process holds. Connections are made when first needed."""
    keys = None
    if settings.keys_dsn is not None and settings.kek is not None:
        keys = KeyStore.connect(
            settings.keys_dsn,
            service.name,
            settings.kek,
            ca_file=settings.ca_file,
            clock=clock,
            file=None if settings.kek_watched is None else KeyFile(settings.kek_watched),
        )
    urls = {name: url for name in SERVICES if (url := settings.url_of(name)) is not None}
    return Runtime(
        service=service.name,
        settings=settings,
        database=Database(settings.dsn, service.name, pool_size=POOL_SIZE, ca_file=settings.ca_file, clock=clock),
        duty=DutyDatabase(
            settings.duty_dsn,
            service.name,
            pool_size=DUTY_POOL_SIZE,
            application_name=f"{service.name}-duty",
            ca_file=settings.ca_file,
            clock=clock,
        ),
        keys=keys,
        clock=clock,
        service_client=ServiceClient(service.name, urls=urls, secret=settings.client_secret, ca_file=settings.ca_file),
        sealer=Sealer(clock),
        log=get_log(),
    )


async def _serve(service: Service, settings: Settings, command: str, arguments: Sequence[str]) -> int:
    runtime = make_runtime(service, settings)
    try:
        if command == "openapi":
            sys.stdout.write(json.dumps(describe_app(service, service.wire(runtime)), indent=2) + "\n")
            return _DONE
        own = _commands(service).get(command)
        if own is not None:
            if command != "doctor":  # it is asked because something may be wrong
                await self_test(runtime.database, service.guards)
            return await own(runtime, arguments)
        stop = _stop_on_signal()
        if command == "wait":
            return await _wait_for_migrations(service, runtime, stop)
        await wait_for_database(runtime.database.ping, stop, setting="TALLY_DSN", timeout_s=DATABASE_WAIT_S)
        if stop.is_set():
            return _DONE
        await self_test(runtime.database, service.guards)
        wiring = service.wire(runtime)
        get_log().info("starting", version=service.version)
        watch_pools(runtime)
        if command == "api":
            await _serve_api(service, runtime, wiring, stop)
        else:
            # Only a worker needs NATS and the relay.
            from tallystick_chassis.worker import run_worker  # noqa: PLC0415 - the API process needs no NATS client

            handlers = {name: traced(handler) for name, handler in with_directory(wiring.handlers).items()}
            readiness = Readiness({**_checks(service, runtime), **wiring.readiness})
            freeze_heap()
            async with probe_port(settings.host, settings.worker_port, readiness):
                await run_worker(runtime, replace(wiring, handlers=handlers), stop)
        get_log().info("stopped")
        return _DONE
    finally:
        await runtime.close()


def _commands(service: Service) -> Mapping[str, Command]:
    own = {
        "dlq": dead_letter_command(),
        "trace": trace_command(),
        "doctor": doctor_command(service),
    }
    return own | dict(service.commands)


def _stop_on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _wait_for_migrations(service: Service, runtime: Runtime, stop: asyncio.Event) -> int:
    """Wait until the database answers and its schema is not behind the code."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WAIT_S
    await wait_for_database(runtime.database.ping, stop, setting="TALLY_DSN", timeout_s=WAIT_S)
    readiness = Readiness(_checks(service, runtime))
    while not stop.is_set() and (failing := await readiness.failing()):
        if loop.time() > deadline:
            message = f"schema_behind: the database is not what this release needs ({', '.join(failing)}); see migrate"
            raise StartError(message)
        await asyncio.sleep(_WAIT_POLL_S)
    return _DONE


async def _serve_api(service: Service, runtime: Runtime, wiring: Wiring, stop: asyncio.Event) -> None:
    settings: Settings = runtime.settings
    readiness = Readiness({**_checks(service, runtime), **wiring.readiness})
    memory = SessionMemory(clock=runtime.clock) if service.name in EPOCH_FOLLOWERS else None
    if memory is not None:
        watch(EPOCH_AGE, memory.seconds_since_heard)
    app = create_app(service, runtime, wiring, readiness, memory)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=str(settings.tls_cert_file),
        ssl_keyfile=str(settings.tls_key_file),
        ssl_ciphers=TLS_1_2_SUITES,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    server = _Server(config)
    freeze_heap()
    with _listen(settings.host, settings.port) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(stop.wait())
        watching = asyncio.create_task(_watch_epochs(runtime, memory, stop))
        get_log().info("listening", port=settings.port)
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        readiness.draining = True
        if not serving.done():
            get_log().info("draining")
            # Whoever sends requests here needs a moment to see that we are not ready any more.
            await asyncio.sleep(settings.drain_s)
            server.should_exit = True
        await serving
        watching.cancel()  # where serving failed; else it has ended with ``stop``
        await asyncio.wait({watching})


async def _watch_epochs(runtime: Runtime, memory: SessionMemory | None, stop: asyncio.Event) -> None:
    if memory is None:
        return
    from tallystick_chassis.bus import Bus  # noqa: PLC0415 - identity's and verification's APIs need no NATS client
    from tallystick_chassis.http.epoch_watch import EpochWatch  # noqa: PLC0415 - likewise

    def connect() -> Bus:
        settings: Settings = runtime.settings
        return Bus(settings.nats_url, name=runtime.service, seed=settings.nats_seed, ca_file=settings.ca_file)

    await EpochWatch(memory, connect).run(stop)


def _checks(service: Service, runtime: Runtime) -> dict[str, Check]:
    async def migrations() -> None:
        async with runtime.database.unscoped() as connection:
            revision = await current_revision(connection, service.name)
        # A revision that we do not know is of a newer release, with which an older one must live on.
        known = known_revisions(service.package)
        if revision != head_revision(service.package) and (revision is None or revision in known):
            message = "the schema is behind the code"
            raise MigrationError(message)

    async def isolation() -> None:
        await self_test(runtime.database, service.guards)

    checks: dict[str, Check] = {
        "database": runtime.database.ping,
        "migrations": migrations,
        "row_level_security": isolation,
    }
    if runtime.keys is not None:
        checks["key_store"] = runtime.keys.ping
    return checks


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            message = f"cannot listen on {host} port {port} ({error.strerror}); see TALLY_HOST and TALLY_PORT"
            raise StartError(message) from error
        listener.setblocking(False)  # noqa: FBT003 - its only parameter
        yield listener


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: draining comes first."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


__all__ = ["StartError", "main", "make_runtime", "run"]
