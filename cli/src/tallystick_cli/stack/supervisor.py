"""The process that owns a stack: starts the servers, fills them, starts the services, keeps all of them alive.

`python -m tallystick_cli.stack.supervisor FOLDER [--servers-only] [--new-ports]` is what `tally up` starts in the
background.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog
from tallystick_chassis.telemetry import LineWriter

from tallystick_cli.stack import boot, broker_setup, readiness, state, status
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.errors import ServerFailedError, StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import FOLDERS, Servers, urls
from tallystick_cli.stack.status import Phase, ProgramStatus, Status

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TEND_EVERY_S = 0.05
_BROKER_CHECK_EVERY_S = 2.0
_STUCK_CHECKS = 3
_SERVICE_STOP_TIMEOUT_S = 12.0  # they drain for up to 10 s
_SERVER_STOP_TIMEOUT_S = 15.0
_SERVICES_READY_TIMEOUT_S = 60.0
_HOPELESS_RESTARTS = 3

_log = structlog.get_logger(__name__)


class _StopRequestedError(Exception):
    """One of the stop signals arrived."""


class Supervisor:
    """Runs one stack until it is told to stop. Children die with it, even when it is killed."""

    def __init__(
        self,
        layout: Layout,
        *,
        with_services: bool = True,
        new_ports: bool = False,
        report: Callable[[Status], None] | None = None,
    ) -> None:
        """Prepare; `report` gets every status that is also written to the status file."""
        self._layout = layout
        self._with_services = with_services
        self._new_ports = new_ports
        self._moved: dict[str, state.Moved] = {}
        self._report = report
        self._servers: list[Child] = []
        self._services: list[Child] = []
        self._prepared: Servers | None = None
        self._broker_check_at = 0.0
        self._stuck_checks = 0
        self._stopping = False

    def run(self) -> None:
        """Start, supervise, and stop in order on SIGTERM, SIGINT or SIGHUP; raise `StackError` when it cannot start."""
        self._layout.create()
        with status.sole_supervisor(self._layout), _signals(self._request_stop):
            problem: str | None = None
            try:
                self._start()
                self._supervise()
            except _StopRequestedError:
                pass
            except StackError as error:
                problem = str(error)
                raise
            finally:
                self._can_say("stopping")
                self._stop()
                self._can_say("failed" if problem else "stopped", problem)

    def _start(self) -> None:
        self._say("preparing")
        before = state.read(self._layout)
        servers = self._prepared = boot.prepare(self._layout, new_ports=self._new_ports)
        self._moved = state.moved(before, servers.state)
        self._say("servers")
        for program, is_ready in (
            (servers.postgres.program, servers.postgres.is_ready),
            (servers.nats.program, servers.nats.is_ready),
        ):
            child = Child.start(program)
            self._servers.append(child)
            self._wait(is_ready, child)
        mail = Child.start(boot.mail_program(servers))
        self._servers.append(mail)
        self._say("database")
        boot.fill(servers, with_migrations=self._with_services)
        if self._with_services:
            self._say("services")
            self._start_services(servers, boot.service_programs(servers))
        self._say("ready")

    def _start_services(self, servers: Servers, programs: Sequence[Program]) -> None:
        self._services = [Child.start(program) for program in programs]
        deadline = time.monotonic() + _SERVICES_READY_TIMEOUT_S
        waiting = {folder: servers.state.port(folder) for folder in FOLDERS}
        while waiting:
            self._check_stop()
            if time.monotonic() > deadline:
                late = next(child.program for child in self._services if child.program.name == f"{min(waiting)}-api")
                raise boot.failure(late, f"was not ready within {_SERVICES_READY_TIMEOUT_S:.0f} s")
            self._tend()
            for child in self._services:
                if child.restarts >= _HOPELESS_RESTARTS:
                    raise boot.failure(child.program, "ends again and again")
            waiting = {name: port for name, port in waiting.items() if not readiness.is_ready(self._layout, port)}
            time.sleep(_TEND_EVERY_S)

    def _supervise(self) -> None:
        told = True
        while True:
            self._check_stop()
            changed = self._tend()
            if changed or not told:
                told = self._can_say("ready")
            self._see_to_broker()
            time.sleep(_TEND_EVERY_S)

    def _see_to_broker(self) -> None:
        now = time.monotonic()
        if self._prepared is None or now < self._broker_check_at:
            return
        self._broker_check_at = now + _BROKER_CHECK_EVERY_S
        self._restart_stuck_broker(self._prepared)
        self._refill_broker(self._prepared)

    def _restart_stuck_broker(self, servers: Servers) -> None:
        """Start NATS again when it says several times that it is not well; by itself it would never be."""
        self._stuck_checks = self._stuck_checks + 1 if servers.nats.is_stuck() else 0
        if self._stuck_checks < _STUCK_CHECKS:
            return
        self._stuck_checks = 0
        _log.warning("broker_restarted")
        for child in self._servers:
            if child.program.name == servers.nats.program.name:
                child.ask_to_stop()  # and `_tend` starts it

    def _refill_broker(self, servers: Servers) -> None:
        """Put streams and durables back when NATS has lost them, as with its store: no service may do it."""
        if broker_setup.is_set_up(servers.nats):
            return
        _log.warning("broker_refilled")
        with contextlib.suppress(ServerFailedError):  # it went away meanwhile: the next check tries again
            broker_setup.refill(self._layout, servers.nats)

    def _tend(self) -> bool:
        changed = [child.tend() for child in (*self._servers, *self._services)]
        return any(changed)  # after all were tended

    def _stop(self) -> None:
        # Services first, all at once, while their servers still answer; then the servers in reverse order.
        for child in self._services:
            child.ask_to_stop()
        deadline = time.monotonic() + _SERVICE_STOP_TIMEOUT_S
        for child in self._services:
            child.wait_until_stopped(max(0.0, deadline - time.monotonic()))
        for child in reversed(self._servers):
            child.ask_to_stop()
            child.wait_until_stopped(_SERVER_STOP_TIMEOUT_S)

    def _wait(self, is_ready: Callable[[], bool], child: Child) -> None:
        def ready_or_stopped() -> bool:
            self._check_stop()
            return is_ready()

        boot.wait_until(ready_or_stopped, program=child.program, process=child.process)

    def _request_stop(self) -> None:
        self._stopping = True

    def _check_stop(self) -> None:
        if self._stopping:
            raise _StopRequestedError

    def _can_say(self, phase: Phase, problem: str | None = None) -> bool:
        """Say it, where there is room to write it: on a full disk what runs matters more than what is said of it."""
        try:
            self._say(phase, problem)
        except OSError:
            return False
        return True

    def _say(self, phase: Phase, problem: str | None = None) -> None:
        now = Status(
            phase=phase,
            pid=os.getpid(),
            ca_file=str(self._layout.ca_file),
            mail=str(self._layout.mail),
            programs={
                child.program.name: ProgramStatus(child.process.pid if child.is_alive else None, child.restarts)
                for child in (*self._servers, *self._services)
            },
            urls=urls(self._prepared.state) if self._prepared else {},
            moved=self._moved,
            problem=problem,
        )
        status.write(self._layout, now)
        if self._report:
            self._report(now)


@contextlib.contextmanager
def _signals(on_stop: Callable[[], None]) -> Iterator[None]:
    """Call back on the stop signals, and put the former handlers back afterwards."""
    former = {each: signal.signal(each, lambda *_: on_stop()) for each in _STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def _leave_the_caller() -> None:
    # The caller's child ends here; what goes on belongs to no terminal and to init.
    if os.fork():
        os._exit(0)
    os.setsid()


def main() -> int:
    """Run until stopped; print one line and return 1 when the stack cannot start."""
    parser = argparse.ArgumentParser(prog="tallystick-supervisor")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--servers-only", action="store_true")
    parser.add_argument("--new-ports", action="store_true")
    parser.add_argument("--background", action="store_true")
    arguments = parser.parse_args()
    if arguments.background:
        _leave_the_caller()
    structlog.configure(logger_factory=lambda *_: LineWriter())
    try:
        Supervisor(
            Layout.at(arguments.folder), with_services=not arguments.servers_only, new_ports=arguments.new_ports
        ).run()
    except StackError as error:
        sys.stderr.write(f"tally: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
