"""The SQL of passkeys: challenges that the first answer deletes, and credentials found by their id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from tallystick_identity.factors.store import find_factor

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.factors.domain import Factor

_FORGET_EXPIRED = text("delete from identity.passkey_challenges where tenant_id = :tenant and expires_at < :now")
_INSERT = text(
    "insert into identity.passkey_challenges (tenant_id, id, session_ref, nonce_hash, challenge, expires_at) "
    "values (:tenant, :id, :session_ref, :nonce_hash, :challenge, :expires_at)"
)
_TAKE_FOR_SESSION = text(
    "delete from identity.passkey_challenges where tenant_id = :tenant and session_ref = :session_ref "
    "returning challenge, expires_at"
)
_TAKE_FOR_BROWSER = text(
    "delete from identity.passkey_challenges where tenant_id = :tenant and id = :id and nonce_hash = :nonce_hash "
    "returning challenge, expires_at"
)
# One at a time for each credential, so that nobody is the second to register it.
_LOCK = text("select pg_advisory_xact_lock(hashtextextended(encode(cast(:credential as bytea), 'hex'), 1))")
_OWNER = text(
    "select person, id from identity.second_factors where tenant_id = :tenant and credential_id = :credential"
)


@dataclass(frozen=True, slots=True)
class StoredChallenge:
    """32 bytes to sign, and until when."""

    challenge: bytes
    expires_at: datetime


async def insert_challenge(
    tx: Transaction,
    identifier: UUID,
    *,
    challenge: bytes,
    now: datetime,
    expires_at: datetime,
    session_ref: str | None = None,
    nonce_hash: bytes | None = None,
) -> None:
    """Store a challenge of a session's or a browser's, and forget the tenant's expired ones."""
    tenant = tx.scope.tenant
    await tx.execute(_FORGET_EXPIRED, {"tenant": tenant, "now": now})
    await tx.execute(
        _INSERT,
        {
            "tenant": tenant,
            "id": identifier,
            "session_ref": session_ref,
            "nonce_hash": nonce_hash,
            "challenge": challenge,
            "expires_at": expires_at,
        },
    )


async def take_for_session(tx: Transaction, session_ref: str) -> StoredChallenge | None:
    """Delete the session's challenge and return it."""
    row = (await tx.execute(_TAKE_FOR_SESSION, {"tenant": tx.scope.tenant, "session_ref": session_ref})).first()
    return None if row is None else StoredChallenge(*tuple(row))


async def take_for_browser(tx: Transaction, identifier: UUID, *, nonce_hash: bytes) -> StoredChallenge | None:
    """Delete the challenge that was given to the browser with this nonce, and return it."""
    parameters = {"tenant": tx.scope.tenant, "id": identifier, "nonce_hash": nonce_hash}
    row = (await tx.execute(_TAKE_FOR_BROWSER, parameters)).first()
    return None if row is None else StoredChallenge(*tuple(row))


async def is_credential_taken(tx: Transaction, credential: bytes) -> bool:
    """Say whether somebody in the tenant has the credential; nobody else can register it before this commits."""
    await tx.execute(_LOCK, {"credential": credential})
    return (await tx.execute(_OWNER, {"tenant": tx.scope.tenant, "credential": credential})).first() is not None


async def find_by_credential(tx: Transaction, credential: bytes) -> Factor | None:
    """Return the passkey with this credential id, locked until the transaction ends."""
    row = (await tx.execute(_OWNER, {"tenant": tx.scope.tenant, "credential": credential})).first()
    if row is None:
        return None
    person, identifier = tuple(row)
    return await find_factor(tx, person, identifier)
