"""What `tally doctor` does: ask every service how it fares, compare what they say, and say what to do."""

import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from tallystick_chassis.doctor import Finding, Report, State
from tallystick_contracts.topology import DURABLES, EVENT_STREAM, SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName
from tallystick_ledger.logs.continuing import KeptLogs

from tallystick_cli.operator.actions import known_servers
from tallystick_cli.operator.continuing import ask_ledger, compare_or_keep
from tallystick_cli.stack import broker_setup, readiness, status
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import Servers

__all__ = ["StackError", "doctor"]

_FAILED, _WARNED = 1, 3
_AT_ONCE = 2  # each is an interpreter of its own, busy with imports for a second
_LAG_WARNING = 1_000
_RESTARTS_WARNING = 3
_LEAST_ROOM_BYTES = 1024**3
_PREFIX = "tallystick: "


class Place(msgspec.Struct, frozen=True):
    """What was found in one place: a service's folder name, or `stack`, or `together` for comparisons."""

    place: str
    findings: tuple[Finding, ...]


def doctor(folder: Path | None, *, sources: Sequence[Path], upgrade: Path | None, as_json: bool) -> int:
    """Examine, print, and return 0 when all is well, 1 when something failed, 3 when there are warnings only."""
    if sources:
        printed = [_read(source) for source in sources]
        places = _examined([(one.service, one) for one in printed if isinstance(one, Report)])
        logs = next((one for one in printed if isinstance(one, KeptLogs)), None)
        if upgrade is not None and logs is None:
            msg = "--upgrade needs what the ledger's `checkpoints` printed among the --from files"
            raise StackError(msg)
        ask = (lambda _: logs) if logs is not None else None
    else:
        servers = known_servers(Layout.at(folder))
        places = [_stack(servers), *_examined(_ask_all(servers))]
        ask = partial(ask_ledger, servers)
    if upgrade is not None and ask is not None:
        places.append(Place("chains", tuple(compare_or_keep(ask, upgrade))))
    if as_json:
        sys.stdout.write(msgspec.json.encode(places).decode() + "\n")
    else:
        _print(places)
    states = {finding.state for place in places for finding in place.findings}
    return _FAILED if State.FAILED in states else _WARNED if State.WARNING in states else 0


def _examined(answers: Iterable[tuple[str, Report | Finding]]) -> list[Place]:
    places, reports = [], []
    for name, answer in answers:
        if isinstance(answer, Report):
            reports.append(answer)
            places.append(Place(SERVICE_FOLDERS[ServiceName(answer.service)], answer.findings))
        else:
            places.append(Place(name, (answer,)))
    compared = tuple(compare(reports))
    return [*places, Place("together", compared)] if compared else places


def compare(reports: Sequence[Report]) -> Iterator[Finding]:
    """Judge what no service can by itself: keys, releases, and how far consumers are behind their sources."""
    for what, values, todo in (
        ("ledger key", {one.ledger_key for one in reports if one.ledger_key}, "give all the same TALLY_LEDGER_KEY"),
        ("session keys", {one.session_keys for one in reports if one.session_keys}, "give all identity's public keys"),
    ):
        if len(values) > 1:
            yield Finding(what, State.FAILED, f"services trust {len(values)} different ones", todo)
        elif values:
            yield Finding(what, State.OK, "every service trusts the same")
    versions = sorted({one.version for one in reports})
    if len(versions) > 1:
        said = f"releases {', '.join(versions)} run side by side"
        yield Finding("releases", State.WARNING, said, "finish the upgrade, or the rollback")
    yield from _lags(reports)


def _lags(reports: Sequence[Report]) -> Iterator[Finding]:
    heads = {
        (one.tenant, one.source, one.aggregate): one.last_seq
        for report in reports
        for one in report.reached
        if not one.consumer
    }
    cursors = {
        (one.consumer, one.tenant, one.source, one.aggregate): one.last_seq
        for report in reports
        for one in report.reached
        if one.consumer
    }
    behind: defaultdict[str, int] = defaultdict(int)
    asked = {report.service for report in reports}
    for durable in DURABLES:
        # The ledger's writer has no cursors: what it has not recorded waits in the sources' outboxes.
        if durable.stream != EVENT_STREAM or durable.name == ServiceName.LEDGER or durable.service not in asked:
            continue
        behind[durable.name] = sum(
            max(0, head - cursors.get((durable.name, *key), 0))
            for key, head in heads.items()
            if durable.matches(key[1], key[2])
        )
    for name, number in behind.items():
        if number < _LAG_WARNING:
            yield Finding(f"consumer {name}", State.OK, f"{number} events behind")
        else:
            todo = "see that the worker and NATS run; scale the worker if it is busy: docs/howto/install.md"
            yield Finding(f"consumer {name}", State.WARNING, f"{number:,} events behind", todo)


