# ruff: noqa: S608 - only this module's own lists of columns are put into its statements
"""The SQL of single sign-on. The provider's row lies in the tenant's root unit; subjects are keyed hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from tallystick_chassis.ids import OrgUnitId

from tallystick_identity.sso.domain import Provider, RoleRule

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction

_COLUMNS = (
    "id, version, issuer, client_id, secret_ciphertext, enabled, domains, creates_accounts, role_claim, "
    "makes_administrators, two_factor_values, updated_at"
)
_PROVIDER = text(f"select {_COLUMNS} from identity.sso_providers where tenant_id = :tenant")
_PROVIDER_LOCKED = text(_PROVIDER.text + " for update")
_LOCK_TENANT = text("select from identity.tenants where tenant_id = :tenant for no key update")
_RULES = text(
    "select claim_value, role_id, unit_id, subtree from identity.sso_rules where tenant_id = :tenant order by position"
)
_UPSERT = text(
    "insert into identity.sso_providers (tenant_id, id, org_unit_id, version, issuer, client_id, secret_ciphertext, "
    "enabled, domains, creates_accounts, role_claim, makes_administrators, two_factor_values, updated_at) "
    "values (:tenant, :id, :tenant, :version, :issuer, :client_id, :secret, :enabled, cast(:domains as text[]), "
    ":creates_accounts, :role_claim, :makes_administrators, cast(:two_factor_values as text[]), :updated_at) "
    "on conflict (tenant_id) do update set version = excluded.version, issuer = excluded.issuer, "
    "client_id = excluded.client_id, secret_ciphertext = excluded.secret_ciphertext, enabled = excluded.enabled, "
    "domains = excluded.domains, creates_accounts = excluded.creates_accounts, role_claim = excluded.role_claim, "
    "makes_administrators = excluded.makes_administrators, two_factor_values = excluded.two_factor_values, "
    "updated_at = excluded.updated_at"
)
_FORGET_RULES = text("delete from identity.sso_rules where tenant_id = :tenant")
_INSERT_RULE = text(
    "insert into identity.sso_rules (tenant_id, position, claim_value, role_id, unit_id, subtree) "
    "values (:tenant, :position, :claim_value, :role, :unit, :subtree)"
)
_FORGET_REQUESTS = text("delete from identity.sso_requests where tenant_id = :tenant and expires_at < :now")
_INSERT_REQUEST = text(
    "insert into identity.sso_requests (tenant_id, id, secret_hash, provider_id, issuer, client_id, fresh, created_at, "
    "expires_at) values (:tenant, :id, :secret_hash, :provider, :issuer, :client_id, :fresh, :created_at, :expires_at)"
)
_TAKE_REQUEST = text(
    "delete from identity.sso_requests where tenant_id = :tenant and id = :id and secret_hash = :secret_hash "
    "returning provider_id, issuer, client_id, fresh, created_at, expires_at"
)
_LOCK_SUBJECT = text("select pg_advisory_xact_lock(hashtextextended(encode(cast(:subject as bytea), 'hex'), 2))")
_IDENTITY = text(
    "select id, person from identity.sso_identities where tenant_id = :tenant and subject_index = :subject"
)
_HAS_OTHER = text(
    "select exists (select from identity.sso_identities where tenant_id = :tenant and person = :person "
    "and issuer = :issuer)"
)
_LINK = text(
    "insert into identity.sso_identities (tenant_id, id, issuer, subject_index, person, created_at) "
    "values (:tenant, :id, :issuer, :subject, :person, :created_at)"
)
_UNLINK = text(
    "delete from identity.sso_identities where tenant_id = :tenant and person = :person "
    "returning id, issuer, subject_index"
)
_GRANTS = text(
    "select g.id, g.role_id, g.org_unit_id, g.subtree from identity.sso_grants s join identity.grants g "
    "on g.tenant_id = s.tenant_id and g.id = s.grant_id "
    "where s.tenant_id = :tenant and s.person = :person and g.revoked_at is null"
)
_INSERT_GRANT = text("insert into identity.sso_grants (tenant_id, grant_id, person) values (:tenant, :grant, :person)")
_FORGET_LOGOUTS = text("delete from identity.sso_logouts where tenant_id = :tenant and expires_at < :now")
_HEAR_LOGOUT = text(
    "insert into identity.sso_logouts (tenant_id, token_index, expires_at) values (:tenant, :token, :expires_at) "
    "on conflict do nothing returning token_index"
)
_SESSIONS_OF_PROVIDER = text(
    "select s.session_ref from identity.sessions s join identity.sso_identities i "
    "on i.tenant_id = s.tenant_id and i.id = s.sso_identity where s.tenant_id = :tenant and s.ended_at is null "
    "and s.expires_at > :now and i.issuer = :issuer "
    "and (cast(:subject as bytea) is null or i.subject_index = :subject) "
    "and (cast(:session as bytea) is null or s.sso_session = :session) order by s.session_ref for update of s"
)
_ERASE_GRANTS = text("delete from identity.sso_grants where tenant_id = :tenant and person = :person")


@dataclass(frozen=True, slots=True)
class SsoRequest:
    """A sign-in under way, as it was begun."""

    provider: UUID
    issuer: str
    client_id: str
    fresh: bool
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Linked:
    """Who somebody at a provider is here."""

    id: UUID
    person: str


@dataclass(frozen=True, slots=True)
class Unlinked:
    """An identity that was taken from a person."""

    id: UUID
    issuer: str
    subject_index: bytes


@dataclass(frozen=True, slots=True)
class SsoGrant:
    """A grant that a claim gave."""

    id: UUID
    role_id: UUID
    unit: UUID
    subtree: bool


async def find_provider(tx: Transaction, *, lock: bool = False) -> Provider | None:
    """Return the tenant's provider, where the scope reaches the root unit."""
    parameters = {"tenant": tx.scope.tenant}
    if lock:
        # The tenant's row, so that of two who configure the first provider at once the second finds one.
        await tx.execute(_LOCK_TENANT, parameters)
    row = (await tx.execute(_PROVIDER_LOCKED if lock else _PROVIDER, parameters)).first()
    if row is None:
        return None
    rules = tuple(
        RoleRule(value, role, OrgUnitId(unit), subtree)
        for value, role, unit, subtree in map(tuple, await tx.execute(_RULES, parameters))
    )
    return _provider(tuple(row), rules)


