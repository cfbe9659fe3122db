"""`tally up | down | status | serve | init | tenant add | trace | doctor | dlq | keys | log | hold | siem`.

Only typer and rich are imported here: an auditor's installation has neither servers nor services, and still lists
these commands. `actions` and `dlq` are imported when one of them runs.
"""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from tallystick_cli.operator.running import Folder, LogsOwner, fail, run
from tallystick_cli.operator.siem import siem

_MISUSED = 2

NewPorts = Annotated[
    bool,
    typer.Option("--new-ports", help="Give another port to what lost its own to another program; old links then fail."),
]
_ROLES = ("api", "worker", "migrate")

OneTenant = Annotated[str | None, typer.Option("--tenant", metavar="SLUG|ID", help="Of this tenant only.")]
EventId = Annotated[UUID, typer.Argument(help="The event's id, as `tally dlq list` prints it.")]
OwnerService = Annotated[str, typer.Option("--service", help="The service that could not handle it, as listed.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")]

tenant = typer.Typer(no_args_is_help=True, help="Tenants of the local stack.")
dlq = typer.Typer(
    no_args_is_help=True,
    help=(
        "Dead letters: events that a service could not handle.\n\n"
        "A service tries an event ten times, then puts it aside and goes on with the next. Find out why it failed "
        "(`list`, `show`, and the service's log), mend the cause, then `retry`; or give it up with `discard`."
    ),
)
log = typer.Typer(
    no_args_is_help=True,
    help=(
        "Logs that stand still because the database no longer has what was signed, as after restoring a backup.\n\n"
        "Look first whether a newer backup is to be had: bring that back, and everything goes on by itself."
    ),
)


hold = typer.Typer(
    no_args_is_help=True,
    help=(
        "Holds: expired audit logs that are kept nevertheless, as for a dispute.\n\n"
        "Placing and releasing are entries in the tenant's compliance log. Holds are printed as JSON, one a line."
    ),
)
contain = typer.Typer(no_args_is_help=True, help="In an incident: end sessions at once, in every service.")
keys = typer.Typer(no_args_is_help=True, help="Keys that sign and seal.")
rotate = typer.Typer(no_args_is_help=True, help="Use a new key; what the old one signed or sealed stays good.")
keys.add_typer(rotate, name="rotate")


def register(app: typer.Typer) -> None:
    """Add the operator's commands to the command line."""
    for command in (up, down, status, serve, openapi, init, export, trace, doctor):
        app.command()(command)
    app.add_typer(tenant, name="tenant")
    app.add_typer(dlq, name="dlq")
    app.add_typer(contain, name="contain")
    app.add_typer(keys, name="keys")
    app.add_typer(log, name="log")
    app.add_typer(hold, name="hold")
    app.add_typer(siem, name="siem")


def up(
    folder: Folder = None,
    *,
    servers_only: Annotated[bool, typer.Option(help="Start Postgres, NATS and mail, but no service.")] = False,
    new_ports: NewPorts = False,
) -> None:
    """Start everything in the background and say where it is."""
    run("up", folder, servers_only=servers_only, new_ports=new_ports)


def down(
    folder: Folder = None,
    *,
    quiet: Annotated[bool, typer.Option(help="Say nothing, and do not mind if nothing runs.")] = False,
    erase: Annotated[bool, typer.Option(help="Erase the stack's keys, database, mail and logs too, for ever.")] = False,
) -> None:
    """Stop everything that `tally up` started."""
    run("down", folder, quiet=quiet, erase=erase)


def status(
    folder: Folder = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")] = False,
) -> None:
    """Say what runs and where, and ask each service whether it is ready. Exit status 0 when all are, else 3."""
    run("show_status", folder, as_json=as_json)


def serve(
    service: Annotated[str, typer.Argument(help="A service's name, or `all` for the whole system in the foreground.")],
    role: Annotated[str, typer.Argument(metavar=f"[{'|'.join(_ROLES)}]", help="Which process of the service.")] = "api",
    folder: Folder = None,
    *,
    new_ports: NewPorts = False,
) -> None:
    """Run one process of a service in the foreground, or supervise all of them."""
    if role not in _ROLES:
        fail(f"there is no role {role}: choose one of {', '.join(_ROLES)}", exit_status=_MISUSED)
    if service == "all":
        run("serve_all", folder, new_ports=new_ports)
    else:
        run("serve_one", folder, service=service, role=role)


def openapi(
    service: Annotated[str, typer.Argument(help="A service's name.")],
    folder: Folder = None,
) -> None:
    """Print a service's OpenAPI document: every route, what it takes, what it answers, which capability it asks for."""
    run("serve_one", folder, service=service, role="openapi")


def init(
    tenant_slug: Annotated[str, typer.Option("--tenant", help="Short name, as in addresses: `acme`.")],
    name: Annotated[str, typer.Option(help="The name people see.")],
    admin: Annotated[str, typer.Option(help="The administrator's e-mail address.")],
    folder: Folder = None,
) -> None:
    """Make the first tenant and its administrator, once."""
    run("create_tenant", folder, command="init", slug=tenant_slug, name=name, admin=admin)


