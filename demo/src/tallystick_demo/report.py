"""What the demo says while it runs, and the report it leaves: each step with what it proved, in plain words."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from rich.markup import escape
from tallystick_cli.cluster.steps import StepFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rich.console import Console
    from rich.status import Status


def first_reason(error: BaseException) -> str:
    """Return what went wrong first, out of whatever groups it came in."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, StepFailed) else f"{type(error).__name__}: {error}"


class Step(msgspec.Struct, kw_only=True):
    """One step as the report has it."""

    name: str
    ok: bool = False
    detail: str = ""


class Running:
    """A step under way: its ``detail`` in the end, and what is shown meanwhile."""

    def __init__(self, step: Step, console: Console, spinner: Status) -> None:
        self._step = step
        self._console = console
        self._spinner = spinner

    @property
    def detail(self) -> str:
        """What the step proved, in words."""
        return self._step.detail

    @detail.setter
    def detail(self, text: str) -> None:
        self._step.detail = text

    def progress(self, text: str) -> None:
        """Show beside the spinner how far it is (on a terminal)."""
        self._spinner.update(f"[bold]{escape(self._step.name)}[/]  {escape(text)}")

    def happened(self, text: str) -> None:
        """Print one line about something worth seeing."""
        self._console.print(f"    [dim]{escape(text)}[/]")


class Report(msgspec.Struct, kw_only=True):
    """The whole run: ``lost`` and ``duplicates`` count journal keys against event stores and exports."""

    steps: list[Step] = []
    commands_accepted: int = 0
    events_stored: int = 0
    entries: int = 0
    duplicates: int = -1
    lost: int = -1
    certificates: int = 0
    kills: int = 0
    seconds: float = 0.0


class Telling:
    """Prints steps as they happen and keeps them for the report."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.report = Report()
        self._began = time.monotonic()

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Running]:
        """Run one step: a spinner while it runs, then what it proved; a failing one is told, kept and raised again."""
        step = Step(name=name)
        self.report.steps.append(step)
        began = time.monotonic()
        try:
            with self.console.status(f"[bold]{escape(name)}[/]") as spinner:
                yield Running(step, self.console, spinner)
        except BaseException as error:
            step.detail = first_reason(error)
            self.console.print(f"[bold red]✗[/] [bold]{escape(name)}[/]\n    {escape(step.detail)}")
            raise
        step.ok = True
        took = f"[dim]{time.monotonic() - began:.1f} s[/]"
        self.console.print(f"[bold green]✓[/] [bold]{escape(name)}[/] {took}\n    {escape(step.detail)}")

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        self.report.seconds = round(time.monotonic() - self._began, 1)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self.report)) + b"\n")
