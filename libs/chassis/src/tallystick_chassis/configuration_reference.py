"""Write `docs/reference/configuration.md` from the services' settings.

``python -m tallystick_chassis.configuration_reference [--check]``. A development tool: it imports every service.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

from tallystick_chassis.http.client_address import Networks
from tallystick_chassis.settings import (
    PREFIX,
    Days,
    KeyEncryptionKeys,
    MigrateSettings,
    PublicKey,
    Secret,
    SecretKey,
    Settings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERENCE: Final = Path(__file__).resolve().parents[4] / "docs" / "reference" / "configuration.md"

MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dsn": "`postgresql://` address of the runtime role, which row-level security binds",
        "duty_dsn": "`postgresql://` address of the duty role, for what crosses tenants",
        "nats_url": "NATS, as `tls://host:port`",
        "nats_seed": "nkey seed of the service's own NATS user",
        "ca_file": "certificate authority (PEM) of Postgres, NATS and the other services",
        "tls_cert_file": "certificate (PEM) of the API's listener",
        "tls_key_file": "private key (PEM) of the API's listener",
        "port": "port of the API's listener",
        "public_url": "this service's own https base, as browsers see it",
        "host": "address of the API's listener",
        "log_level": "`DEBUG`, `INFO`, `WARNING` or `ERROR`",
        "otlp_endpoint": "base of an OTLP/HTTP collector that gets traces, metrics and logs; without it none are made",
        "otlp_interval_s": "seconds between two exports of metrics",
        "otlp_trace_ratio": "part of the traces that is kept, from 0 to 1",
        "drain_s": "seconds between not ready and closing, so that senders notice",
        "republish_after_s": "seconds without the ledger's receipt after which an event is published again",
        "hand_over_after_s": "seconds without NATS after which the worker hands its events to the ledger over HTTP",
        "idempotency_days": "days for which an `Idempotency-Key` gets the same answer; after them it is a new command",
        "inbox_days": "days for which a handled event is remembered by its id; more than the oldest backup that might "
        "be restored",
        "keys_dsn": "`postgresql://` address of the runtime role in the key store's database",
        "kek": "key-encryption keys: a JSON object of epoch to 32 bytes in base64; the greatest epoch wraps new keys",
        "client_secret": "the service's own secret at identity's token endpoint; its client id is its name",
        "session_jwks_file": "file with the public keys of session and service tokens (JWKS)",
        "url_identity": "https base of identity",
        "url_assessment": "https base of assessment",
        "url_ledger": "https base of the ledger",
        "url_privacy": "https base of the privacy worker",
        "url_verification": "https base of verification, which stands in holders' links",
        "ledger_key": "the ledger's public checkpoint key, pinned: 32 bytes (Ed25519) in base64",
        "rate_limits": 'other limits for budgets by name, as a JSON object: `{"login.address": 5000}`; see rate limits',
        "trusted_proxies": "networks whose `X-Forwarded-For` is believed, with commas between; unset, no header is",
        "worker_port": "port on which the worker answers `/live` and `/ready`, over plain HTTP, for a kubelet; "
        "unset, it listens nowhere",
        "termination_log": "file that gets the reason when the process cannot start, such as `/dev/termination-log`",
        "ledger_origin": "first part of every log's name, such as `ledger.example.org`; it never changes",
        "purge_dsn": "`postgresql://` address of the role that deletes dropped logs' rows; for the worker only",
        "audit_retention_months": "how long an audit log is kept after its month",
        "high_water": "where the marks are that say how far each log was signed, apart from the database and not "
        "restored with it: a folder's absolute path, or `s3://bucket/prefix` (`gs://`, `az://`)",
        "session_key": "the private key that signs session and service tokens (JWKS, Ed25519)",
        "csrf_key": "key of CSRF tokens and of refresh secrets' succession",
        "blind_index_key": "key of the index by which an address is found without being stored",
        "clients": "JSON object of client id to SHA-256 of its secret, hexadecimal",
        "smtp_host": "mail server",
        "smtp_port": "mail server's port",
        "smtp_tls": "how mail goes out: `starttls`, `implicit` (TLS from the first byte) or `none`, on loopback only; "
        "unset, `starttls`, and on loopback `none`. The certificate is checked against the public authorities and "
        "`TALLY_CA_FILE`; where TLS fails nothing is sent",
        "mail_from": "sender's address of sign-in mails",
        "kek_watched": "the file of the key-encryption keys, looked at while running, so that no restart is needed",
        "session_keys_watched": "the file of the key set, looked at while running, so that a rotation needs no restart",
        "passkey_rp_id": "the host name that passkeys are made for, no IP address; by default the public URL's. "
        "Another value voids every passkey",
        "passkey_origin": "the origin of the pages that ask for passkeys; by default the public URL's",
        "sso_internal_hosts": "single sign-on providers that may have private addresses, names with commas between; "
        "one on loopback may speak plain HTTP",
        "siem_internal_hosts": "SIEMs that may have private addresses, names with commas between",
        "siem_ca_file": "certificates to believe SIEMs by, besides the public ones",
        "sso_ca_file": "certificates to believe single sign-on providers by, besides the public ones",
        "session_idle_minutes": "how long a session lasts without a refresh",
        "session_absolute_hours": "how long a session lasts at all",
        "checkpoint_key": "seed of the first Ed25519 key that signed checkpoints",
        "checkpoint_keys_dir": "folder of the seeds of the keys after it, one a file; read again when a key is wanted",
        "backup_retention_days": "days that backups of the key store are kept; after them an erased key is gone",
        "migrate_dsn": "`postgresql://` address of the migrating role",
        "keys_migrate_dsn": "`postgresql://` address of the migrating role in the key store's database",
    }
)
"""What each field of a Settings class is for, in a few words."""

_FORMS: Final[Mapping[type, str]] = MappingProxyType(
    {
        SecretKey: "secret, 32 bytes in base64",
        PublicKey: "32 bytes in base64",
        KeyEncryptionKeys: "secret, JSON",
        Path: "path",
        Networks: "text",
        int: "whole number",
        Days: "whole number",
        float: "number",
        str: "text",
    }
)

_HEAD: Final = """# Configuration

