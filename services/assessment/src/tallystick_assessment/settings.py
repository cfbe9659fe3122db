"""What assessment reads from its environment, beyond what every service reads."""

from pathlib import Path

from tallystick_chassis.settings import Dsn, KeyEncryptionKeys, PublicKey, Secret, Settings


class AssessmentSettings(Settings, frozen=True, kw_only=True):
    """Assessment holds data keys of its own, and builds verification links for holders."""

    keys_dsn: Dsn
    kek: KeyEncryptionKeys
    client_secret: Secret
    session_jwks_file: Path
    url_identity: str
    url_privacy: str
    url_verification: str
    ledger_key: PublicKey
    ledger_origin: str
