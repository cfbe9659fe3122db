"""What runs in a container: the chart's images for trials, with this stack's users, certificates and settings.

Files are copied in before the start, so the engine need not share a disk with the tests. Ports are published on the
loopback address alone, since that is what the certificates name.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tallystick_cli.stack import authority, nats, postgres
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.state import State

_CHART = Path(__file__).parents[3] / "deploy/helm/tallystick/values.yaml"
_FOLDER = Path("/tally")
_READABLE = 0o644
_HBA = b"""\
# The image's own start makes the cluster over its socket; from outside there is TLS and a password.
local all postgres scram-sha-256
hostssl all all all scram-sha-256
"""
# The key comes in as root's, and Postgres wants its own or one that nobody else reads.
_START = 'install -o postgres -g postgres -m 0600 /tally/server.key /server.key && exec docker-entrypoint.sh "$@"'
_POSTGRES_PORT = 5432
_NATS_PORT = 4222
_MONITOR_PORT = 8222


@dataclass(frozen=True, slots=True)
class Specification:
    """One container: `ports` are published as container port → loopback port, `files` lie in it before it starts."""

    name: str
    image: str
    command: tuple[str, ...]
    ports: Mapping[int, int]
    files: Mapping[Path, bytes]
    environment: Mapping[str, str] = field(default_factory=dict)
    in_memory: tuple[Path, ...] = ()
    mode: int = _READABLE


def image_of(server: str) -> str:
    """Return the image of `postgres` or `nats`: `TALLY_POSTGRES_IMAGE` or `TALLY_NATS_IMAGE`, else the chart's."""
    chart = yaml.safe_load(_CHART.read_text(encoding="utf-8"))
    return os.environ.get(f"TALLY_{server.upper()}_IMAGE") or str(chart[server]["embedded"]["image"])


def postgres_container(layout: Layout, state: State, *, password: str) -> Specification:
    """Return a Postgres that is as hasty as one may be that is thrown away; the superuser's password is `password`."""
    certificate, key = authority.ensure_server(layout, "postgres")
    settings = {
        **postgres.SETTINGS,
        **postgres.HASTE,
        "listen_addresses": "*",  # the official image's own default, and not every image's
        "hba_file": str(_FOLDER / "pg_hba.conf"),
        "ssl_cert_file": str(_FOLDER / "server.pem"),
        "ssl_key_file": "/server.key",
    }
    return Specification(
        name="postgres",
        image=image_of("postgres"),
        command=("bash", "-c", _START, "bash", "postgres", *postgres.options(settings)),
        ports={_POSTGRES_PORT: state.port("postgres")},
        files={
            _FOLDER / "pg_hba.conf": _HBA,
            _FOLDER / "server.pem": certificate.read_bytes(),
            _FOLDER / "server.key": key.read_bytes(),
        },
        environment={
            "POSTGRES_PASSWORD": password,
            "PGDATA": "/var/lib/postgresql/data/pgdata",
            "POSTGRES_INITDB_ARGS": "--data-checksums --encoding=UTF8 --locale=C.UTF-8 --auth=scram-sha-256",
        },
        in_memory=(Path("/var/lib/postgresql/data"),),
    )


def nats_container(layout: Layout, state: State) -> Specification:
    """Return a NATS with the topology's accounts; its configuration has public keys only."""
    certificate, key = authority.ensure_server(layout, "nats")
    inside = _FOLDER / "server.pem", _FOLDER / "server.key"
    configuration = nats.configuration(
        layout,
        listen=f"0.0.0.0:{_NATS_PORT}",  # the container's own addresses; published on loopback alone
        monitor=f"0.0.0.0:{_MONITOR_PORT}",
        tls=inside,
        store=Path("/data"),
    )
    return Specification(
        name="nats",
        image=image_of("nats"),
        command=("nats-server", "--config", str(_FOLDER / "nats.conf")),
        ports={_NATS_PORT: state.port("nats"), _MONITOR_PORT: state.port("nats-monitor")},
        files={
            _FOLDER / "nats.conf": configuration.encode(),
            inside[0]: certificate.read_bytes(),
            inside[1]: key.read_bytes(),
        },
        in_memory=(Path("/data"),),
    )
