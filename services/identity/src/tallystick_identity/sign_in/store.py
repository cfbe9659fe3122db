"""The SQL of sign-in requests. A request for an unknown address or tenant is stored like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.ids import TenantId

from tallystick_identity.sign_in.domain import LoginRequest, Mailed, Purpose

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection
    from tallystick_chassis.transaction import Transaction


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request to store. The sealed values are JSON of ``Sealed``; ``event_id`` is the event they were sealed for."""

    id: UUID
    email_index: bytes
    nonce_hash: bytes
    event_id: UUID
    sealed_email: bytes | None
    sealed_ip: bytes | None
    created_at: datetime
    expires_at: datetime
    purpose: Purpose = Purpose.SIGN_IN


@dataclass(frozen=True, slots=True)
class PendingMail:
    """A request that the worker has claimed; ``attempts`` counts this one."""

    id: UUID
    email_index: bytes
    event_id: UUID
    sealed_email: bytes | None
    sealed_ip: bytes | None
    attempts: int
    purpose: Purpose


# One request at a time for each address, so that of two at once one is the newer.
_LOCK = text("select pg_advisory_xact_lock(hashtextextended(encode(cast(:email_index as bytea), 'hex'), 0))")
_SUPERSEDE = text(
    "update identity.login_requests set superseded_at = :now "
    "where tenant_id = :tenant and email_index = :email_index and purpose = :purpose "
    "and superseded_at is null and consumed_at is null"
)
_INSERT = text(
    "insert into identity.login_requests (tenant_id, id, email_index, nonce_hash, event_id, sealed_email, sealed_ip, "
    "correlation, created_at, expires_at, next_attempt_at, purpose) values (:tenant, :id, :email_index, :nonce_hash, "
    ":event_id, :sealed_email, :sealed_ip, :correlation, :created_at, :expires_at, :created_at, :purpose)"
)
_WAITING = text(
    "select tenant_id, id from identity.login_requests "
    "where done_at is null and superseded_at is null and next_attempt_at <= :now and expires_at > :now "
    "order by next_attempt_at limit :limit"
)
_CORRELATION = text("select correlation from identity.login_requests where tenant_id = :tenant and id = :id")
_CLAIM = text(
    "update identity.login_requests set attempts = attempts + 1, next_attempt_at = :next_attempt_at "
    "where tenant_id = :tenant and id = :id and done_at is null and superseded_at is null and next_attempt_at <= :now "
    "returning id, email_index, event_id, sealed_email, sealed_ip, attempts, purpose"
)
_SET_PERSON = text("update identity.login_requests set person = :person where tenant_id = :tenant and id = :id")
_ADD_LINK = text(
    "insert into identity.magic_links (tenant_id, request_id, token_hash, code_hash) "
    "values (:tenant, :id, :token_hash, :code_hash)"
)
_DONE = text("update identity.login_requests set done_at = :now where tenant_id = :tenant and id = :id")
_FIND_LOCKED = text(
    "select id, nonce_hash, expires_at, person, superseded_at, consumed_at, code_tries, purpose, email_index "
    "from identity.login_requests where tenant_id = :tenant and id = :id for update"
)
_LINKS = text("select token_hash, code_hash from identity.magic_links where tenant_id = :tenant and request_id = :id")
_COUNT_CODE = text(
    "update identity.login_requests set code_tries = code_tries + 1 where tenant_id = :tenant and id = :id"
)
_CONSUME = text("update identity.login_requests set consumed_at = :now where tenant_id = :tenant and id = :id")
_EXPIRED_TENANTS = text("select distinct tenant_id from identity.login_requests where expires_at < :before")
_PRUNE = text("delete from identity.login_requests where tenant_id = :tenant and expires_at < :before")
_ERASE = text(
    "delete from identity.login_requests where tenant_id = :tenant and (email_index = :email_index or person = :person)"
)


def _values(row: Row[Any]) -> tuple[Any, ...]:
    return tuple(row)


async def insert_request(tx: Transaction, request: NewRequest) -> None:
    """Store a request; every older one for the same address and purpose is void from now on."""
    tenant = tx.scope.tenant
    await tx.execute(_LOCK, {"email_index": request.email_index})
    older = {"email_index": request.email_index, "purpose": request.purpose.value}
    await tx.execute(_SUPERSEDE, {"tenant": tenant, "now": request.created_at, **older})
    await tx.execute(
        _INSERT,
        {
            "tenant": tenant,
            "id": request.id,
            "email_index": request.email_index,
            "nonce_hash": request.nonce_hash,
            "event_id": request.event_id,
            "sealed_email": request.sealed_email,
            "sealed_ip": request.sealed_ip,
            "correlation": tx.scope.correlation,
            "created_at": request.created_at,
            "expires_at": request.expires_at,
            "purpose": request.purpose.value,
        },
    )


