"""What the privacy worker reads from its environment, beyond what every service reads."""

from __future__ import annotations

from pathlib import Path

from tallystick_chassis.settings import Dsn, KeyEncryptionKeys, PublicKey, Secret, Settings

DEFAULT_BACKUP_RETENTION_DAYS = 35


class PrivacySettings(Settings, frozen=True, kw_only=True):
    """``backup_retention_days``: how long backups of the key store are kept; then an erased key is gone for good."""

    keys_dsn: Dsn
    kek: KeyEncryptionKeys
    client_secret: Secret
    session_jwks_file: Path
    url_identity: str
    url_assessment: str
    url_ledger: str
    url_verification: str
    ledger_key: PublicKey
    ledger_origin: str
    backup_retention_days: int = DEFAULT_BACKUP_RETENTION_DAYS
