"""`tally up | down | status | serve | init | tenant add`.

Only typer and rich are imported here: an auditor's installation has neither servers nor services, and still lists
these commands. `actions` is imported when one of them runs.
"""

import enum
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


class Role(enum.StrEnum):
    """One process of a service."""

    API = "api"
    WORKER = "worker"
    MIGRATE = "migrate"


tenant = typer.Typer(no_args_is_help=True, help="Tenants of the local stack.")


def register(app: typer.Typer) -> None:
    """Add the operator's commands to the command line."""
    for command in (up, down, status, serve, init):
        app.command()(command)
    app.add_typer(tenant, name="tenant")


def up(
    folder: Folder = None,
    *,
    servers_only: Annotated[bool, typer.Option(help="Start Postgres, NATS and mail, but no service.")] = False,
) -> None:
    """Start everything in the background and say where it is."""
    _run("up", folder, servers_only=servers_only)


def down(
    folder: Folder = None,
    *,
    quiet: Annotated[bool, typer.Option(help="Say nothing, and do not mind if nothing runs.")] = False,
    erase: Annotated[bool, typer.Option(help="Erase the folder too: keys, database, logs, for ever.")] = False,
) -> None:
    """Stop everything that `tally up` started."""
    _run("down", folder, quiet=quiet, erase=erase)


def status(
    folder: Folder = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")] = False,
) -> None:
    """Say what runs, and where. Exit status 0 when all is ready, else 3."""
    _run("show_status", folder, as_json=as_json)


def serve(
    service: Annotated[str, typer.Argument(help="A service's name, or `all` for the whole system in the foreground.")],
    role: Annotated[Role, typer.Argument(help="Which process of the service.")] = Role.API,
    folder: Folder = None,
) -> None:
    """Run one process of a service in the foreground, or supervise all of them."""
    if service == "all":
        _run("serve_all", folder)
    else:
        _run("serve_one", folder, service=service, role=role)


def init(
    tenant_slug: Annotated[str, typer.Option("--tenant", help="Short name, as in addresses: `acme`.")],
    name: Annotated[str, typer.Option(help="The name people see.")],
    admin: Annotated[str, typer.Option(help="The administrator's e-mail address.")],
    folder: Folder = None,
) -> None:
    """Make the first tenant and its administrator, once."""
    _run("create_tenant", folder, command="init", slug=tenant_slug, name=name, admin=admin)


@tenant.command("add")
def add_tenant(
    tenant_slug: Annotated[str, typer.Option("--tenant", help="Short name, as in addresses: `acme`.")],
    name: Annotated[str, typer.Option(help="The name people see.")],
    admin: Annotated[str, typer.Option(help="The administrator's e-mail address.")],
    folder: Folder = None,
) -> None:
    """Make one more tenant and its administrator."""
    _run("create_tenant", folder, command="add-tenant", slug=tenant_slug, name=name, admin=admin)


def _run(action: str, folder: Path | None, **arguments: object) -> None:
    actions = _actions()
    try:
        exit_status = getattr(actions, action)(folder, **arguments)
    except actions.StackError as error:
        _fail(str(error))
    raise typer.Exit(exit_status)


def _actions() -> ModuleType:
    try:
        return importlib.import_module("tallystick_cli.operator.actions")
    except ModuleNotFoundError:
        _fail(_OPERATOR_EXTRA_MISSING)


def _fail(message: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(f"[red]tally:[/red] {escape(message)}", highlight=False)
    raise typer.Exit(1)
