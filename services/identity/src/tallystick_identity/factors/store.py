# ruff: noqa: S608 - only this module's own lists of columns are put into its statements
"""The SQL of second factors. A seed is ciphertext, a recovery code a keyed hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from tallystick_identity.factors.domain import Factor, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction

_COLUMNS = (
    "id, person, kind, label_ciphertext, seed_ciphertext, codes_ciphertext, last_step, challenge, credential_id, "
    "public_key, sign_count, created_at, active_at"
)
_INSERT = text(
    "insert into identity.second_factors (tenant_id, id, person, kind, label_ciphertext, seed_ciphertext, "
    "codes_ciphertext, challenge, created_at) values (:tenant, :id, :person, :kind, :label, :seed, :codes, "
    ":challenge, :created_at)"
)
_INSERT_CODES = text(
    "insert into identity.recovery_codes (tenant_id, factor_id, code_hash) "
    "select cast(:tenant as uuid), cast(:factor as uuid), new from unnest(cast(:hashes as bytea[])) as new"
)
_FORGET_PENDING = text(
    "delete from identity.second_factors where tenant_id = :tenant and person = :person and active_at is null"
)
_FIND = text(
    f"select {_COLUMNS} from identity.second_factors "
    "where tenant_id = :tenant and person = :person and id = :id for update"
)
_ACTIVE = text(
    f"select {_COLUMNS} from identity.second_factors "
    "where tenant_id = :tenant and person = :person and active_at is not null order by active_at, id"
)
_ACTIVE_LOCKED = text(_ACTIVE.text + " for update")
_ACTIVATE = text(
    "update identity.second_factors set active_at = :now, codes_ciphertext = null, challenge = null, "
    "last_step = :last_step, credential_id = :credential_id, public_key = :public_key, sign_count = :sign_count "
    "where tenant_id = :tenant and id = :id"
)
_USE_STEP = text("update identity.second_factors set last_step = :step where tenant_id = :tenant and id = :id")
_USE_COUNT = text("update identity.second_factors set sign_count = :count where tenant_id = :tenant and id = :id")
_USE_CODE = text(
    "delete from identity.recovery_codes where tenant_id = :tenant and factor_id = :factor and code_hash = :hash "
    "returning factor_id"
)
_CODES_LEFT = text(
    "select count(*) from identity.recovery_codes c join identity.second_factors f "
    "on f.tenant_id = c.tenant_id and f.id = c.factor_id "
    "where c.tenant_id = :tenant and f.person = :person and f.active_at is not null"
)
_DELETE = text("delete from identity.second_factors where tenant_id = :tenant and person = :person and id = :id")
_ERASE = text("delete from identity.second_factors where tenant_id = :tenant and person = :person")
_NEED = text(
    "select exists (select from identity.second_factors f "
    "  where f.tenant_id = :tenant and f.person = :person and f.active_at is not null), "
    "exists (select from identity.grants g join identity.roles r on r.tenant_id = g.tenant_id and r.id = g.role_id "
    "  where g.tenant_id = :tenant and g.person = :person and r.staff and g.revoked_at is null "
    "  and (g.expires_at is null or g.expires_at > :now))"
)


def _factor(row: tuple[Any, ...]) -> Factor:
    identifier, person, kind, label, seed, codes, last_step, challenge, credential, key, count, created, active = row
    return Factor(
        id=identifier,
        person=person,
        kind=Kind(kind),
        label_ciphertext=label,
        seed_ciphertext=seed,
        codes_ciphertext=codes,
        last_step=last_step,
        challenge=challenge,
        credential_id=credential,
        public_key=key,
        sign_count=count,
        created_at=created,
        active_at=active,
    )


async def insert_factor(tx: Transaction, factor: Factor, *, code_hashes: Sequence[bytes]) -> None:
    """Store a pending factor with its recovery codes in place of the person's earlier pending ones."""
    tenant = tx.scope.tenant
    await tx.execute(_FORGET_PENDING, {"tenant": tenant, "person": factor.person})
    await tx.execute(
        _INSERT,
        {
            "tenant": tenant,
            "id": factor.id,
            "person": factor.person,
            "kind": factor.kind.value,
            "label": factor.label_ciphertext,
            "seed": factor.seed_ciphertext,
            "codes": factor.codes_ciphertext,
            "challenge": factor.challenge,
            "created_at": factor.created_at,
        },
    )
    await tx.execute(_INSERT_CODES, {"tenant": tenant, "factor": factor.id, "hashes": list(code_hashes)})


async def find_factor(tx: Transaction, person: str, identifier: UUID) -> Factor | None:
    """Return a person's factor, pending or not, locked until the transaction ends."""
    row = (await tx.execute(_FIND, {"tenant": tx.scope.tenant, "person": person, "id": identifier})).first()
    return None if row is None else _factor(tuple(row))


async def active_factors(tx: Transaction, person: str, *, lock: bool = False) -> list[Factor]:
    """Return a person's factors in use, oldest first."""
    rows = await tx.execute(_ACTIVE_LOCKED if lock else _ACTIVE, {"tenant": tx.scope.tenant, "person": person})
    return [_factor(tuple(row)) for row in rows]


async def activate(
    tx: Transaction,
    identifier: UUID,
    *,
    now: datetime,
    last_step: int = 0,
    credential_id: bytes | None = None,
    public_key: bytes | None = None,
    sign_count: int = 0,
) -> None:
    """Put a pending factor to use; what was shown of it once is shown no more."""
    await tx.execute(
        _ACTIVATE,
        {
            "tenant": tx.scope.tenant,
            "id": identifier,
            "now": now,
            "last_step": last_step,
            "credential_id": credential_id,
            "public_key": public_key,
            "sign_count": sign_count,
        },
    )


async def use_step(tx: Transaction, identifier: UUID, *, step: int) -> None:
    """Note the time step whose code was used, so that it and older ones are used up."""
    await tx.execute(_USE_STEP, {"tenant": tx.scope.tenant, "id": identifier, "step": step})


async def use_count(tx: Transaction, identifier: UUID, *, count: int) -> None:
    """Note a passkey's signature counter."""
    await tx.execute(_USE_COUNT, {"tenant": tx.scope.tenant, "id": identifier, "count": count})


async def use_recovery_code(tx: Transaction, factor: UUID, code_hash: bytes) -> bool:
    """Use a recovery code up; ``False`` when the factor has none like it."""
    found = await tx.execute(_USE_CODE, {"tenant": tx.scope.tenant, "factor": factor, "hash": code_hash})
    return found.first() is not None


async def recovery_codes_left(tx: Transaction, person: str) -> int:
    """Return how many recovery codes the person has not used."""
    return int((await tx.execute(_CODES_LEFT, {"tenant": tx.scope.tenant, "person": person})).scalar_one())


async def delete_factor(tx: Transaction, person: str, identifier: UUID) -> None:
    """Delete a factor with its recovery codes."""
    await tx.execute(_DELETE, {"tenant": tx.scope.tenant, "person": person, "id": identifier})


async def erase_factors(tx: Transaction, person: str) -> int:
    """Delete all of a person's factors; return how many."""
    return (await tx.execute(_ERASE, {"tenant": tx.scope.tenant, "person": person})).rowcount


async def has_factor_and_is_staff(tx: Transaction, person: str, *, now: datetime) -> tuple[bool, bool]:
    """Say whether the person has a second factor in use, and holds a role of staff in any unit in reach."""
    found = await tx.execute(_NEED, {"tenant": tx.scope.tenant, "person": person, "now": now})
    row: tuple[Any, ...] = tuple(found.one())
    return bool(row[0]), bool(row[1])
