"""Which publications lack their proof, when to ask for it again, and the proofs that were checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text
from tallystick_chassis.ids import TenantId

from tallystick_verification.credentials.domain import ProofState, Publication

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction

    from tallystick_verification.credentials.domain import Evidence

_DUE = text(
    "select tenant_id, reference from verification.credentials "
    "where proof_state <> 'verified' and proof_due_at <= :now order by proof_due_at limit :limit"
)
_PENDING = text("select count(*) from verification.credentials where proof_state <> 'verified'")
_GET = text(
    "select event_id, reference, commitment, credential_type, issuer, issued_at, expires_at, proof_tries "
    "from verification.credentials "
    "where tenant_id = :tenant and reference = :reference and proof_state <> 'verified'"
)
_KEEP = text(
    "update verification.credentials set proof_state = 'verified', line = :line, proof = :proof, log = :log, "
    "seq = :seq, tree_size = :tree_size, vkey = :vkey, proof_checked_at = :now "
    "where tenant_id = :tenant and reference = :reference and proof_state <> 'verified'"
)
_POSTPONE = text(
    "update verification.credentials set proof_state = :state, proof_tries = proof_tries + 1, proof_due_at = :due_at, "
    "proof_checked_at = :now "
    "where tenant_id = :tenant and reference = :reference and proof_state <> 'verified'"
)


@dataclass(frozen=True, slots=True)
class Due:
    """A publication whose proof is to be fetched now."""

    tenant: TenantId
    reference: str


@dataclass(frozen=True, slots=True)
class Unproven:
    """A publication without a proof, and how often one was asked for."""

    publication: Publication
    tries: int


async def pending(connection: AsyncConnection) -> int:
    """Return how many publications of all tenants have no proof yet. Runs in the duty role."""
    return int((await connection.execute(_PENDING)).scalar_one())


async def due(connection: AsyncConnection, now: datetime, limit: int) -> list[Due]:
    """Return what is due in any tenant, the longest waiting first. Runs in the duty role."""
    rows = await connection.execute(_DUE, {"now": now, "limit": limit})
    return [Due(TenantId(row.tenant_id), row.reference) for row in rows]


async def unproven(tx: Transaction, reference: str) -> Unproven | None:
    """Return the publication if it still lacks its proof."""
    row = (await tx.execute(_GET, {"tenant": tx.scope.tenant, "reference": reference})).one_or_none()
    if row is None:
        return None
    publication = Publication(
        event_id=row.event_id,
        reference=row.reference,
        commitment=row.commitment,
        credential_type=row.credential_type,
        issuer=row.issuer,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
    )
    return Unproven(publication, row.proof_tries)


async def keep(tx: Transaction, reference: str, evidence: Evidence, vkey: str) -> None:
    """Store a proof that was checked, and the key that it was checked with."""
    await tx.execute(
        _KEEP,
        {
            "tenant": tx.scope.tenant,
            "reference": reference,
            "line": evidence.line,
            "proof": evidence.proof,
            "log": evidence.log,
            "seq": evidence.entry,
            "tree_size": evidence.tree_size,
            "vkey": vkey,
            "now": tx.clock(),
        },
    )


async def postpone(tx: Transaction, reference: str, state: ProofState, wait: timedelta) -> None:
    """Note that there was no proof (``PENDING``) or a bad one (``REFUSED``), and when to ask again."""
    now = tx.clock()
    await tx.execute(
        _POSTPONE,
        {"tenant": tx.scope.tenant, "reference": reference, "state": state.value, "due_at": now + wait, "now": now},
    )