@tenant.command("add")
def add_tenant(
    tenant_slug: Annotated[str, typer.Option("--tenant", help="Short name, as in addresses: `acme`.")],
    name: Annotated[str, typer.Option(help="The name people see.")],
    admin: Annotated[str, typer.Option(help="The administrator's e-mail address.")],
    folder: Folder = None,
) -> None:
    """Make one more tenant and its administrator."""
    run("create_tenant", folder, command="add-tenant", slug=tenant_slug, name=name, admin=admin)


def export(
    tenant_slug: LogsOwner,
    out: Annotated[Path, typer.Option(help="Where the folders go, one for each log.")],
    folder: Folder = None,
) -> None:
    """Write a tenant's logs as an auditor gets them; `platform` has attempts across tenants, which no tenant may see.

    This is the operator's way, past every session, and leaves no entry: auditors ask the ledger itself.
    """
    run("export_logs", folder, tenant=tenant_slug, out=out)


def trace(
    correlation: Annotated[str, typer.Argument(metavar="CORRELATION", help="The id, from `X-Correlation-ID`.")],
    folder: Folder = None,
    *,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="A service's `trace find` from elsewhere; may be repeated."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the timeline as a page that opens offline.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show everything that one request caused, in every service, on one timeline: stored, recorded, handled.

    This is the operator's way, over all tenants; a tenant's auditor searches the ledger. Exit status 0, 1 when a
    service could not be asked, 3 when nothing bears the id.
    """
    arguments = {"correlation": correlation, "sources": sources or [], "html": html, "as_json": as_json}
    run("trace", folder, module="trace", **arguments)


def doctor(
    folder: Folder = None,
    *,
    upgrade: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep every log's checkpoint in FILE; run again, prove that each continues from it."
        ),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="A service's `doctor` from elsewhere; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Examine everything and say what to do: databases, roles, streams, keys, clocks, certificates, lags, chains.

    Nothing is changed. Exit status 0 when all is well, 1 when something failed, 3 when there are warnings only.
    """
    run("doctor", folder, module="doctor", sources=sources or [], upgrade=upgrade, as_json=as_json)


@log.command("breaks")
def list_breaks(folder: Folder = None, *, as_json: AsJson = False) -> None:
    """List logs that do not continue what was signed, and what goes on for them. Exit status 1 if one stands still."""
    run("list_breaks", folder, as_json=as_json)


@log.command("succeed")
def succeed_logs(
    tenant_slug: LogsOwner,
    reason: Annotated[str, typer.Option(help="Why, in 1 to 500 characters. It is sealed to the tenant's key.")],
    folder: Folder = None,
) -> None:
    """Close a tenant's broken logs for ever and go on in successors, each beginning with an entry that names the break.

    Prints the successors' names. If it is killed, give it again.
    """
    run("succeed_logs", folder, tenant=tenant_slug, reason=reason)


@hold.command("place")
def place_hold(
    tenant_slug: LogsOwner,
    code: Annotated[str, typer.Option(help="Why: a file number or code, up to 40 of A-Z a-z 0-9 . _ -; no names.")],
    log_id: Annotated[UUID | None, typer.Option("--log", help="This log only; unless told, all of the tenant.")] = None,
    folder: Folder = None,
) -> None:
    """Keep a tenant's audit logs beyond their retention until the hold is released."""
    run("place_hold", folder, tenant=tenant_slug, code=code, log=log_id)


@hold.command("release")
def release_hold(
    tenant_slug: LogsOwner,
    hold_id: Annotated[UUID, typer.Option("--hold", help="The hold's id, as `tally hold list` prints it.")],
    folder: Folder = None,
) -> None:
    """End a hold. What it alone kept is dropped within a minute if it has expired, for ever."""
    run("release_hold", folder, tenant=tenant_slug, hold=hold_id)


@hold.command("list")
def list_holds(tenant_slug: LogsOwner, folder: Folder = None) -> None:
    """List a tenant's holds."""
    run("list_holds", folder, tenant=tenant_slug)


@dlq.command("list")
def list_dead_letters(
    service: Annotated[str | None, typer.Option(help="Of this service only, such as `assessment`.")] = None,
    tenant_slug: OneTenant = None,
    folder: Folder = None,
    *,
    settled: Annotated[bool, typer.Option("--all", help="Those that were retried or discarded, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what waits for you, oldest first, over all services and tenants.

    State `open` waits for a decision, `retrying` for the worker. `quarantined` is what the ledger could not record: it
    can only be mended where it comes from, which sends it again until it fits. Exit status 1 when a service could not
    be asked; the others are listed even so.
    """
    arguments = {"service": service, "tenant": tenant_slug, "settled": settled, "as_json": as_json}
    run("list_letters", folder, module="dlq", **arguments)


@dlq.command("show")
def show_dead_letter(
    event_id: EventId, service: OwnerService, tenant_slug: OneTenant = None, folder: Folder = None
) -> None:
    """Print one dead letter and its event as JSON. Personal values in it are sealed, and stay so."""
    _act(folder, service, "show", event_id, tenant_slug)


@dlq.command("retry")
def retry_dead_letter(
    event_id: EventId,
    service: OwnerService,
    tenant_slug: OneTenant = None,
    folder: Folder = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Have the service's worker handle it once more, within seconds; if it fails again, it is `open` again."""
    _act(folder, service, "retry", event_id, tenant_slug, *(("--json",) if as_json else ()))


@dlq.command("discard")
def discard_dead_letter(
    event_id: EventId,
    service: OwnerService,
    reason: Annotated[str, typer.Option(help="Why, in 1 to 500 characters. It is sealed to the tenant's key.")],
    tenant_slug: OneTenant = None,
    folder: Folder = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Give it up for good: the service stays without the event, and the tenant's ledger records that and why."""
    _act(folder, service, "discard", event_id, tenant_slug, f"--reason={reason}", *(("--json",) if as_json else ()))


OfTenant = Annotated[str, typer.Option("--tenant", metavar="SLUG", help="The tenant's short name.")]


@contain.command("user")
def contain_user(
    person: Annotated[str, typer.Argument(metavar="PSEUDONYM|ADDRESS", help="Whose sessions end.")],
    tenant_slug: OfTenant,
    folder: Folder = None,
) -> None:
    """End every session of one person. They may sign in anew; disable them to prevent that."""
    arguments = ("user", f"--tenant={tenant_slug}", f"--person={person}")
    run("contain", folder, module="incident", arguments=arguments)


@contain.command("tenant")
def contain_tenant(tenant_slug: OfTenant, folder: Folder = None) -> None:
    """End every session in one tenant. Service keys go on: take them back one by one."""
    run("contain", folder, module="incident", arguments=("tenant", f"--tenant={tenant_slug}"))


@contain.command("all")
def contain_all(folder: Folder = None) -> None:
    """End every session in every tenant. Killed on the way, give it again."""
    run("contain", folder, module="incident", arguments=("all",))


@rotate.command("session")
def rotate_session(
    folder: Folder = None,
    *,
    distrust_old: Annotated[
        bool, typer.Option(help="Refuse at once what the old key signed: browsers refresh, services ask anew.")
    ] = False,
) -> None:
    """Sign session and service tokens with a new key, without a restart; print its id.

    No session ends: tokens of the old key are believed for their five minutes.
    """
    run("rotate_session_key", folder, module="incident", distrust=distrust_old)


@rotate.command("credential")
def rotate_credential(folder: Folder = None) -> None:
    """Wrap the keys of people's private data, such as the seeds of their second factors, under a new key.

    No factor, recovery code, session or name is touched. Killed, it is run again and goes on. Prints the new epoch.
    """
    run("rotate_key_encryption_key", folder, module="incident", service="identity")


@rotate.command("siem")
def rotate_siem(folder: Folder = None) -> None:
    """Wrap the secrets of SIEM destinations under a new key.

    The secrets stay, so no receiver notices. Killed, it is run again and goes on. Prints the new epoch.
    """
    run("rotate_key_encryption_key", folder, module="incident", service="ledger")


@rotate.command("content")
def rotate_content(folder: Folder = None) -> None:
    """Wrap the keys of questions, answers and certificates' links under a new key.

    Attempts go on. Killed, it is run again and goes on. Prints the new epoch.
    """
    run("rotate_key_encryption_key", folder, module="incident", service="assessment")


@rotate.command("opening")
def rotate_opening(folder: Folder = None) -> None:
    """Wrap the private keys of people and tenants, which open what is sealed in the logs, under a new key.

    The key pairs stay, so nothing is sealed anew. Killed, it is run again and goes on. Prints the new epoch.
    """
    run("rotate_key_encryption_key", folder, module="incident", service="privacy")


@rotate.command("checkpoint")
def rotate_checkpoint_key(
    folder: Folder = None,
    *,
    overlap_days: Annotated[
        float, typer.Option(min=0, help="How many days checkpoints carry the old key's signature as well.")
    ] = 30,
    timeout_s: Annotated[float, typer.Option(min=0, help="How many seconds to wait for the ledger's writers.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Make a new key for the ledger's checkpoints, and have every log record that both keys agree.

    Cut off at any moment, it goes on when it is run again. Exit status 0 when every log is signed by the new key, 3
    when some are not reached yet, 1 when it was refused.
    """
    run("rotate_checkpoint_key", folder, overlap_days=overlap_days, timeout_s=timeout_s, as_json=as_json)


def _act(folder: Path | None, service: str, does: str, event_id: UUID, tenant_slug: str | None, *options: str) -> None:
    of_tenant = () if tenant_slug is None else (f"--tenant={tenant_slug}",)
    run("act", folder, module="dlq", service=service, arguments=(does, *of_tenant, *options, str(event_id)))
