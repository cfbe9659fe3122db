# ruff: noqa: S608 - only this module's own lists of columns are put into its statements
"""The SQL of people.

Names and addresses are ciphertext under the person's data key; an address is found by its blind index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from tallystick_chassis.ids import OrgUnitId, PersonRef

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tallystick_chassis.transaction import Transaction


@dataclass(frozen=True, slots=True)
class NewPerson:
    """A person to store. ``public_key`` is the claimed key's 32 bytes; the rest is already encrypted."""

    id: UUID
    person: PersonRef
    home_unit: OrgUnitId
    key_id: str
    public_key: bytes
    email_index: bytes
    email_ciphertext: bytes
    name_ciphertext: bytes


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person as stored; the ciphertexts are ``None`` once erased.

    ``token_version`` is the person's own and the tenant's together: it grows with either.
    """

    id: UUID
    person: PersonRef
    home_unit: OrgUnitId
    key_id: str
    email_ciphertext: bytes | None
    name_ciphertext: bytes | None
    token_version: int
    created_at: datetime
    deleted_at: datetime | None
    disabled_at: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Whether the person may sign in and act."""
        return self.deleted_at is None and self.disabled_at is None


_COLUMNS = (
    "id, person, org_unit_id, key_id, email_ciphertext, name_ciphertext, token_version + (select t.token_version "
    "from identity.tenants t where t.tenant_id = people.tenant_id), created_at, deleted_at, disabled_at"
)
_INSERT = text(
    "insert into identity.people (tenant_id, id, org_unit_id, person, key_id, email_index, email_ciphertext, "
    "name_ciphertext, created_at) "
    "select cast(:tenant as uuid), new.*, cast(:created_at as timestamptz) from "
    "unnest(cast(:ids as uuid[]), cast(:units as uuid[]), "
    "cast(:people as text[]), cast(:key_ids as text[]), cast(:indexes as bytea[]), cast(:emails as bytea[]), "
    "cast(:names as bytea[])) as new "
    "on conflict (tenant_id, email_index) where deleted_at is null do nothing returning id"
)
_INSERT_DIRECTORY = text(
    "insert into identity.directory_people (tenant_id, person, org_unit_id, key_id, public_key) "
    "select cast(:tenant as uuid), new.* from "
    "unnest(cast(:people as text[]), cast(:units as uuid[]), cast(:key_ids as text[]), "
    "cast(:public_keys as bytea[])) as new"
)
_BY_ID = text(f"select {_COLUMNS} from identity.people where tenant_id = :tenant and id = :id and deleted_at is null")
_BY_ID_LOCKED = text(
    f"select {_COLUMNS} from identity.people where tenant_id = :tenant and id = :id and deleted_at is null for update"
)
_BY_PERSON = text(f"select {_COLUMNS} from identity.people where tenant_id = :tenant and person = :person")
_BY_INDEX = text(
    f"select {_COLUMNS} from identity.people where tenant_id = :tenant and email_index = :index and deleted_at is null "
    "and (disabled_at is null or :disabled_too)"
)
_PAGE = text(
    f"select {_COLUMNS} from identity.people where tenant_id = :tenant and deleted_at is null "
    "and (cast(:after_at as timestamptz) is null or (created_at, id) > (:after_at, cast(:after_id as uuid))) "
    "order by created_at, id limit :limit"
)
_ANYBODY = text("select exists (select from identity.people where tenant_id = :tenant)")
_DISABLE = text(
    "update identity.people set disabled_at = cast(:at as timestamptz) where tenant_id = :tenant and person = :person "
    "and deleted_at is null and (disabled_at is null) <> (cast(:at as timestamptz) is null) returning person"
)
_BUMP = text(
    "update identity.people set token_version = token_version + 1 where tenant_id = :tenant and person = :person "
    "returning token_version"
)
_DELETE = text(
    "update identity.people set deleted_at = :now where tenant_id = :tenant and person = :person and deleted_at is null"
)
_SCRUB = text(
    "update identity.people set email_index = null, email_ciphertext = null, name_ciphertext = null, erased_at = :now, "
    "deleted_at = coalesce(deleted_at, :now) where tenant_id = :tenant and person = :person and erased_at is null"
)
_SET_ADDRESS = text(
    "update identity.people set email_index = :index, email_ciphertext = :ciphertext "
    "where tenant_id = :tenant and person = :person and deleted_at is null"
)
_EMAIL_INDEX = text("select email_index from identity.people where tenant_id = :tenant and person = :person")


