"""`tally audit report` and `export-as`: files made from verified exports."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from tallystick_cli.audit.console import (
    EXIT_DAMAGED,
    CaOption,
    HeaderOption,
    JsonOption,
    KeyOption,
    LogArgument,
    LogsArgument,
    all_sources,
    counted,
    fail,
    new_file,
    one_source,
    plain_errors,
    say,
)
from tallystick_cli.audit.drive import Advance
from tallystick_cli.audit.export_as import Format, export_log
from tallystick_cli.audit.findings import DamagedLogError
from tallystick_cli.audit.html_report import LogPart, render_report
from tallystick_cli.audit.keys import load_keys
from tallystick_cli.audit.profile import Profile
from tallystick_cli.audit.records import read_record
from tallystick_cli.audit.render import end_by, progress_bar, report_json, total_bytes, warn_if_unauthenticated
from tallystick_cli.audit.walk import Walk


def report(
    exports: LogsArgument,
    *,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify logs and write one HTML page about them that opens offline, on any screen and on paper.

    It shows entries over time and by type, each source's numbers, delays, silences, findings, and what a replay cannot
    show. The page runs no script and fetches nothing. Exit status: 0 intact, 1 damaged (the page says how), 2 not done.

        tally audit report logs --key ledger.vkey --out report.html
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        if out.exists():
            fail(f"{out} is there already; move it away first")
        sources = all_sources(exports)
        with progress_bar(total_bytes(sources)) as advance:
            parts = [_profiled(Walk(source, keys), advance) for source in sources]
        made_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        page = render_report(parts, made_at, version("tallystick-cli"))
        with new_file(out) as file:
            file.write(page.encode("utf-8", "replace"))
    reports = tuple(part.report for part in parts)
    if as_json:
        report_json(reports)
    else:
        entries = counted(sum(item.entries for item in reports), "entry")
        say(f"{entries} of {counted(len(reports), 'log')}, in {out}")
    end_by(reports, quiet=as_json)


def export_as(
    export: LogArgument,
    *,
    kind: Annotated[Format, typer.Option("--format", help="csv, ndjson (the lines themselves) or parquet.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    key: KeyOption = None,
    as_json: JsonOption = False,
    ca: CaOption = None,
    header: HeaderOption = None,
) -> None:
    r"""Verify a log and write it as a table; a damaged log gives no file.

    In CSV, a cell that a spreadsheet would take for a formula gets an apostrophe in front. Parquet needs the extra
    `tallystick-cli\[parquet]`. The table is for reading: only the lines themselves (ndjson) can be verified again.
    Exit status: 0 written, 1 the log is damaged, 2 not done.

        tally audit export-as logs/acme-compliance --format csv --out acme.csv --key ledger.vkey
    """
    with plain_errors():
        keys = load_keys(key) if key is not None else ()
        source = one_source(export, ca, header or ())
        try:
            with progress_bar(total_bytes([source])) as advance, new_file(out) as file:
                found = export_log(Walk(source, keys), kind, file, advance)
        except DamagedLogError as error:
            if as_json:
                report_json((error.report,))
            end_by((error.report,), quiet=as_json)
            raise typer.Exit(EXIT_DAMAGED) from None
    if as_json:
        report_json((found,))
    else:
        say(f"{counted(found.entries, 'entry')} of {found.log}, in {out}")
    warn_if_unauthenticated((found,))


def _profiled(walk: Walk, advance: Advance) -> LogPart:
    profile = Profile()
    for _, lines in walk.lines(advance):
        for line in lines:
            profile.add(read_record(line))
    size = walk.checkpoint.size if walk.checkpoint else None
    return LogPart(walk.report(), size, profile, walk.series())
