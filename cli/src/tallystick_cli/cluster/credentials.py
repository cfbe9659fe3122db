"""The credentials of an installation: what is missing is made, what is there is never changed.

A pure function from what a cluster holds to what it should hold. Two kinds of values: *keys* (passwords, seeds, keys)
are made once and kept for ever, for with a lost key goes what it opened or signed; *derived* values (addresses with a
password in them, hashes, public halves) follow from keys and the plan, and are brought up to date.

A Secret that somebody else made (it lacks our label) is read and never written.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import msgspec
from tallystick_chassis.bootstrap import SERVICES_WITH_KEK, SERVICES_WITH_KEY_STORE, SERVICES_WITH_PURGE
from tallystick_contracts.topology import ServiceName

from tallystick_cli.cluster.certificates import ensure_authority, ensure_server
from tallystick_cli.cluster.errors import ClusterError
from tallystick_cli.cluster.plan import FOLDERS, MAIL, NATS, POSTGRES, Plan
from tallystick_cli.stack import secret_files
from tallystick_cli.stack.accounts import ADMIN, KEEPER, USERS
from tallystick_cli.stack.nats import make_seed, public_key_of

MANAGED_BY = "tallystick-credentials"
"""The value of `app.kubernetes.io/managed-by` on what is made here, and on nothing else."""

LATER_CHECKPOINT_KEYS = "ledger-checkpoint-keys"
"""The part with the ledger's checkpoint keys after the first: an operator makes it, when they rotate the key."""

_KEY_BYTES = 32
SUPERUSER = "postgres"


@dataclass(slots=True)
class Held:
    """One Secret or ConfigMap: its data, and whether it may be written."""

    data: dict[str, bytes] = field(default_factory=dict)
    ours: bool = True
    public: bool = False
    """A ConfigMap: nothing in it is secret."""
    type: str = "Opaque"


Objects = dict[str, Held]
"""Objects by name."""


def fill(plan: Plan, found: Mapping[str, Held]) -> Objects:
    """Return what there should be, from what there is.

    Raises:
        ClusterError: a Secret that is not ours lacks something.
    """
    objects = {name: Held(dict(one.data), one.ours, one.public, one.type) for name, one in found.items()}
    desk = _Desk(plan, objects)
    desk.infrastructure()
    for service in ServiceName:
        desk.service(service)
    desk.clients()
    desk.public()
    return objects


