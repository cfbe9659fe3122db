"""Showing reports: JSON on stdout for machines, words for people; warnings and progress on stderr."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tallystick_cli.audit.console import EXIT_DAMAGED, Words, counted, printable, show_json, warn
from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.findings import Report, summarise
from tallystick_cli.audit.sources import LogSource

NOT_PINNED: Final = "self-consistent, not authenticated: the key came with the log; pin it with --key"


@contextmanager
def progress_bar(total_bytes: int | None) -> Iterator[Advance]:
    """Show how far the replay is, on stderr and only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _size_bytes: None
        return
    columns = (TextColumn("replaying"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replaying", total=total_bytes)
        yield lambda size_bytes: progress.advance(task, size_bytes)


def total_bytes(sources: Sequence[LogSource], passes: int = 1) -> int | None:
    """Say how much there is to read, where it can be known beforehand."""
    paths = [item.path for item in sources]
    try:
        return passes * sum(path.stat().st_size for path in paths if path) if all(paths) else None
    except OSError:
        return None


def report_json(reports: tuple[Report, ...]) -> None:
    """Print one JSON object: the report, or the summary of several."""
    show_json(reports[0] if len(reports) == 1 else summarise(reports))


def report_text(reports: tuple[Report, ...]) -> None:
    """Print each report in words, and at the end what no replay shows."""
    console = Words()
    for report in reports:
        _show(console, report)
    _print(console, "What this replay cannot show:", "bold")
    for limit in summarise(reports).limits:
        _print(console, f"  - {limit}")


def warn_if_unauthenticated(reports: tuple[Report, ...]) -> None:
    """Say on stderr that an intact log proves nothing about who made it."""
    if any(report.status == "intact" and not report.authenticated for report in reports):
        warn(NOT_PINNED)


def _show(console: Console, report: Report) -> None:
    _print(console, f"{report.log or 'unknown log'}  ({report.source})", "bold")
    if report.status == "intact":
        trust = "authenticated by your key" if report.authenticated else "self-consistent, not authenticated"
        style = "green" if report.authenticated else "yellow"
        _print(console, f"  intact: {_extent(report)}, root {report.root}, {trust}", style)
        if report.since is not None:
            _print(console, f"  continues the checkpoint that you kept at {counted(report.since, 'entry')}")
    for note in report.notes:
        _print(console, f"  {note}")
    for use in report.keys:
        where = f"sizes {use.after + 1} to {use.until}" if use.until is not None else f"sizes from {use.after + 1}"
        _print(console, f"  key: {where}: {use.key}")
    for finding in report.findings:
        where = f"entry {finding.seq} (line {finding.line}): " if finding.seq is not None else ""
        _print(console, f"  damaged: {where}{finding.code}: {finding.message}", "red")


def _print(console: Console, line: str, style: str = "") -> None:
    """Print a line in which a log may speak: markup and control characters in its words do nothing."""
    console.print(Text(printable(line), style=style))


def _extent(report: Report) -> str:
    """Say how long the log is and, where not all of it was read, how much was."""
    size = counted(report.entries, "entry")
    if not report.not_read:
        return size
    return f"{size}, of which {report.entries - report.not_read:,} were read and {report.not_read:,} not again"


def end_by(reports: tuple[Report, ...], *, quiet: bool = False) -> None:
    """Warn of logs that nobody authenticated, say on stderr what is damaged, and end with 1 if anything is."""
    warn_if_unauthenticated(reports)
    damaged = [report for report in reports if report.status == "damaged"]
    if damaged and not quiet:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        for report in damaged:
            _show(console, report)
    if damaged:
        raise typer.Exit(EXIT_DAMAGED)