Generated from the services' settings by `python -m tallystick_chassis.configuration_reference`; do not edit.

A process reads its environment once, at start. Every variable has a twin with `_FILE` behind its name that names a
file with the value, so that secrets can be mounted. An empty variable counts as not set. If something is missing or
invalid, the process names all of it in one message on standard error, never a value, and ends with exit status 2.

API and worker of a service read the same variables. A worker also needs `TALLY_LEDGER_KEY` and `TALLY_LEDGER_ORIGIN`,
in every service, and its client secret and the addresses of identity and of those whose events it consumes, to catch
up with what it missed. A DSN means `sslmode=verify-full` unless it says `sslmode=disable`, which is accepted for a
database on the same machine only.

The embedded stack sets all of this by itself (`tally up`); nothing here has to be set for it.
"""


def render(settings: Mapping[str, type[msgspec.Struct]]) -> str:
    """Return the document; ``settings`` has the class of each heading.

    Raises:
        KeyError: if a field has no meaning in ``MEANINGS``.
    """
    common = _rows(Settings)
    sections = [_HEAD, "\n## Every service\n\n", _table(common)]
    for heading, kind in settings.items():
        sections += [f"\n## {heading}, beyond that\n\n", _table(row for row in _rows(kind) if row not in common)]
    sections += ["\n## `migrate`, of every service, instead\n\n", _table(_rows(MigrateSettings))]
    return "".join(sections)


def _rows(kind: type[msgspec.Struct]) -> list[str]:
    hints = get_type_hints(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        optional = get_origin(hint) in {Union, UnionType}
        plain = next(one for one in get_args(hint) if one is not NoneType) if optional else hint
        needed = "yes" if field.required else "no" if field.default is None else f"`{field.default}`"
        # A service's own list is a tuple of texts, written with commas; a choice is a text.
        other = "secret" if issubclass(plain, Secret) else "text" if issubclass(plain, (tuple, str)) else "JSON"
        form = _FORMS.get(plain, other)
        rows.append(f"| `{PREFIX}{field.name.upper()}` | {form} | {needed} | {MEANINGS[field.name]} |\n")
    return rows


def _table(rows: Iterable[str]) -> str:
    return "| Variable | Form | Required, or its default | What it is |\n|---|---|---|---|\n" + "".join(rows)


def services_settings() -> dict[str, type[msgspec.Struct]]:
    """Return every service's Settings by its folder's name. They are found by name: the chassis knows no service."""
    return {
        SERVICE_FOLDERS[name]: importlib.import_module(f"{SERVICE_PACKAGES[name]}.app").SERVICE.settings
        for name in ServiceName
    }


def main() -> int:
    """Write the document, or with ``--check`` compare; return the exit code."""
    parser = argparse.ArgumentParser(description="Write the configuration reference.")
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    text = render(services_settings())
    if not parser.parse_args().check:
        REFERENCE.parent.mkdir(parents=True, exist_ok=True)
        REFERENCE.write_text(text, encoding="utf-8")
    elif not REFERENCE.exists() or REFERENCE.read_text(encoding="utf-8") != text:
        sys.stderr.write(
            "chassis: docs/reference/configuration.md is out of date; "
            "run `python -m tallystick_chassis.configuration_reference`\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