def _provider(row: tuple[Any, ...], rules: tuple[RoleRule, ...]) -> Provider:
    identifier, version, issuer, client_id, secret, enabled, domains, creates, claim, makes, values, updated = row
    return Provider(
        id=identifier,
        version=version,
        issuer=issuer,
        client_id=client_id,
        secret_ciphertext=secret,
        enabled=enabled,
        domains=tuple(domains),
        creates_accounts=creates,
        role_claim=claim,
        rules=rules,
        makes_administrators=makes,
        two_factor_values=tuple(values),
        updated_at=updated,
    )


async def save_provider(tx: Transaction, provider: Provider) -> None:
    """Store the provider with its rules in place of what there was."""
    tenant = tx.scope.tenant
    await tx.execute(
        _UPSERT,
        {
            "tenant": tenant,
            "id": provider.id,
            "version": provider.version,
            "issuer": provider.issuer,
            "client_id": provider.client_id,
            "secret": provider.secret_ciphertext,
            "enabled": provider.enabled,
            "domains": list(provider.domains),
            "creates_accounts": provider.creates_accounts,
            "role_claim": provider.role_claim,
            "makes_administrators": provider.makes_administrators,
            "two_factor_values": list(provider.two_factor_values),
            "updated_at": provider.updated_at,
        },
    )
    await tx.execute(_FORGET_RULES, {"tenant": tenant})
    for position, rule in enumerate(provider.rules):
        await tx.execute(
            _INSERT_RULE,
            {
                "tenant": tenant,
                "position": position,
                "claim_value": rule.claim_value,
                "role": rule.role_id,
                "unit": rule.org_unit,
                "subtree": rule.subtree,
            },
        )


