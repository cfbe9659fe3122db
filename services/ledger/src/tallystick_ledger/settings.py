"""What the ledger's processes read from their environment."""

from __future__ import annotations

from pathlib import Path

from tallystick_chassis import settings
from tallystick_chassis.http.outbound import HostNames
from tallystick_chassis.settings import Dsn, KeyEncryptionKeys, PublicKey, Secret, SecretKey


class Settings(settings.Settings, frozen=True, kw_only=True):
    """Beyond what every service has: the checkpoint key, and the prefix of the logs' names.

    ``checkpoint_key`` is an Ed25519 seed, 32 bytes: the first key; ``checkpoint_keys_dir`` is the folder of those after
    it. ``ledger_origin`` is a name of the installation's own, such as
    ``ledger.example.org``; it stands in every line, so it never changes. ``purge_dsn`` is the purge
    role's; only the worker gets it, and without it no audit log is ever dropped. ``audit_retention_months`` is how long
    one is kept after its month; what was closed under an earlier setting keeps that. ``high_water`` says
    where it stands how far each log was signed: outside the database and what is backed up and restored with it, for
    all processes of the ledger; the absolute path of a folder on a file system with locks, or ``s3://bucket/prefix``.
    ``kek`` wraps the secrets of SIEM destinations. ``siem_internal_hosts`` are
    SIEMs that may have private addresses, ``siem_ca_file`` authorities that are trusted for them beside public ones.
    """

    checkpoint_key: SecretKey
    checkpoint_keys_dir: Path | None = None
    ledger_key: PublicKey
    ledger_origin: str
    purge_dsn: Dsn | None = None
    audit_retention_months: int = 13
    kek: KeyEncryptionKeys
    client_secret: Secret
    session_jwks_file: Path
    url_identity: str
    high_water: str
    siem_internal_hosts: HostNames | None = None
    siem_ca_file: Path | None = None