async def waiting_requests(duty: AsyncConnection, *, now: datetime, limit: int) -> list[tuple[TenantId, UUID]]:
    """Return which requests of any tenant want a mail, on the duty role."""
    rows = await duty.execute(_WAITING, {"now": now, "limit": limit})
    return [(TenantId(tenant), request) for tenant, request in rows]


async def correlation_of(tx: Transaction, request: UUID) -> str | None:
    """Return the correlation id under which the request was made."""
    return (await tx.execute(_CORRELATION, {"tenant": tx.scope.tenant, "id": request})).scalar_one_or_none()


async def claim_request(
    tx: Transaction, request: UUID, *, now: datetime, next_attempt_at: datetime
) -> PendingMail | None:
    """Take a request to send its mail; ``None`` when another worker has it. It returns at ``next_attempt_at``."""
    row = (
        await tx.execute(
            _CLAIM, {"tenant": tx.scope.tenant, "id": request, "now": now, "next_attempt_at": next_attempt_at}
        )
    ).first()
    if row is None:
        return None
    identifier, index, event_id, email, ip, attempts, purpose = _values(row)
    return PendingMail(identifier, index, event_id, email, ip, attempts, Purpose(purpose))


async def add_link(tx: Transaction, request: UUID, *, person: str, mailed: Mailed) -> None:
    """Store the hashes of a secret and a code that are about to be mailed, and whom they will sign in."""
    common: dict[str, Any] = {"tenant": tx.scope.tenant, "id": request}
    await tx.execute(_SET_PERSON, common | {"person": person})
    await tx.execute(_ADD_LINK, common | {"token_hash": mailed.token_hash, "code_hash": mailed.code_hash})


async def mark_done(tx: Transaction, request: UUID, *, now: datetime) -> None:
    """Say that no mail is to be sent for the request any more."""
    await tx.execute(_DONE, {"tenant": tx.scope.tenant, "id": request, "now": now})


async def find_locked(tx: Transaction, request: UUID) -> tuple[LoginRequest | None, list[Mailed]]:
    """Return the request, locked until the transaction ends, and what is stored of the mails sent for it."""
    parameters = {"tenant": tx.scope.tenant, "id": request}
    row = (await tx.execute(_FIND_LOCKED, parameters)).first()
    if row is None:
        return None, []
    identifier, nonce_hash, expires_at, person, superseded_at, consumed_at, tries, purpose, index = _values(row)
    found = LoginRequest(
        id=identifier,
        nonce_hash=nonce_hash,
        expires_at=expires_at,
        person=person,
        superseded_at=superseded_at,
        consumed_at=consumed_at,
        code_tries=tries,
        purpose=Purpose(purpose),
        email_index=index,
    )
    return found, [Mailed(*tuple(mail)) for mail in await tx.execute(_LINKS, parameters)]


async def count_code(tx: Transaction, request: UUID) -> None:
    """Count a wrong code for a locked request."""
    await tx.execute(_COUNT_CODE, {"tenant": tx.scope.tenant, "id": request})


async def consume(tx: Transaction, request: UUID, *, now: datetime) -> None:
    """Mark a locked request as used."""
    await tx.execute(_CONSUME, {"tenant": tx.scope.tenant, "id": request, "now": now})


async def tenants_with_expired(duty: AsyncConnection, *, before: datetime) -> list[TenantId]:
    """Return which tenants have requests that expired before the given time, on the duty role."""
    return [TenantId(tenant) for tenant in (await duty.execute(_EXPIRED_TENANTS, {"before": before})).scalars()]


async def prune(tx: Transaction, *, before: datetime) -> int:
    """Delete the tenant's requests that expired before the given time, with their links; return how many."""
    return (await tx.execute(_PRUNE, {"tenant": tx.scope.tenant, "before": before})).rowcount


async def erase_requests(tx: Transaction, *, person: str, email_index: bytes | None) -> int:
    """Delete every request of a person's or for a person's address; return how many."""
    result = await tx.execute(_ERASE, {"tenant": tx.scope.tenant, "person": person, "email_index": email_index or b""})
    return result.rowcount
