"""What verification reads from its environment, beyond what every service reads.

It holds no signing, session or key-encryption key: a client secret of its own, and otherwise public keys only.
"""

from __future__ import annotations

from pathlib import Path

from tallystick_chassis.settings import PublicKey, Secret, Settings


class VerificationSettings(Settings, frozen=True, kw_only=True):
    """``ledger_key`` and ``ledger_origin`` are the pins against which every proof is checked before it is shown.

    ``session_jwks_file`` has public keys: with them the ledger may ask for this service's feed, and an auditor for its
    state (docs/adr/0034-state-is-read-for-reconciling.md).
    """

    client_secret: Secret
    session_jwks_file: Path
    url_identity: str
    url_assessment: str
    url_ledger: str
    url_privacy: str
    ledger_key: PublicKey
    ledger_origin: str
