"""The services and what each process of them is told: its own secrets and nobody else's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tallystick_chassis.bootstrap import SERVICES_WITH_KEK, SERVICES_WITH_KEY_STORE, SERVICES_WITH_PURGE
from tallystick_chassis.budgets import BUDGETS
from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

from tallystick_cli.stack import authority, nats, secret_files
from tallystick_cli.stack.errors import UnknownNameError
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.nats import Nats
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.postgres import Postgres
from tallystick_cli.stack.state import State

LoginKind = Literal["migrate", "app", "duty", "purge"]
DATABASE = "tally"
KEYS_DATABASE = "tally_keys"
MAIL_PORT = "mail"
LEDGER_ORIGIN = "tallystick.local"
ONE_ADDRESS_FOR_ALL = 1_000
"""On this machine everybody comes from 127.0.0.1: a demo, a test run or a bench is a thousand people's requests. Only
tries at secrets keep the limits that they have in earnest."""
_IN_EARNEST = ("failures.pair", "failures.account", "factor.")
ROLES = ("api", "worker")
FOLDERS = tuple(SERVICE_FOLDERS[each] for each in ServiceName)


def find_service(folder: str) -> ServiceName:
    """Find a service by its folder name, which is its name on the command line."""
    for name, its_folder in SERVICE_FOLDERS.items():
        if folder == its_folder:
            return name
    msg = f"there is no service {folder}: choose one of {', '.join(FOLDERS)}"
    raise UnknownNameError(msg)


def url_of(state: State, named: ServiceName) -> str:
    """Return a service's base address, `https://127.0.0.1:port`."""
    return f"https://{LOOPBACK}:{state.port(SERVICE_FOLDERS[named])}"


def urls(state: State) -> dict[str, str]:
    """Return the base address of every service by its folder name."""
    return {SERVICE_FOLDERS[named]: url_of(state, named) for named in ServiceName}


def database_role(named: ServiceName, kind: LoginKind) -> str:
    """Return the name of one of a service's login roles."""
    return f"tally_{named}_{kind}"


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
        folder = SERVICE_FOLDERS[named]
        certificate, key = authority.ensure_server(layout, folder)
        environment = {
            "TALLY_DSN": self._dsn(named, "app", database),
            "TALLY_DUTY_DSN": self._dsn(named, "duty", database),
            "TALLY_NATS_URL": self.nats.url,
            "TALLY_NATS_SEED_FILE": str(nats.seed_file(layout, named)),
            "TALLY_CA_FILE": str(layout.ca_file),
            "TALLY_HOST": LOOPBACK,
            "TALLY_PORT": str(self.state.port(folder)),
            "TALLY_TLS_CERT_FILE": str(certificate),
            "TALLY_TLS_KEY_FILE": str(key),
            "TALLY_PUBLIC_URL": url_of(self.state, named),
            **{f"TALLY_URL_{each.upper()}": url_of(self.state, each) for each in ServiceName},
            "TALLY_CLIENT_SECRET_FILE": self._secret_file(f"client-{named}"),
            "TALLY_SESSION_JWKS_FILE": str(secret_files.session_keys(layout)),
            "TALLY_LEDGER_KEY": secret_files.checkpoint_public_key(layout),
            "TALLY_LEDGER_ORIGIN": LEDGER_ORIGIN,
            "TALLY_RATE_LIMITS": _local_limits(),
        }
        if named in SERVICES_WITH_KEY_STORE:
            environment["TALLY_KEYS_DSN"] = self._dsn(named, "app", keys_database)
        if named in SERVICES_WITH_KEK:
            kek = f"kek-{named}.json"
            secret_files.key_encryption_keys(layout, kek)
            environment["TALLY_KEK_FILE"] = str(secret_files.path_of(layout, kek))
            environment["TALLY_KEK_WATCHED"] = str(secret_files.path_of(layout, kek))
        if named is ServiceName.IDENTITY:
            environment |= self._identity_environment()
        if named is ServiceName.LEDGER:
            environment["TALLY_CHECKPOINT_KEY_FILE"] = str(secret_files.path_of(layout, "checkpoint-key"))
            # A mark belongs to a database: another one begins with none.
            marks = layout.high_water / database
            marks.mkdir(mode=0o700, parents=True, exist_ok=True)
            environment["TALLY_HIGH_WATER"] = str(marks)
            environment["TALLY_CHECKPOINT_KEYS_DIR"] = str(layout.checkpoint_keys)
        return environment

    def worker_environment(
        self,
        named: ServiceName,
        *,
        database: str = DATABASE,
        keys_database: str = KEYS_DATABASE,
    ) -> Mapping[str, str]:
        """Return the settings of a service's worker: the API's, and what no API may have."""
        environment = dict(self.service_environment(named, database=database, keys_database=keys_database))
        if named in SERVICES_WITH_PURGE:
            environment["TALLY_PURGE_DSN"] = self._dsn(named, "purge", database)
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
        if named in SERVICES_WITH_KEY_STORE:
            environment["TALLY_KEYS_MIGRATE_DSN"] = self._dsn(named, "migrate", keys_database)
        return environment

    def _identity_environment(self) -> dict[str, str]:
        for key in ("csrf-key", "blind-index-key"):
            secret_files.random_key(self.layout, key)
        clients = secret_files.client_hashes(self.layout, tuple(ServiceName))
        return {
            "TALLY_SESSION_KEY_FILE": str(secret_files.path_of(self.layout, "session-keys.json")),
            "TALLY_SESSION_KEYS_WATCHED": str(secret_files.path_of(self.layout, "session-keys.json")),
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

    def _dsn(self, named: ServiceName, kind: LoginKind, database: str) -> str:
        role = database_role(named, kind)
        return self.postgres.dsn(database, role=role, password=database_password(self.layout, role))


def _local_limits() -> str:
    limits = {
        name: budget.limit * ONE_ADDRESS_FOR_ALL for name, budget in BUDGETS.items() if not name.startswith(_IN_EARNEST)
    }
    return json.dumps(limits, sort_keys=True)