def _stack(servers: Servers) -> Place:
    now = readiness.ask(servers.layout, status.read(servers.layout))
    found = [*_processes(servers.layout, now), *_streams(servers, now)]
    free_bytes = shutil.disk_usage(servers.layout.root).free
    if free_bytes < _LEAST_ROOM_BYTES:
        said = f"{free_bytes // 1024**2:,} MiB are free below {servers.layout.root}"
        found.append(Finding("disk", State.WARNING, said, "make room: on a full disk nothing is recorded"))
    return Place("stack", tuple(found))


def _processes(layout: Layout, now: status.Status) -> list[Finding]:
    if not now.programs:
        return [Finding("processes", State.FAILED, "nothing runs", "`tally up`")]
    found = []
    for name, program in now.programs.items():
        todo = f"read {layout.log_file(name)}"
        if program.pid is None:
            found.append(Finding("processes", State.FAILED, f"{name} is down", todo))
        elif program.restarts > _RESTARTS_WARNING:
            said = f"{name} was restarted {program.restarts} times"
            found.append(Finding("processes", State.WARNING, said, todo))
    for service in (name for name, ready in now.ready.items() if not ready):
        todo = f"its log says which part fails: {layout.log_file(f'{service}-api')}"
        found.append(Finding("readiness", State.FAILED, f"{service} is not ready", todo))
    return found or [Finding("processes", State.OK, f"{len(now.programs)} run, every API is ready")]


def _streams(servers: Servers, now: status.Status) -> list[Finding]:
    if not now.programs:
        return []
    if broker_setup.is_set_up(servers.nats):
        return [Finding("streams", State.OK, "NATS has every stream and durable")]
    todo = "the supervisor makes them again within seconds; in a cluster the stream keeper does"
    return [Finding("streams", State.FAILED, "NATS lacks streams or durables", todo)]


def _ask_all(servers: Servers) -> list[tuple[str, Report | Finding]]:
    # The programs first: describing one writes files, which is for one thread at a time.
    programs = {SERVICE_FOLDERS[named]: _program(servers, named) for named in ServiceName}

    def run(program: Program) -> Report | Finding:
        done = subprocess.run(program.command, check=False, env=program.full_environment, capture_output=True)
        if done.returncode == 0:
            return msgspec.json.decode(done.stdout.splitlines()[-1], type=Report)
        said = " ".join(
            line.removeprefix(_PREFIX) for line in done.stderr.decode(errors="replace").splitlines() if line
        )
        return Finding("process", State.FAILED, said or f"it ended with {done.returncode}", "mend what it names")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(zip(programs, pool.map(run, programs.values()), strict=True))


def _program(servers: Servers, named: ServiceName) -> Program:
    name = f"{SERVICE_FOLDERS[named]}-doctor"
    return Program(
        name=name,
        command=(sys.executable, "-m", SERVICE_PACKAGES[named], "doctor"),
        log_file=servers.layout.log_file(name),
        environment={**servers.service_environment(named), **servers.layout.overrides()},
    )


def _read(source: Path) -> Report | KeptLogs:
    try:
        # What stands before the last line is the service's log.
        printed = source.read_bytes().splitlines()[-1]
        if printed.startswith(b'{"prefix"'):
            return msgspec.json.decode(printed, type=KeptLogs)
        return msgspec.json.decode(printed, type=Report)
    except (OSError, IndexError, msgspec.DecodeError) as error:
        msg = (
            f"{source} is not what a service's `doctor` or the ledger's `checkpoints` printed ({type(error).__name__})"
        )
        raise StackError(msg) from error


def _print(places: Sequence[Place]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    signs = {
        State.OK: "[green]ok[/green]     ",
        State.WARNING: "[yellow]warning[/yellow]",
        State.FAILED: "[red]FAILED[/red] ",
    }
    for place in places:
        console.print(f"[bold]{escape(place.place)}[/bold]")
        for finding in place.findings:
            console.print(f"  {signs[finding.state]} {escape(f'{finding.check}: {finding.said}')}")
            if finding.do:
                console.print(f"          {escape(finding.do)}", style="bold" if finding.state is State.FAILED else "")
