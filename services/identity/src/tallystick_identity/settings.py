"""Identity's settings, beyond those of every service."""

from __future__ import annotations

import enum
import ipaddress
import re
from datetime import timedelta
from pathlib import Path
from typing import NoReturn, Self
from urllib.parse import urlsplit

import msgspec
from tallystick_chassis.http.csrf import origin_of
from tallystick_chassis.http.outbound import HostNames
from tallystick_chassis.http.tokens import check_signing_keys
from tallystick_chassis.settings import Dsn, KeyEncryptionKeys, PublicKey, Secret, SecretKey, Settings

from tallystick_identity.sessions.domain import Timeouts

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")


class ClientHashes(dict[str, str]):
    """Client id → SHA-256 of its secret, hexadecimal; given as a JSON object."""

    def __init__(self, text: str) -> None:
        try:
            given = msgspec.json.decode(text, type=dict[str, str])
        except msgspec.DecodeError:
            msg = "not a JSON object of client id to SHA-256"
            raise ValueError(msg) from None
        if not given or not all(_SHA256_HEX.fullmatch(digest) for digest in given.values()):
            msg = "no client, or a digest that is not 64 lower-case hexadecimal digits"
            raise ValueError(msg)
        super().__init__(given)


class SessionKeys(Secret):
    """A JWKS whose first key is a private Ed25519 key; it has signed once when it is taken."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Take the key set.

        Raises:
            ValueError: if it is none that signs.
        """
        check_signing_keys(text.encode())
        return super().__new__(cls, text)


class MailTls(enum.StrEnum):
    """How mail is handed over. There is no way that falls back to another."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:  # noqa: ARG003 - a value is not shown; enum hands it over
        msg = f"none of {', '.join(cls)}"
        raise ValueError(msg)


class IdentitySettings(Settings, frozen=True, kw_only=True):
    """What identity's API and worker need.

    ``session_key`` is a JWKS with a private Ed25519 key; ``csrf_key`` and ``blind_index_key`` are 32 bytes each.
    ``passkey_rp_id`` is the host name that passkeys are made for and ``passkey_origin`` that of the pages that ask for
    them, where they are not the public URL's.
    ``smtp_tls`` says how the mail server is spoken to, where it is not `mail_tls`' default.
    ``sso_internal_hosts`` are the single sign-on providers that may have private addresses.
    ``session_keys_watched`` is the file of ``session_key``, where it can be replaced while the process runs.
    """

    keys_dsn: Dsn
    kek: KeyEncryptionKeys
    client_secret: Secret
    session_jwks_file: Path
    url_privacy: str
    ledger_key: PublicKey
    ledger_origin: str
    session_key: SessionKeys
    csrf_key: SecretKey
    blind_index_key: SecretKey
    clients: ClientHashes
    smtp_host: str
    smtp_port: int
    mail_from: str
    smtp_tls: MailTls | None = None
    session_keys_watched: Path | None = None
    passkey_rp_id: str | None = None
    passkey_origin: str | None = None
    sso_internal_hosts: HostNames | None = None
    sso_ca_file: Path | None = None
    session_idle_minutes: int = 30
    session_absolute_hours: int = 12

    def __post_init__(self) -> None:
        """Refuse mail in the clear to another machine."""
        if self.smtp_tls is MailTls.NONE and not _is_here(self.smtp_host):
            msg = f"TALLY_SMTP_TLS is none and {self.smtp_host} is another machine: set starttls or implicit"
            raise ValueError(msg)

    @property
    def mail_tls(self) -> MailTls:
        """How mail is handed over: by STARTTLS unless said otherwise, or in the clear on this machine."""
        return self.smtp_tls or (MailTls.NONE if _is_here(self.smtp_host) else MailTls.STARTTLS)

    @property
    def passkey_host(self) -> str:
        """The host name that passkeys are made for (the relying party's id). Changing it voids every passkey."""
        return self.passkey_rp_id or urlsplit(self.public_url).hostname or ""

    @property
    def passkey_origins(self) -> tuple[str, ...]:
        """The origins of the pages that may ask for a passkey."""
        return (origin_of(self.passkey_origin or self.public_url),)

    @property
    def timeouts(self) -> Timeouts:
        """How long sessions last."""
        return Timeouts(timedelta(minutes=self.session_idle_minutes), timedelta(hours=self.session_absolute_hours))


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
