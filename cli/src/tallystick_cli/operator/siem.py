"""`tally siem …`: where a tenant's entries are streamed to."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from tallystick_cli.operator.running import Folder, LogsOwner, run

siem = typer.Typer(
    no_args_is_help=True,
    help=(
        "SIEMs: where a tenant's entries are streamed to, in OCSF 1.8, each at least once.\n\n"
        "Adding, pausing, replaying and removing are entries in the tenant's compliance log. Destinations and dead "
        "letters are printed as JSON, one a line."
    ),
)

Name = Annotated[str, typer.Option("--name", help="The destination's name: up to 40 of a-z 0-9 -.")]


class LogKind(StrEnum):
    """The kinds of logs that a tenant has."""

    AUDIT = "audit"
    COMPLIANCE = "compliance"


@siem.command("add")
def add(
    tenant_slug: LogsOwner,
    name: Name,
    folder: Folder = None,
    *,
    address: Annotated[str, typer.Option(help="https://host/path, or syslog+tls://host:6514.")],
    logs: Annotated[
        list[LogKind] | None, typer.Option("--log", help="Of this kind of log only; unless told, both.")
    ] = None,
    authorization_file: Annotated[
        Path | None, typer.Option(help="A file with what the receiver wants in `Authorization`.")
    ] = None,
    heartbeat_s: Annotated[
        int, typer.Option(help="After how many seconds without anything to send a sign of life.")
    ] = 300,
    from_beginning: Annotated[bool, typer.Option(help="Send what was recorded before, too.")] = False,
) -> None:
    """Stream to a SIEM from now on. Prints the secret that its receiver checks batches by, this once."""
    options = [f"--address={address}", f"--heartbeat-s={heartbeat_s}", *(f"--log={one.value}" for one in logs or ())]
    if authorization_file is not None:
        options.append(f"--authorization-file={authorization_file.absolute()}")
    if from_beginning:
        options.append("--from-beginning")
    _ask("add", folder, tenant_slug, name, *options)


@siem.command("list")
def list_destinations(tenant_slug: LogsOwner, folder: Folder = None) -> None:
    """List a tenant's destinations: how far behind each is, and what was wrong last."""
    _ask("list", folder, tenant_slug, None)


@siem.command("test")
def send_test(tenant_slug: LogsOwner, name: Name, folder: Folder = None) -> None:
    """Have the ledger's worker send a sign of life now. Exit status 0 when the receiver took it, else 3."""
    _ask("test", folder, tenant_slug, name)


@siem.command("replay")
def replay(
    tenant_slug: LogsOwner,
    name: Name,
    folder: Folder = None,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%dT%H:%M:%S%z"], help="What was recorded since, as 2026-11-22T10:00:00Z."),
    ] = None,
    log_id: Annotated[UUID | None, typer.Option("--log-id", help="The entries of this log, with --seq.")] = None,
    seq: Annotated[int | None, typer.Option(min=0, help="The first entry.")] = None,
) -> None:
    """Send entries again: those since a time, those of a log from one on, or all. Receivers know them by their id."""
    options = [] if since is None else [f"--since={since.isoformat()}"]
    options += [f"--log-id={log_id}"] if log_id else []
    options += [] if seq is None else [f"--seq={seq}"]
    _ask("replay", folder, tenant_slug, name, *options)


@siem.command("dead-letters")
def dead_letters(tenant_slug: LogsOwner, name: Name, folder: Folder = None) -> None:
    """List the entries that a receiver refused for good. They stand in their logs; `replay` sends them again."""
    _ask("dead-letters", folder, tenant_slug, name)


@siem.command("pause")
def pause(tenant_slug: LogsOwner, name: Name, folder: Folder = None) -> None:
    """Send nothing until `resume`; nothing is left out then."""
    _ask("pause", folder, tenant_slug, name)


@siem.command("resume")
def resume(tenant_slug: LogsOwner, name: Name, folder: Folder = None) -> None:
    """Go on where `pause` stopped."""
    _ask("resume", folder, tenant_slug, name)


@siem.command("remove")
def remove(tenant_slug: LogsOwner, name: Name, folder: Folder = None) -> None:
    """Send nothing more there, for good, and forget its secret."""
    _ask("remove", folder, tenant_slug, name)


def _ask(does: str, folder: Path | None, tenant_slug: str, name: str | None, *options: str) -> None:
    named = () if name is None else (f"--name={name}",)
    run("ask_about_siem", folder, arguments=(does, f"--tenant={tenant_slug}", *named, *options))
