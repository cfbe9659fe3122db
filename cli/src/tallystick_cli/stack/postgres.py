"""A Postgres server of this stack's own: durable, on one loopback port, TLS and scram only."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tallystick_cli.stack import authority, durable, postgres_home
from tallystick_cli.stack.errors import ServerFailedError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.postgres_home import PostgresHome
from tallystick_cli.stack.program import Program, run_to_end
from tallystick_cli.stack.secret_files import secret

SUPERUSER = "postgres"
_BUILTIN_LOCALES_SINCE = 17

_HBA = b"""\
# One way in: TLS on the loopback address, with a password.
hostssl all all 127.0.0.1/32 scram-sha-256
"""
SETTINGS = {
    "ssl": "on",
    "ssl_min_protocol_version": "TLSv1.3",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "log_line_prefix": "%m [%p] %q%a ",
    "log_statement": "none",
    "log_parameter_max_length": "0",  # parameters are personal data or secrets
    "log_parameter_max_length_on_error": "0",
    "timezone": "UTC",
}
"""Whatever machine or container it runs in."""
HASTE = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
"""For a database that is thrown away: a killed process loses nothing by it, only a power cut would."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A prepared server: its `program` can be started, and started again after any crash."""

    home: PostgresHome
    port: int
    program: Program
    password: str

    def dsn(self, database: str, *, role: str = SUPERUSER, password: str | None = None) -> str:
        """Return `postgresql://role:password@127.0.0.1:port/database`; the superuser's password unless one is given."""
        secret_part = quote(password or self.password, safe="")
        return f"postgresql://{role}:{secret_part}@{LOOPBACK}:{self.port}/{database}"

    def is_ready(self) -> bool:
        """Whether the server accepts connections."""
        probe = subprocess.run(
            [self.home.binaries / "pg_isready", "-q", "-h", LOOPBACK, "-p", str(self.port), "-t", "1"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return probe.returncode == 0


def prepare(layout: Layout, port: int) -> Postgres:
    """Make the cluster at first start and describe the server; `ServerFailedError` says why initdb failed."""
    home = postgres_home.find(layout)
    password = secret(layout, "postgres-superuser")
    if not (home.data / "PG_VERSION").exists():
        _initialise(home, password)
    certificate, key = authority.ensure_server(layout, "postgres")
    for source, name in ((certificate, "server.pem"), (key, "server.key")):
        durable.replace(home.folder / name, source.read_bytes())
        home.hand_over(home.folder / name)
    settings = {
        **SETTINGS,
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "port": str(port),
        "ssl_cert_file": str(home.folder / "server.pem"),
        "ssl_key_file": str(home.folder / "server.key"),
    }
    program = Program(
        name="postgres",
        command=(str(home.binaries / "postgres"), "-D", str(home.data), *options(settings)),
        log_file=layout.log_file("postgres"),
        run_as=home.user,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        death_signal=signal.SIGINT,
    )
    return Postgres(home, port, program, password)


def options(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return settings as Postgres' command line has them."""
    return tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))


def _locale(version: int) -> tuple[str, ...]:
    # Both sort by code point. The built-in provider came with 17; before, the C library has to know the locale.
    if version >= _BUILTIN_LOCALES_SINCE:
        return ("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8")
    return ("--locale", "C.UTF-8")


def _initialise(home: PostgresHome, password: str) -> None:
    # In a folder beside it, renamed when complete, so that a crash leaves no half-made cluster under the name `data`.
    for leftover in home.folder.glob("initdb-*"):
        shutil.rmtree(leftover)
    unfinished = Path(tempfile.mkdtemp(prefix="initdb-", dir=home.folder))
    password_file = unfinished / "password"
    durable.replace(password_file, f"{password}\n".encode())
    cluster = unfinished / "cluster"
    cluster.mkdir(mode=0o700)
    for path in (unfinished, password_file, cluster):
        home.hand_over(path)
    try:
        run_to_end(
            (
                str(home.binaries / "initdb"),
                *("-D", str(cluster), "-U", SUPERUSER, "--pwfile", str(password_file), "-A", "scram-sha-256"),
                *("--encoding", "UTF8", *_locale(home.version()), "--data-checksums", "--no-instructions"),
            ),
            run_as=home.user,
        )
    except subprocess.CalledProcessError as error:
        msg = f"initdb failed: {error.stdout.decode(errors='replace').strip().splitlines()[-1:]}"
        raise ServerFailedError(msg) from error
    durable.replace(cluster / "pg_hba.conf", _HBA)
    home.hand_over(cluster / "pg_hba.conf")
    cluster.rename(home.data)
    durable.sync_folder(home.folder)
    shutil.rmtree(unfinished)
