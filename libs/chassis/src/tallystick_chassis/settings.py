"""Settings: what a process reads from its environment, once, before anything else.

A field ``smtp_host`` is the variable ``TALLY_SMTP_HOST``. Every variable has a twin with ``_FILE`` behind its name
that points to a file with the value, so that secrets can be mounted. A missing or invalid variable stops the process:
all of them are named in one message. Secrets have no defaults.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import nkeys
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tallystick_chassis.budgets import BudgetLimits
from tallystick_chassis.http.client_address import Networks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "TALLY_"
KEY_BYTES = 32
MAX_VALUE_BYTES = 65_536
MAX_DAYS = 36_500
_POSTGRES_SCHEMES = frozenset({"postgresql", "postgres"})


class Secret(str):
    """A secret text. Its ``repr`` does not show it, so that it cannot slip into a log or a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Hide the value."""
        return "Secret('…')"


class Dsn(Secret):
    """The address of a database with a role's password: ``postgresql://role:password@host:port/database``."""

    __slots__ = ()


class NkeySeed(Secret):
    """The seed of an nkey of a NATS user: ``SU…``."""

    __slots__ = ()


class SecretKey(bytes):
    """32 secret bytes, given in standard base64. Their ``repr`` does not show them."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Hide the value."""
        return "SecretKey(b'…')"


class PublicKey(bytes):
    """32 public bytes (Ed25519), given in standard base64."""

    __slots__ = ()


class Days(int):
    """A number of whole days, one at least."""

    __slots__ = ()


class KeyEncryptionKeys(dict[str, SecretKey]):
    """Key-encryption keys by epoch, given as a JSON object of epoch to 32 bytes in base64.

    The greatest epoch wraps new keys.
    """

    def __repr__(self) -> str:
        """Show the epochs only."""
        return f"KeyEncryptionKeys({sorted(self)})"

    @property
    def newest(self) -> str:
        """The epoch under which new keys are wrapped."""
        return max(self, key=lambda epoch: (len(epoch), epoch))  # so that 10 follows 9


class SettingsError(Exception):
    """The environment lacks settings or holds invalid ones; ``problems`` has one line for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every service's API and worker need. A service's own Settings extends this one.

    Fields that are ``None`` here are for some services only: a service that needs one declares it again without
    ``None``, and only then is it demanded (``client_secret: Secret``).
    """

    dsn: Dsn
    duty_dsn: Dsn
    nats_url: str
    nats_seed: NkeySeed
    ca_file: Path
    tls_cert_file: Path
    tls_key_file: Path
    port: int
    public_url: str
    host: str = "127.0.0.1"
    log_level: str = "INFO"
    otlp_endpoint: str | None = None
    otlp_interval_s: float = 15.0
    otlp_trace_ratio: float = 1.0
    drain_s: float = 1.0
    republish_after_s: float = 30.0
    hand_over_after_s: float = 10.0
    idempotency_days: Days = Days(7)
    inbox_days: Days = Days(90)
    keys_dsn: Dsn | None = None
    kek: KeyEncryptionKeys | None = None
    kek_watched: Path | None = None
    client_secret: Secret | None = None
    session_jwks_file: Path | None = None
    url_identity: str | None = None
    url_assessment: str | None = None
    url_ledger: str | None = None
    url_privacy: str | None = None
    url_verification: str | None = None
    ledger_key: PublicKey | None = None
    ledger_origin: str | None = None
    rate_limits: BudgetLimits | None = None
    trusted_proxies: Networks | None = None
    worker_port: int | None = None
    termination_log: str | None = None

    def url_of(self, service: str) -> str | None:
        """Return another service's https base, without a slash at its end; ``None`` where it is not known."""
        url: str | None = getattr(self, f"url_{service}", None)
        return url.rstrip("/") if url else None


class MigrateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What ``migrate`` needs, and nothing else: it gets no runtime secret."""

    migrate_dsn: Dsn
    ca_file: Path
    keys_migrate_dsn: Dsn | None = None
    log_level: str = "INFO"
    termination_log: str | None = None


S = TypeVar("S", bound=msgspec.Struct)


def load_settings(kind: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Return ``kind`` filled from the environment.

    Raises:
        SettingsError: naming every variable that is missing or invalid, never its value.
    """
    source = os.environ if environment is None else environment
    problems: list[str] = []
    values: dict[str, Any] = {}
    hints = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        variable = PREFIX + field.name.upper()
        try:
            text = _read(variable, source)
            if text is None:
                if field.required:
                    problems.append(
                        f"setting {variable} is missing: set it, or {variable}_FILE to a file that holds it"
                    )
                continue
            values[field.name] = _parser(_plain(hints[field.name]))(text)
        except ValueError as error:
            problems.append(f"setting {variable} is invalid: {error}")
    if problems:
        raise SettingsError(problems)
    try:
        return kind(**values)
    except ValueError as error:  # what a service refuses of settings that are each in order
        raise SettingsError([str(error)]) from None


