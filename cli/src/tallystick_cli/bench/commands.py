"""`tally bench`: material to measure with."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tallystick_cli.bench.make_log import make_log

app = typer.Typer(name="bench", no_args_is_help=True, help="Make material to measure with.")


@app.callback()
def _root() -> None:
    """Keep `make-log` a sub-command even when it is the only one."""


@app.command("make-log")
def make_log_command(
    entries: Annotated[int, typer.Option("--entries", min=1, help="How many entries, of about 600 bytes each.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder for the log.")] = Path("made-log"),
) -> None:
    """Write a log as an export has it. It verifies with the key in it, which everybody knows: it is no evidence."""
    columns = (TextColumn("making"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    try:
        with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("making", total=entries)
            make_log(out, entries, lambda more: progress.advance(task, more))
    except OSError as error:
        typer.echo(f"tally: {out}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"tally audit verify {out} --key {out}/ledger.vkey")
