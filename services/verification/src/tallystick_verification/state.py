"""What of the public read model an auditor can compare with the ledger."""

from __future__ import annotations

from typing import Final

from tallystick_chassis.state import StateKind

_STREAM = "'credential-' || t.reference"

KINDS: Final = (
    StateKind(
        name="credential",
        source="verification.credentials t",
        key=(("t.reference", "text"),),
        stream=_STREAM,
        fields={
            "event": "t.event_id",
            "commitment": "t.commitment",
            "credential_type": "t.credential_type",
            "issuer": "t.issuer",
            "issued_at": "t.issued_at",
            "expires_at": "t.expires_at",
        },
    ),
    StateKind(
        name="withdrawal",
        source="verification.withdrawals t",
        key=(("t.reference", "text"),),
        stream=_STREAM,
        fields={"event": "t.event_id", "withdrawn_at": "t.withdrawn_at"},
    ),
)
