"""What `tally trace` does: every service is asked in a process of its own what it knows of one correlation id.

First what each stored and the ledger recorded, then which of those events each handled. One timeline is made of it.
"""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from tallystick_chassis.trace_command import Handled, Hop
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

from tallystick_cli.operator.actions import known_servers
from tallystick_cli.operator.trace_page import render_page
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.services import Servers

__all__ = ["StackError", "Timeline", "trace"]

_NOT_FOUND = 3
_WIDTH = 200
_AT_ONCE = 2  # each is an interpreter of its own, busy with imports for a second
_PREFIX = "tallystick: "


class Timeline(msgspec.Struct, frozen=True):
    """All hops of a correlation id, in order of time; ``missing`` are the services that could not be asked."""

    correlation: str
    hops: tuple[Hop, ...]
    missing: tuple[str, ...] = ()


def trace(folder: Path | None, *, correlation: str, sources: Sequence[Path], html: Path | None, as_json: bool) -> int:
    """Print the timeline, as JSON where asked for, and write it as a page; 3 when nothing bears the id."""
    timeline = _read(correlation, sources) if sources else _ask_all(known_servers(Layout.at(folder)), correlation)
    if html is not None:
        html.write_text(render_page(timeline.correlation, timeline.hops), encoding="utf-8")
    if as_json:
        sys.stdout.write(msgspec.json.encode(timeline).decode() + "\n")
    elif timeline.hops:
        _print(timeline)
    else:
        sys.stdout.write("nothing bears that correlation id\n")
    if timeline.missing:
        return 1
    return 0 if timeline.hops else _NOT_FOUND


def in_order(hops: Sequence[Hop]) -> tuple[Hop, ...]:
    """Return hops by time; of one moment, in the order in which an event can take them."""
    steps = ("stored", "published", "recorded", "handled", "buried")
    return tuple(sorted(set(hops), key=lambda hop: (hop.at, steps.index(hop.what), hop.service, hop.event_type)))


def _read(correlation: str, sources: Sequence[Path]) -> Timeline:
    """Put together what services have printed elsewhere."""
    hops: list[Hop] = []
    for source in sources:
        try:
            # What stands before the last line is the service's log.
            hops += msgspec.json.decode(source.read_bytes().splitlines()[-1], type=list[Hop])
        except (OSError, IndexError, msgspec.DecodeError) as error:
            msg = f"{source} is not what a service's `trace` printed ({type(error).__name__})"
            raise StackError(msg) from error
    return Timeline(correlation, in_order(hops))


def _ask_all(servers: Servers, correlation: str) -> Timeline:
    hops, missing = _ask(servers, ("find", correlation), b"")
    wanted = {(hop.tenant, hop.event_id): Handled(hop.tenant, hop.event_id, hop.event_type) for hop in hops}
    if wanted:
        handled, also_missing = _ask(servers, ("handled",), msgspec.json.encode(list(wanted.values())))
        hops += handled
        missing |= also_missing
    return Timeline(correlation, in_order(hops), tuple(sorted(missing)))


def _ask(servers: Servers, arguments: tuple[str, ...], told: bytes) -> tuple[list[Hop], set[str]]:
    # The programs first: describing one writes files, which is for one thread at a time.
    programs = {named: _program(servers, named, arguments) for named in ServiceName}

    def run(program: Program) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            program.command, check=False, env=program.full_environment, capture_output=True, input=told
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = dict(zip(programs, pool.map(run, programs.values()), strict=True))
    hops: list[Hop] = []
    missing: set[str] = set()
    for named, answer in answers.items():
        if answer.returncode == 0:
            hops += msgspec.json.decode(answer.stdout.splitlines()[-1], type=list[Hop])
            continue
        missing.add(SERVICE_FOLDERS[named])
        for line in answer.stderr.decode(errors="replace").splitlines():
            sys.stderr.write(f"tally: {line.removeprefix(_PREFIX)}\n")
    return hops, missing


def _program(servers: Servers, named: ServiceName, arguments: tuple[str, ...]) -> Program:
    name = f"{SERVICE_FOLDERS[named]}-trace"
    return Program(
        name=name,
        command=(sys.executable, "-m", SERVICE_PACKAGES[named], "trace", *arguments),
        log_file=servers.layout.log_file(name),
        environment=servers.service_environment(named),
    )


def told_of(hop: Hop) -> str:
    """Say what else is to be said of a hop."""
    match hop.what:
        case "recorded":
            return f"{(hop.log or '').rpartition('/')[2]} {hop.seq}"
        case "handled" | "buried":
            return f"by {hop.consumer}"
        case "stored":
            waits = {"broker": "not published yet", "receipt": "no receipt yet", None: ""}[hop.waits_for]
            return ", ".join(part for part in (f"by {hop.actor}" if hop.actor else "", waits) if part)
        case _:
            return ""


def _print(timeline: Timeline) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH  # a file has no edge to break lines at
    table = Table(box=None, pad_edge=False)
    for column in ("time (UTC)", "after", "service", "what", "event", ""):
        table.add_column(column, justify="right" if column == "after" else "left", overflow="fold")
    first = timeline.hops[0].at
    for hop in timeline.hops:
        after_ms = (hop.at - first).total_seconds() * 1000
        table.add_row(
            f"{hop.at:%H:%M:%S.%f}"[:-3], f"{after_ms:,.0f} ms", hop.service, hop.what, hop.event_type, told_of(hop)
        )
    console.print(table)