def setting_names(kind: type[msgspec.Struct]) -> dict[str, bool]:
    """Return each variable that ``kind`` reads, and whether it is required; the reference is made from this."""
    return {PREFIX + field.name.upper(): field.required for field in msgspec.structs.fields(kind)}


def _read(variable: str, source: Mapping[str, str]) -> str | None:
    direct, twin = source.get(variable), source.get(f"{variable}_FILE")
    if direct is not None and twin is not None:
        message = f"both {variable} and {variable}_FILE are set"
        raise ValueError(message)
    if twin is not None:
        try:
            data = Path(twin).read_bytes()
        except OSError as error:
            message = f"{variable}_FILE cannot be read ({error.strerror})"
            raise ValueError(message) from None
        if len(data) > MAX_VALUE_BYTES:
            message = f"the file is longer than {MAX_VALUE_BYTES} bytes"
            raise ValueError(message)
        try:
            direct = data.decode().strip()
        except UnicodeDecodeError:
            message = "the file is not UTF-8"
            raise ValueError(message) from None
    # An empty variable is a forgotten one: compose files and charts make them easily.
    return direct or None


def _plain(hint: Any) -> type:  # noqa: ANN401 - a type annotation can be anything
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    return hint  # type: ignore[no-any-return] # whatever the annotation holds


def _parser(kind: type) -> Callable[[str], Any]:
    return _PARSERS.get(kind, kind)


def _path(text: str) -> Path:
    path = Path(text)
    if not os.access(path, os.R_OK):
        message = "the file does not exist or cannot be read"
        raise ValueError(message)
    return path


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        message = "not a whole number"
        raise ValueError(message) from None


def _days(text: str) -> Days:
    days = Days(_integer(text))
    if not 1 <= days <= MAX_DAYS:
        message = f"not a number of days from 1 to {MAX_DAYS}"
        raise ValueError(message)
    return days


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = "not a number"
        raise ValueError(message) from None


def _switch(text: str) -> bool:
    if text not in {"true", "false"}:
        message = "neither true nor false"
        raise ValueError(message)
    return text == "true"


def _key_bytes(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        message = "not standard base64"
        raise ValueError(message) from None
    if len(key) != KEY_BYTES:
        message = f"{len(key)} bytes where {KEY_BYTES} are needed"
        raise ValueError(message)
    return key


def _dsn(text: str) -> Dsn:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # their texts hold parts of the address
        url = None
    if url is None or url.get_backend_name() not in _POSTGRES_SCHEMES or not url.host or not url.database:
        message = "not an address such as postgresql://role:password@host:5432/database, percent-encoded where need be"
        raise ValueError(message)
    return Dsn(text)


def _nkey_seed(text: str) -> NkeySeed:
    try:
        prefix, seed = nkeys.decode_seed(text.encode())
    except (nkeys.NkeysError, ValueError):
        prefix, seed = None, b""
    # The library looks at neither the length nor the checksum, and a seed with a slip of the pen is another one.
    if prefix != nkeys.PREFIX_BYTE_USER or len(seed) != KEY_BYTES or nkeys.encode_seed(seed, prefix) != text.encode():
        message = "not the seed of a NATS user's nkey (SU…, 58 characters), such as `nk -gen user` makes"
        raise ValueError(message)
    return NkeySeed(text)


def key_encryption_keys(text: str) -> KeyEncryptionKeys:
    """Read key-encryption keys by epoch.

    Raises:
        ValueError: if ``text`` is not a JSON object of epoch to 32 bytes in base64, or an empty one.
    """
    try:
        given = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError:
        message = "not a JSON object of epoch to base64"
        raise ValueError(message) from None
    if not given:
        message = "no epoch"
        raise ValueError(message)
    return KeyEncryptionKeys({epoch: SecretKey(_key_bytes(key)) for epoch, key in given.items()})


_PARSERS: dict[type, Callable[[str], Any]] = {
    int: _integer,
    Days: _days,
    float: _number,
    bool: _switch,
    Path: _path,
    Dsn: _dsn,
    NkeySeed: _nkey_seed,
    SecretKey: lambda text: SecretKey(_key_bytes(text)),
    PublicKey: lambda text: PublicKey(_key_bytes(text)),
    KeyEncryptionKeys: key_encryption_keys,
}
