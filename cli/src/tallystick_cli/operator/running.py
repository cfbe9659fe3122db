"""Running one of the operator's actions: it is imported then, because an auditor's installation has none of them."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

_OPERATOR_EXTRA_MISSING = "this needs the operator's part: pip install 'tallystick-cli[operator]'"

Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="The stack's folder; `.tally` (or $TALLY_DIR) unless told otherwise."),
]
LogsOwner = Annotated[str, typer.Option("--tenant", help="A tenant's short name or id, or `platform`.")]


def run(action: str, folder: Path | None, *, module: str = "actions", **arguments: object) -> None:
    """Run one of the operator's actions and exit with its status."""
    actions = _import(module)
    try:
        exit_status = getattr(actions, action)(folder, **arguments)
    except actions.StackError as error:
        fail(str(error), exit_status=error.exit_status)
    raise typer.Exit(exit_status)


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"tallystick_cli.operator.{module}")
    except ModuleNotFoundError:
        fail(_OPERATOR_EXTRA_MISSING)


def fail(message: str, *, exit_status: int = 1) -> NoReturn:
    """Say why in one line, and exit."""
    Console(stderr=True, soft_wrap=True).print(f"[red]tally:[/red] {escape(message)}", highlight=False)
    raise typer.Exit(exit_status)