class _Desk:
    def __init__(self, plan: Plan, objects: Objects) -> None:
        self._plan = plan
        self._objects = objects

    def infrastructure(self) -> None:
        plan = self._plan
        if plan.certificates:
            ensure_authority(self._at("authority"))
            for folder in FOLDERS.values():
                self._server(folder)
        for user in (ADMIN, KEEPER):
            self._key(self._at(f"nats-{user}"), f"nats-{user}", "seed", make_seed)
        if plan.nats_embedded:
            self._server(NATS)
        if plan.mail_embedded:
            self._server(MAIL)
        if plan.postgres.embedded:
            self._server(POSTGRES)
            password = self._key(self._at(POSTGRES), POSTGRES, "password", _password)
            self._derive(POSTGRES, "admin-dsn", self._dsn(SUPERUSER, password, "postgres"))

    def service(self, service: ServiceName) -> None:
        folder = FOLDERS[service]
        self._role(f"{folder}-migrate", service, "migrate", "migrate-dsn", "keys-migrate-dsn")
        own = self._at(folder)
        self._role(folder, service, "app", "dsn", "keys-dsn")
        self._role(folder, service, "duty", "duty-dsn")
        if service in SERVICES_WITH_PURGE:
            self._role(folder, service, "purge", "purge-dsn")
        self._key(own, folder, "nats-seed", make_seed)
        self._key(own, folder, "client-secret", _password)
        if service in SERVICES_WITH_KEK:
            self._key(own, folder, "kek.json", _key_encryption_keys)
        if service is ServiceName.IDENTITY:
            self._key(own, folder, "session-keys.json", secret_files.make_session_keys)
            self._key(own, folder, "csrf-key", _random_key)
            self._key(own, folder, "blind-index-key", _random_key)
        if service is ServiceName.LEDGER:
            self._key(own, folder, "checkpoint-key", _random_key)

    def clients(self) -> None:
        """Tell identity the hashes of the services' secrets."""
        hashes = {
            str(service): hashlib.sha256(self._at(folder).data["client-secret"]).hexdigest()
            for service, folder in FOLDERS.items()
        }
        self._derive(FOLDERS[ServiceName.IDENTITY], "clients.json", msgspec.json.encode(hashes, order="sorted"))

    def public(self) -> None:
        """Write down what everybody may know: whom to trust, and the public halves."""
        own = self._at("authority").data.get("tls.crt", b"") if self._plan.certificates else b""
        extra = self._plan.extra_authorities.encode()
        identity = self._at(FOLDERS[ServiceName.IDENTITY])
        trust = self._at("trust", public=True)
        if trust.ours:
            trust.data |= {
                "ca.crt": b"\n".join(part.strip() for part in (own, extra) if part.strip()) + b"\n",
                "session-jwks.json": secret_files.public_session_keys(identity.data["session-keys.json"]),
                "ledger-key": self._ledger_key(trust.data.get("ledger-key", b"")),
            }
        users = self._at("nats-users", public=True)
        if users.ours:
            for user in USERS:
                users.data[f"NKEY_{user.upper()}"] = public_key_of(self._seed(user)).encode()

    def _ledger_key(self, pinned: bytes) -> bytes:
        """Return the public key that services pin: what is there while the ledger has its seed, else the first.

        After a rotation an operator pins the new one. A ledger that lacks the seed of what it pins does not start.
        """
        first = secret_files.public_key_of(
            base64.b64decode(self._at(FOLDERS[ServiceName.LEDGER]).data["checkpoint-key"])
        )
        later = self._objects.get(self._plan.name(LATER_CHECKPOINT_KEYS), Held()).data.values()
        return pinned if pinned.strip().decode() in {_public_half(seed) for seed in later} else first.encode()

    def _seed(self, user: str) -> bytes:
        if user in {ADMIN, KEEPER}:
            return self._at(f"nats-{user}").data["seed"].strip()
        return self._at(FOLDERS[ServiceName(user)]).data["nats-seed"].strip()

    def _server(self, part: str) -> None:
        plan = self._plan
        service = f"{plan.prefix}-{part}"
        names = (
            service,
            f"{service}.{plan.namespace}",
            f"{service}.{plan.namespace}.svc",
            f"{service}.{plan.namespace}.svc.cluster.local",
            f"*.{service}.{plan.namespace}.svc",
            "localhost",
        )
        held = self._at(f"{part}-tls")
        held.type = "kubernetes.io/tls"
        if held.ours:
            ensure_server(self._at("authority").data, held, part, names)

    def _role(self, part: str, service: ServiceName, kind: str, name: str, keys_name: str | None = None) -> None:
        held = self._at(part)
        if not held.ours and name in held.data:
            return  # whoever wrote the address knows the role's password
        password = self._key(held, part, f"{kind}-password", _password)
        role, postgres = f"tally_{service}_{kind}", self._plan.postgres
        self._derive(part, name, self._dsn(role, password, postgres.database))
        if keys_name is not None and service in SERVICES_WITH_KEY_STORE:
            self._derive(part, keys_name, self._dsn(role, password, postgres.keys_database))

    def _dsn(self, role: str, password: bytes, database: str) -> bytes:
        postgres = self._plan.postgres
        host = self._plan.host(POSTGRES) if postgres.embedded else postgres.host
        return f"postgresql://{role}:{quote(password.decode(), safe='')}@{host}:{postgres.port}/{database}".encode()

    def _at(self, part: str, *, public: bool = False) -> Held:
        return self._objects.setdefault(self._plan.name(part), Held(public=public))

    def _key(self, held: Held, part: str, name: str, make: Callable[[], bytes]) -> bytes:
        if not held.data.get(name):
            self._refuse_foreign(held, part, name)
            held.data[name] = make()
        return held.data[name]

    def _derive(self, part: str, name: str, value: bytes) -> None:
        held = self._at(part)
        if held.ours:
            held.data[name] = value
        elif not held.data.get(name):
            self._refuse_foreign(held, part, name)

    def _refuse_foreign(self, held: Held, part: str, name: str) -> None:
        if not held.ours:
            msg = f"the Secret {self._plan.name(part)} was not made here and lacks {name}: add it, or delete the Secret"
            raise ClusterError(msg)


def _password() -> bytes:
    return secrets.token_urlsafe(_KEY_BYTES).encode()


def _random_key() -> bytes:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES))


def _public_half(seed: bytes) -> str | None:
    """Return the public key of a seed; none where it is not one, which the ledger itself refuses."""
    try:
        return secret_files.public_key_of(base64.b64decode(seed.strip(), validate=True))
    except ValueError:
        return None


def _key_encryption_keys() -> bytes:
    return msgspec.json.encode({"1": _random_key().decode()})
