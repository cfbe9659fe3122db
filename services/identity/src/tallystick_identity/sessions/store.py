# ruff: noqa: S608 - only this module's own lists of columns are put into its statements
"""The SQL of sessions. Secrets are stored as SHA-256 only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from tallystick_identity.sessions.domain import Session, Upstream

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction

_COLUMNS = (
    "id, person, session_ref, token_version, amr, refresh_hash, previous_hash, refreshed_at, created_at, expires_at, "
    "ended_at, label_ciphertext, sso_identity, sso_session, proved_at"
)
_INSERT = text(
    "insert into identity.sessions (tenant_id, id, person, session_ref, token_version, amr, refresh_hash, "
    "refreshed_at, created_at, expires_at, sso_identity, sso_session, proved_at) "
    "values (:tenant, :id, :person, :session_ref, :token_version, cast(:amr as text[]), :refresh_hash, "
    ":created_at, :created_at, :expires_at, :sso_identity, :sso_session, :proved_at)"
)
_BY_ID = text(f"select {_COLUMNS} from identity.sessions where tenant_id = :tenant and id = :id for update")
_BY_REF = text(f"select {_COLUMNS} from identity.sessions where tenant_id = :tenant and session_ref = :session_ref")
_LIVE_OF = text(
    f"select {_COLUMNS} from identity.sessions where tenant_id = :tenant and person = :person "
    "and ended_at is null and expires_at > :now order by created_at, id"
)
_LABEL = text(
    "update identity.sessions set label_ciphertext = :label where tenant_id = :tenant and session_ref = :session_ref"
)
_ROTATE = text(
    "update identity.sessions set previous_hash = refresh_hash, refresh_hash = :refresh_hash, refreshed_at = :now "
    "where tenant_id = :tenant and id = :id"
)
_END = text(
    "update identity.sessions set ended_at = :now, end_reason = :reason "
    "where tenant_id = :tenant and session_ref = :session_ref and ended_at is null returning session_ref"
)
_END_ALL = text(
    "update identity.sessions set ended_at = :now, end_reason = :reason "
    "where tenant_id = :tenant and person = :person and ended_at is null and expires_at > :now returning session_ref"
)
_ERASE = text("delete from identity.sessions where tenant_id = :tenant and person = :person")


def _session(row: tuple[Any, ...]) -> Session:
    identifier, person, ref, version, amr, refresh, previous, *rest = row
    refreshed_at, created_at, expires_at, ended_at, label, sso_identity, sso_session, proved_at = rest
    return Session(
        identifier,
        person,
        ref,
        version,
        tuple(amr),
        bytes(refresh),
        None if previous is None else bytes(previous),
        refreshed_at,
        created_at,
        expires_at,
        ended_at,
        label,
        None if sso_identity is None else Upstream(sso_identity, sso_session),
        proved_at,
    )


async def insert_session(tx: Transaction, session: Session) -> None:
    """Store a new session."""
    await tx.execute(
        _INSERT,
        {
            "tenant": tx.scope.tenant,
            "id": session.id,
            "person": session.person,
            "session_ref": session.session_ref,
            "token_version": session.token_version,
            "amr": list(session.amr),
            "refresh_hash": session.refresh_hash,
            "created_at": session.created_at,
            "expires_at": session.expires_at,
            "sso_identity": session.upstream and session.upstream.identity,
            "sso_session": session.upstream and session.upstream.session,
            "proved_at": session.proved_at,
        },
    )


async def find_locked(tx: Transaction, identifier: UUID) -> Session | None:
    """Return the session that a refresh cookie names, locked until the transaction ends."""
    row = (await tx.execute(_BY_ID, {"tenant": tx.scope.tenant, "id": identifier})).first()
    return None if row is None else _session(tuple(row))


async def find_by_ref(tx: Transaction, session_ref: str) -> Session | None:
    """Return the session that a session token's ``sid`` names."""
    row = (await tx.execute(_BY_REF, {"tenant": tx.scope.tenant, "session_ref": session_ref})).first()
    return None if row is None else _session(tuple(row))


async def sessions_of(tx: Transaction, person: str, *, now: datetime) -> list[Session]:
    """Return a person's sessions that have not ended by themselves or otherwise, oldest first."""
    rows = await tx.execute(_LIVE_OF, {"tenant": tx.scope.tenant, "person": person, "now": now})
    return [_session(tuple(row)) for row in rows]


async def set_label(tx: Transaction, session_ref: str, label: bytes) -> None:
    """Give a session a name, encrypted."""
    await tx.execute(_LABEL, {"tenant": tx.scope.tenant, "session_ref": session_ref, "label": label})


async def rotate(tx: Transaction, identifier: UUID, *, refresh_hash: bytes, now: datetime) -> None:
    """Put a new secret in place of the newest, which becomes the previous."""
    await tx.execute(_ROTATE, {"tenant": tx.scope.tenant, "id": identifier, "refresh_hash": refresh_hash, "now": now})


async def end_session(tx: Transaction, session_ref: str, *, reason: str, now: datetime) -> bool:
    """End one session; ``False`` when it had ended."""
    result = await tx.execute(
        _END, {"tenant": tx.scope.tenant, "session_ref": session_ref, "reason": reason, "now": now}
    )
    return result.first() is not None


async def end_sessions_of(tx: Transaction, person: str, *, reason: str, now: datetime) -> list[str]:
    """End all of a person's sessions; return the references of those that were live."""
    result = await tx.execute(_END_ALL, {"tenant": tx.scope.tenant, "person": person, "reason": reason, "now": now})
    return list(result.scalars())


async def erase_sessions(tx: Transaction, person: str) -> int:
    """Delete all of a person's sessions; return how many."""
    return (await tx.execute(_ERASE, {"tenant": tx.scope.tenant, "person": person})).rowcount
