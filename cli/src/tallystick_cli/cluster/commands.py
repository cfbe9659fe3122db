"""`tally cluster …` and `tally db init`.

Only typer is imported here, as for every operator's command; the rest is imported when one of them runs.
"""

import asyncio
import contextlib
import importlib
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from tallystick_cli.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick_cli.cluster.database import Passwords

T = TypeVar("T")

cluster = typer.Typer(no_args_is_help=True, help="An installation on Kubernetes: its credentials and its streams.")
db = typer.Typer(no_args_is_help=True, help="Postgres, as its administrator.")

Authority = Annotated[Path, typer.Option("--ca-file", envvar="TALLY_CA_FILE", help="Authorities (PEM) to trust.")]
PlanFile = Annotated[Path, typer.Option("--plan", help="The installation, as the chart writes it (JSON).")]
DatabaseName = Annotated[str, typer.Option(help="The services' database.")]
KeysDatabaseName = Annotated[str, typer.Option(help="The key store's database.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(cluster, name="cluster")
    app.add_typer(db, name="db")


@cluster.command()
def credentials(
    *,
    plan: PlanFile,
    authorities: Annotated[
        Path | None, typer.Option("--authorities", help="A folder of more authorities to trust (PEM files).")
    ] = None,
) -> None:
    """Make what credentials are missing, as Secrets beside this Job; what is there is never changed."""
    kubernetes, plans = _module("kubernetes"), _module("plan")
    written = _or_complain(
        lambda: kubernetes.bring_up_to_date(plans.read_plan(plan, authorities), kubernetes.in_cluster())
    )
    typer.echo(f"written: {', '.join(written)}" if written else "everything is there")


@cluster.command()
def secrets(
    *,
    plan: Annotated[Path | None, typer.Option("--plan", help="The installation as the chart writes it (JSON).")] = None,
    release: Annotated[str, typer.Option(help="What the chart's objects begin with: `exams-tallystick`.")] = "",
    instance: Annotated[
        str, typer.Option(help="The release's name, where it is not what comes before `-tallystick`.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="The namespace of the installation.")] = "default",
    postgres_host: Annotated[str, typer.Option(help="Where Postgres is.")] = "",
    postgres_port: Annotated[int, typer.Option(help="Its port.")] = 5432,
    database: DatabaseName = "tally",
    keys_database: KeysDatabaseName = "tally_keys",
    authorities: Annotated[Path | None, typer.Option("--authorities", help="More authorities to trust (PEM).")] = None,
    existing: Annotated[Path | None, typer.Option("--existing", help="What there is already, to be kept.")] = None,
) -> None:
    """Print all credentials of an installation as Secrets, for `kubectl create -f` or a sealed store."""
    made, plans, manifests = _module("credentials"), _module("plan"), _module("manifests")

    def run() -> bytes:
        if plan is not None:
            wanted = plans.read_plan(plan)
        elif release and postgres_host:
            wanted = plans.Plan(
                prefix=release,
                namespace=namespace,
                postgres=plans.Database(postgres_host, postgres_port, database, keys_database),
                extra_authorities=authorities.read_text() if authorities else "",
                # The chart appends its name to the release's, unless that has it.
                labels={
                    "app.kubernetes.io/name": "tallystick",
                    "app.kubernetes.io/instance": instance or release.removesuffix("-tallystick"),
                    "app.kubernetes.io/part-of": "tallystick",
                },
            )
        else:
            msg = "name --release and --postgres-host, or a --plan"
            raise ClusterError(msg)
        found = manifests.from_list(existing.read_bytes()) if existing else {}
        listed: bytes = manifests.to_list(wanted, made.fill(wanted, found))
        return listed

    sys.stdout.write(_or_complain(run).decode() + "\n")


@cluster.command("rotate-session-key")
def rotate_session_key(
    *,
    plan: PlanFile,
    distrust_old: Annotated[
        bool, typer.Option("--distrust-old", help="Refuse what the old key signed, as soon as files are mounted.")
    ] = False,
    settle_s: Annotated[float, typer.Option(min=0, help="How long files take to be mounted, in seconds.")] = 120.0,
) -> None:
    """Sign session and service tokens with a new key; print its id. Runs as a Job of the chart, beside identity.

    No session ends: the key is made known everywhere before it signs.
    """
    kubernetes, keys, wanted = _module("kubernetes"), _module("session_key"), _module("plan")

    def run() -> str:
        new: str = keys.rotate(
            wanted.read_plan(plan),
            kubernetes.in_cluster(),
            keys.record_by_identity,
            lambda: time.sleep(settle_s),
            distrust_old=distrust_old,
        )
        return new

    typer.echo(_or_complain(run))


@cluster.command()
def streams(
    *,
    url: Annotated[str, typer.Option("--url", envvar="TALLY_NATS_URL", help="NATS, tls://host:port.")],
    seed_file: Annotated[Path, typer.Option("--seed-file", envvar="TALLY_NATS_SEED_FILE", help="The admin's seed.")],
    ca_file: Authority,
    replicas: Annotated[int, typer.Option(min=1, max=5, help="Servers that keep each stream.")] = 1,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for NATS, in seconds.")] = 120.0,
) -> None:
    """Make streams and durable consumers, or bring them to what this release needs; nothing is taken away."""
    topology = _module("streams")
    _or_complain(lambda: asyncio.run(topology.put(url, topology.read_seed(seed_file), ca_file, replicas, timeout_s)))
    typer.echo("streams and durables are as they should be")


@cluster.command("keep-streams")
def keep_streams(
    *,
    url: Annotated[str, typer.Option("--url", envvar="TALLY_NATS_URL", help="NATS, tls://host:port.")],
    seed_file: Annotated[Path, typer.Option("--seed-file", envvar="TALLY_NATS_SEED_FILE", help="The keeper's seed.")],
    ca_file: Authority,
    replicas: Annotated[int, typer.Option(min=1, max=5, help="Servers that keep each stream.")] = 1,
    every_s: Annotated[float, typer.Option(min=1.0, help="How often to look, in seconds.")] = 5.0,
) -> None:
    """Put back what NATS loses of its streams and durables, until told to end; change nothing that is there."""
    topology = _module("streams")
    _or_complain(lambda: topology.keep_until_told(url, seed_file, ca_file, replicas=replicas, every_s=every_s))


@cluster.command("nats-accounts")
def nats_accounts() -> None:
    """Print NATS' accounts and permissions; public keys are variables of the server's environment, `$NKEY_…`."""
    typer.echo(_module("streams").accounts_text(), nl=False)


@cluster.command()
def check(
    *,
    url: Annotated[list[str], typer.Option("--url", help="A service and its address, name=https://host:port.")],
    ca_file: Authority,
    session_keys: Annotated[Path, typer.Option("--session-keys", help="The public session keys that services trust.")],
    timeout_s: Annotated[float, typer.Option(min=0.0, help="How long to ask one that does not answer, in s.")] = 30.0,
    tenant: Annotated[str, typer.Option(help="Do the main job in this new tenant, whose people are made up.")] = "",
    mails: Annotated[str, typer.Option(help="Where their mails can be read, https://host:port.")] = "",
    ledger_key: Annotated[
        Path | None, typer.Option("--ledger-key", help="The ledger's pinned public key, base64 in a file.")
    ] = None,
    ledger_origin: Annotated[str, typer.Option(help="What the names of the ledger's logs begin with.")] = "",
    left_out: Annotated[str, typer.Option("--left-out", help="Why the main job is left out, to be said.")] = "",
) -> None:
    """Ask every service whether it is ready and refuses whom it must, and do the main job in small: `helm test`."""
    checks = _module("check")
    urls = dict(one.split("=", 1) for one in url)
    wrong = _or_complain(lambda: checks.wrong_with(urls, ca_file, session_keys, timeout_s=timeout_s))
    if wrong:
        _fail("; ".join(wrong))
    typer.echo(f"{len(url)} services are ready, trust one another, and turn strangers away")
    if not tenant:
        if left_out:
            typer.echo(f"the main job was left out: {left_out}")
        return
    if ledger_key is None or not mails or not ledger_origin:
        _fail("the main job needs --mails, --ledger-key and --ledger-origin beside --tenant")
    job, steps = _module("main_job"), _module("steps")
    pinned = _or_complain(lambda: ledger_key.read_text("ascii").strip())
    installation = job.Installation(
        urls=urls, ca_file=ca_file, ledger_key=pinned, ledger_origin=ledger_origin, mails=mails, tenant=tenant
    )
    try:
        _or_complain(lambda: job.do(installation, lambda step: typer.echo(f"held: {step}")))
    except steps.StepFailed as error:
        _fail(f"the main job failed: {error}")
    typer.echo("the main job in small is done")


@db.command("init")
def db_init(
    *,
    only_print: Annotated[bool, typer.Option("--print", help="Print the SQL for psql; do nothing.")] = False,
    secrets_file: Annotated[
        Path | None,
        typer.Option("--secrets", help="Secrets with the roles' addresses, as kubectl get -o json prints; - is stdin."),
    ] = None,
    credentials_folder: Annotated[
        Path | None, typer.Option("--credentials", help="The same, as a folder of a folder for each service.")
    ] = None,
    admin_dsn_file: Annotated[
        Path | None, typer.Option("--admin-dsn-file", help="A file with the administrator's address.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", envvar="TALLY_CA_FILE", help="Authorities (PEM).")
    ] = None,
    database: DatabaseName = "tally",
    keys_database: KeysDatabaseName = "tally_keys",
    timeout_s: Annotated[float, typer.Option(help="How long to wait for Postgres, in seconds.")] = 60.0,
) -> None:
    """Make roles, databases and schemas: print the SQL for an administrator, or do it. Both may be repeated.

    Without Secrets, passwords in the printed SQL are psql's variables: psql -v tally_identity_app=… and so on.
    """
    databases = _module("database")
    names = {"database": database, "keys_database": keys_database}

    def run() -> str:
        passwords = _passwords(secrets_file, credentials_folder)
        if only_print:
            text: str = databases.script(passwords or databases.psql_variables(), **names)
            return text if passwords else databases.with_variables(text)
        if passwords is None or admin_dsn_file is None or ca_file is None:
            msg = "name --print, or --admin-dsn-file, --ca-file and --credentials or --secrets"
            raise ClusterError(msg)
        admin_dsn = admin_dsn_file.read_text().strip()
        asyncio.run(databases.apply(admin_dsn, passwords, **names, ca_file=ca_file, timeout_s=timeout_s))
        return "roles, databases and schemas are there\n"

    sys.stdout.write(_or_complain(run))


def _passwords(secrets_file: Path | None, folder: Path | None) -> "Passwords | None":
    databases = _module("database")
    if secrets_file is not None:
        text = sys.stdin.buffer.read() if str(secrets_file) == "-" else secrets_file.read_bytes()
        found: Passwords = databases.passwords_from_objects(_module("manifests").from_list(text))
        return found
    return None if folder is None else databases.passwords_from_folder(folder)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"tallystick_cli.cluster.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tallystick_cli."):
            raise
        _fail(f"this needs more than is installed ({error.name}): pip install 'tallystick-cli[cluster]'")


def _or_complain(run: "Callable[[], T]") -> "T":
    try:
        return run()
    except (ClusterError, OSError, ValueError) as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    # As a service does: on standard error, and where Kubernetes looks for last words.
    line = f"tallystick: {message}"
    typer.echo(line, err=True)
    if last_words := os.environ.get("TALLY_TERMINATION_LOG"):
        with contextlib.suppress(OSError):
            Path(last_words).write_text(line, encoding="utf-8")
    raise typer.Exit(1)