def _row(row: tuple[Any, ...]) -> PersonRow:
    identifier, person, unit, *rest = row
    return PersonRow(identifier, PersonRef(person), OrgUnitId(unit), *rest)


async def insert_people(tx: Transaction, people: Sequence[NewPerson], *, created_at: datetime) -> set[UUID]:
    """Store people and their public keys; return the ids stored: those left out have an address that is taken."""
    common = {
        "tenant": tx.scope.tenant,
        "people": [one.person for one in people],
        "units": [one.home_unit for one in people],
        "key_ids": [one.key_id for one in people],
    }
    result = await tx.execute(
        _INSERT,
        common
        | {
            "created_at": created_at,
            "ids": [one.id for one in people],
            "indexes": [one.email_index for one in people],
            "emails": [one.email_ciphertext for one in people],
            "names": [one.name_ciphertext for one in people],
        },
    )
    stored = set(result.scalars())
    if len(stored) == len(people):
        await tx.execute(_INSERT_DIRECTORY, common | {"public_keys": [one.public_key for one in people]})
    return stored


async def set_address(tx: Transaction, person: str, *, index: bytes, ciphertext: bytes) -> bool:
    """Give a person another address; ``False`` when somebody of the tenant, in whichever unit, has it already."""
    values = {"tenant": tx.scope.tenant, "person": person, "index": index, "ciphertext": ciphertext}
    try:
        async with tx.connection.begin_nested():
            await tx.execute(_SET_ADDRESS, values)
    except IntegrityError:
        return False
    return True


async def find_person(tx: Transaction, identifier: UUID, *, lock: bool = False) -> PersonRow | None:
    """Return a person who is not deleted, by the id that stands in addresses."""
    row = (await tx.execute(_BY_ID_LOCKED if lock else _BY_ID, {"tenant": tx.scope.tenant, "id": identifier})).first()
    return None if row is None else _row(tuple(row))


async def find_by_ref(tx: Transaction, person: str) -> PersonRow | None:
    """Return a person by pseudonym, deleted or not."""
    row = (await tx.execute(_BY_PERSON, {"tenant": tx.scope.tenant, "person": person})).first()
    return None if row is None else _row(tuple(row))


async def find_by_email(tx: Transaction, index: bytes, *, disabled_too: bool = False) -> PersonRow | None:
    """Return the person of the tenant whose address has this blind index; whoever is disabled counts only if asked."""
    wanted = {"tenant": tx.scope.tenant, "index": index, "disabled_too": disabled_too}
    row = (await tx.execute(_BY_INDEX, wanted)).first()
    return None if row is None else _row(tuple(row))


async def page_of_people(tx: Transaction, *, after: tuple[datetime, UUID] | None, limit: int) -> list[PersonRow]:
    """Return people in the scope's units, oldest first, after the given position."""
    after_at, after_id = after or (None, None)
    rows = await tx.execute(
        _PAGE, {"tenant": tx.scope.tenant, "after_at": after_at, "after_id": after_id, "limit": limit}
    )
    return [_row(tuple(row)) for row in rows]


async def has_people(tx: Transaction) -> bool:
    """Say whether anybody was ever created in the tenant."""
    return bool((await tx.execute(_ANYBODY, {"tenant": tx.scope.tenant})).scalar_one())


async def bump_token_version(tx: Transaction, person: str) -> int:
    """Raise the person's token version, which ends every session signed under an older one; return the new version."""
    result = await tx.execute(_BUMP, {"tenant": tx.scope.tenant, "person": person})
    return int(result.scalar_one())


async def set_disabled(tx: Transaction, person: str, *, at: datetime | None) -> bool:
    """Disable a person from ``at`` on, or enable with ``None``; ``False`` when nothing changed."""
    result = await tx.execute(_DISABLE, {"tenant": tx.scope.tenant, "person": person, "at": at})
    return result.first() is not None


async def mark_deleted(tx: Transaction, person: str, *, now: datetime) -> None:
    """Delete softly: the row stays until erasure scrubs it, and nobody finds it."""
    await tx.execute(_DELETE, {"tenant": tx.scope.tenant, "person": person, "now": now})


async def email_index_of(tx: Transaction, person: str) -> bytes | None:
    """Return the blind index of the person's address, ``None`` once erased."""
    return (await tx.execute(_EMAIL_INDEX, {"tenant": tx.scope.tenant, "person": person})).scalar_one_or_none()


async def scrub(tx: Transaction, person: str, *, now: datetime) -> int:
    """Remove name, address and index; return how many rows were scrubbed."""
    result = await tx.execute(_SCRUB, {"tenant": tx.scope.tenant, "person": person, "now": now})
    return result.rowcount
