"""Certificates as they were published, and their withdrawals.

The public look-up knows no tenant: it goes through one function that finds at most one row,
by its exact reference (docs/adr/0021-verification-look-up-without-a-tenant.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.telemetry import get_log

from tallystick_verification.credentials.domain import Certificate, Evidence, ProofState, moment

if TYPE_CHECKING:
    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction
    from tallystick_contracts.generated.assessment import CredentialWithdrawn

    from tallystick_verification.credentials.domain import Publication

_PUBLISH = text(
    "insert into verification.credentials (tenant_id, reference, event_id, commitment, credential_type, issuer, "
    "issued_at, expires_at, proof_due_at) "
    "values (:tenant, :reference, :event_id, :commitment, :credential_type, :issuer, :issued_at, :expires_at, :now) "
    "on conflict do nothing"
)
_WITHDRAW = text(
    "insert into verification.withdrawals (tenant_id, reference, event_id, withdrawn_at) "
    "values (:tenant, :reference, :event_id, :withdrawn_at) on conflict do nothing"
)
_FIND = text(
    "select credential_type, issuer, issued_at, expires_at, withdrawn_at, proof_state, line, proof, log, seq, "
    "tree_size, as_of from verification.find_credential(:reference)"
)


async def add_publication(tx: Transaction, publication: Publication) -> None:
    """Store a published certificate. The first to take a reference keeps it."""
    result = await tx.execute(
        _PUBLISH,
        {
            "tenant": tx.scope.tenant,
            "reference": publication.reference,
            "event_id": publication.event_id,
            "commitment": publication.commitment,
            "credential_type": publication.credential_type,
            "issuer": publication.issuer,
            "issued_at": publication.issued_at,
            "expires_at": publication.expires_at,
            "now": tx.clock(),
        },
    )
    if result.rowcount == 0:
        get_log().error("reference_published_again", event_id=str(publication.event_id))


async def add_withdrawal(tx: Transaction, event_id: UUID, data: CredentialWithdrawn) -> None:
    """Store a withdrawal, whether its certificate is known or not."""
    await tx.execute(
        _WITHDRAW,
        {
            "tenant": tx.scope.tenant,
            "reference": data.reference,
            "event_id": event_id,
            "withdrawn_at": moment(data.withdrawn_at),
        },
    )


async def find(connection: AsyncConnection, reference: str) -> Certificate | None:
    """Return the certificate with this reference, of whichever tenant."""
    row = (await connection.execute(_FIND, {"reference": reference})).one_or_none()
    return None if row is None else _certificate(row)


def _certificate(row: Row[Any]) -> Certificate:
    evidence = None
    if row.line is not None:
        evidence = Evidence(
            line=bytes(row.line), proof=bytes(row.proof), log=row.log, entry=row.seq, tree_size=row.tree_size
        )
    return Certificate(
        credential_type=row.credential_type,
        issuer=row.issuer,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        withdrawn_at=row.withdrawn_at,
        proof_state=ProofState(row.proof_state),
        evidence=evidence,
        as_of=row.as_of,
    )