async def insert_request(tx: Transaction, identifier: UUID, request: SsoRequest, *, secret_hash: bytes) -> None:
    """Store a sign-in that begins, and forget the tenant's expired ones."""
    tenant = tx.scope.tenant
    await tx.execute(_FORGET_REQUESTS, {"tenant": tenant, "now": request.created_at})
    await tx.execute(
        _INSERT_REQUEST,
        {
            "tenant": tenant,
            "id": identifier,
            "secret_hash": secret_hash,
            "provider": request.provider,
            "issuer": request.issuer,
            "client_id": request.client_id,
            "fresh": request.fresh,
            "created_at": request.created_at,
            "expires_at": request.expires_at,
        },
    )


async def take_request(tx: Transaction, identifier: UUID, *, secret_hash: bytes) -> SsoRequest | None:
    """Delete the browser's sign-in and return it; the second to come finds nothing."""
    parameters = {"tenant": tx.scope.tenant, "id": identifier, "secret_hash": secret_hash}
    row = (await tx.execute(_TAKE_REQUEST, parameters)).first()
    return None if row is None else SsoRequest(*tuple(row))


async def find_identity(tx: Transaction, subject_index: bytes) -> Linked | None:
    """Return who the subject is; nobody else can link the same one before this transaction ends."""
    await tx.execute(_LOCK_SUBJECT, {"subject": subject_index})
    row = (await tx.execute(_IDENTITY, {"tenant": tx.scope.tenant, "subject": subject_index})).first()
    return None if row is None else Linked(*tuple(row))


async def has_identity(tx: Transaction, person: str, *, issuer: str) -> bool:
    """Say whether the person is somebody at the provider already."""
    found = await tx.execute(_HAS_OTHER, {"tenant": tx.scope.tenant, "person": person, "issuer": issuer})
    return bool(found.scalar_one())


async def link(
    tx: Transaction, identifier: UUID, *, issuer: str, subject_index: bytes, person: str, now: datetime
) -> None:
    """Store who a subject is."""
    await tx.execute(
        _LINK,
        {
            "tenant": tx.scope.tenant,
            "id": identifier,
            "issuer": issuer,
            "subject": subject_index,
            "person": person,
            "created_at": now,
        },
    )


async def unlink(tx: Transaction, person: str) -> list[Unlinked]:
    """Delete a person's identities at providers and return them."""
    rows = await tx.execute(_UNLINK, {"tenant": tx.scope.tenant, "person": person})
    return [Unlinked(*tuple(row)) for row in rows]


async def grants_by_claims(tx: Transaction, person: str) -> list[SsoGrant]:
    """Return the person's grants that claims gave and nobody took back."""
    return [SsoGrant(*tuple(row)) for row in await tx.execute(_GRANTS, {"tenant": tx.scope.tenant, "person": person})]


async def note_grant(tx: Transaction, grant: UUID, person: str) -> None:
    """Remember that a claim gave the grant."""
    await tx.execute(_INSERT_GRANT, {"tenant": tx.scope.tenant, "grant": grant, "person": person})


async def hear_logout(tx: Transaction, token: bytes, *, now: datetime, expires_at: datetime) -> bool:
    """Remember a logout token until it is too old to be accepted anyway; ``False`` when it was heard before."""
    tenant = tx.scope.tenant
    await tx.execute(_FORGET_LOGOUTS, {"tenant": tenant, "now": now})
    result = await tx.execute(_HEAR_LOGOUT, {"tenant": tenant, "token": token, "expires_at": expires_at})
    return result.first() is not None


async def sessions_at(
    tx: Transaction, issuer: str, *, now: datetime, subject: bytes | None = None, session: bytes | None = None
) -> list[str]:
    """Return the live sessions that a provider vouched for: all, a subject's, or those of one session of its own."""
    rows = await tx.execute(
        _SESSIONS_OF_PROVIDER,
        {"tenant": tx.scope.tenant, "now": now, "issuer": issuer, "subject": subject, "session": session},
    )
    return list(rows.scalars())


async def erase(tx: Transaction, person: str) -> int:
    """Delete who the person is at providers, and which grants claims gave; return how many identities."""
    await tx.execute(_ERASE_GRANTS, {"tenant": tx.scope.tenant, "person": person})
    return len(await unlink(tx, person))
