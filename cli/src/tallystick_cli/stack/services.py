"""The five services and what each process of them is told: its own secrets and nobody else's."""

from collections.abc import Mapping
from dataclasses import dataclass

from tallystick_cli.stack import authority, nats, secret_files
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.nats import Nats
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.postgres import Postgres
from tallystick_cli.stack.state import State

DATABASE = "tally"
KEYS_DATABASE = "tally_keys"
MAIL_PORT = "mail"
LEDGER_ORIGIN = "tallystick.local"
ROLES = ("api", "worker")


@dataclass(frozen=True, slots=True)
class ServiceName:
    """How one service is called: `folder` on the command line, `name` in events, roles and users, `package` in Python."""

    folder: str
    name: str
    package: str
    stores_keys: bool

    @property
    def role_prefix(self) -> str:
        """What its database roles begin with."""
        return f"tally_{self.name}"


SERVICES = (
    ServiceName("identity", "identity", "tallystick_identity", stores_keys=True),
    ServiceName("assessment", "assessment", "tallystick_assessment", stores_keys=True),
    ServiceName("ledger", "ledger", "tallystick_ledger", stores_keys=False),
    ServiceName("verification", "verification", "tallystick_verification", stores_keys=False),
    ServiceName("privacy-worker", "privacy", "tallystick_privacy_worker", stores_keys=True),
)


def service(folder: str) -> ServiceName:
    """Find a service by the name used on the command line."""
    for candidate in SERVICES:
        if folder == candidate.folder:
            return candidate
    msg = f"there is no service {folder}: choose one of {', '.join(each.folder for each in SERVICES)}"
    raise StackError(msg)


def url_of(state: State, named: ServiceName) -> str:
    """Return a service's base address, `https://127.0.0.1:port`."""
    return f"https://{LOOPBACK}:{state.port(named.folder)}"


def database_password(layout: Layout, role: str) -> str:
    """Return the password of one login role."""
    return secret_files.secret(layout, f"postgres-{role}")


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers the services connect to, prepared (not necessarily running)."""

    layout: Layout
    state: State
    postgres: Postgres
    nats: Nats

    def service_environment(
        self,
        named: ServiceName,
        *,
        database: str = DATABASE,
        keys_database: str = KEYS_DATABASE,
    ) -> Mapping[str, str]:
        """Return the settings of a service's API and worker, `TALLY_*`; no other service's secret is among them."""
        layout = self.layout
        certificate, key = authority.ensure_server(layout, named.folder)
        environment = {
            "TALLY_DSN": self._dsn(named, "app", database),
            "TALLY_DUTY_DSN": self._dsn(named, "duty", database),
            "TALLY_NATS_URL": self.nats.url,
            "TALLY_NATS_SEED_FILE": str(nats.seed_file(layout, named.name)),
            "TALLY_CA_FILE": str(layout.ca_file),
            "TALLY_HOST": LOOPBACK,
            "TALLY_PORT": str(self.state.port(named.folder)),
            "TALLY_TLS_CERT_FILE": str(certificate),
            "TALLY_TLS_KEY_FILE": str(key),
            "TALLY_PUBLIC_URL": url_of(self.state, named),
            **{f"TALLY_URL_{each.name.upper()}": url_of(self.state, each) for each in SERVICES},
            "TALLY_CLIENT_SECRET_FILE": self._secret_file(f"client-{named.name}"),
            "TALLY_SESSION_JWKS_FILE": str(secret_files.session_keys(layout)),
            "TALLY_LEDGER_KEY": secret_files.checkpoint_public_key(layout),
            "TALLY_LEDGER_ORIGIN": LEDGER_ORIGIN,
        }
        if named.stores_keys:
            kek = f"kek-{named.name}.json"
            secret_files.key_encryption_keys(layout, kek)
            environment["TALLY_KEYS_DSN"] = self._dsn(named, "app", keys_database)
            environment["TALLY_KEK_FILE"] = str(secret_files.path_of(layout, kek))
        if named.name == "identity":
            environment |= self._identity_environment()
        if named.name == "ledger":
            environment["TALLY_CHECKPOINT_KEY_FILE"] = str(secret_files.path_of(layout, "checkpoint-key"))
        return environment

    def migration_environment(
        self,
        named: ServiceName,
        *,
        database: str = DATABASE,
        keys_database: str = KEYS_DATABASE,
    ) -> Mapping[str, str]:
        """Return the settings of `python -m … migrate`, which alone gets the migrating role."""
        environment = {
            "TALLY_MIGRATE_DSN": self._dsn(named, "migrate", database),
            "TALLY_CA_FILE": str(self.layout.ca_file),
        }
        if named.stores_keys:
            environment["TALLY_KEYS_MIGRATE_DSN"] = self._dsn(named, "migrate", keys_database)
        return environment

    def _identity_environment(self) -> dict[str, str]:
        for key in ("csrf-key", "blind-index-key"):
            secret_files.random_key(self.layout, key)
        clients = secret_files.client_hashes(self.layout, tuple(each.name for each in SERVICES))
        return {
            "TALLY_SESSION_KEY_FILE": str(secret_files.path_of(self.layout, "session-keys.json")),
            "TALLY_CSRF_KEY_FILE": str(secret_files.path_of(self.layout, "csrf-key")),
            "TALLY_BLIND_INDEX_KEY_FILE": str(secret_files.path_of(self.layout, "blind-index-key")),
            "TALLY_CLIENTS_FILE": str(clients),
            "TALLY_SMTP_HOST": LOOPBACK,
            "TALLY_SMTP_PORT": str(self.state.port(MAIL_PORT)),
            "TALLY_MAIL_FROM": "tallystick@localhost",
        }

    def _secret_file(self, name: str) -> str:
        secret_files.secret(self.layout, name)
        return str(secret_files.path_of(self.layout, name))

    def _dsn(self, named: ServiceName, kind: str, database: str) -> str:
        role = f"{named.role_prefix}_{kind}"
        return self.postgres.dsn(database, role=role, password=database_password(self.layout, role))
