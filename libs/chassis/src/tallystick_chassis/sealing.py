"""Sealing: personal values that leave the service go into a box that only the privacy worker can open.

Services hold public keys only. The plaintext names event, field and subject, so that a box cannot be moved to another
place.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from nacl.public import PublicKey, SealedBox
from sqlalchemy import select
from tallystick_contracts.generated.common import Sealed

from tallystick_chassis.tables import directory_people, tenant_keys

if TYPE_CHECKING:
    from tallystick_chassis.clock import Clock
    from tallystick_chassis.ids import PersonRef
    from tallystick_chassis.transaction import Transaction


class SealingError(Exception):
    """A value could not be sealed; it must not be sent in another form."""


class PersonUnknown(SealingError):
    """The directory has no such person in reach of the scope (yet)."""


class PersonErased(SealingError):
    """The person was erased; nothing can be sealed to them any more."""


class TenantKeyMissing(SealingError):
    """The tenant has no key of the day yet: the privacy worker mints the first when the tenant is created."""


class BoxContent(msgspec.Struct, frozen=True):
    """What a box holds: ``subject`` is a person's pseudonym, or ``tenant:<id>``."""

    event: UUID
    field: str
    subject: str
    value: str


def seal(public_key: bytes, key_id: str, content: BoxContent) -> Sealed:
    """Seal ``content`` to an X25519 public key (libsodium sealed box)."""
    box = SealedBox(PublicKey(public_key)).encrypt(msgspec.json.encode(content, order="sorted"))
    return Sealed(key_id=key_id, box=base64.b64encode(box).decode())


class Sealer:
    """Seals values in a transaction: the keys come from the service's own directory, in the scope's tenant."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def for_person(self, tx: Transaction, person: PersonRef, *, event_id: UUID, field: str, value: str) -> Sealed:
        """Seal ``value``, which stands in ``field`` of event ``event_id``, to ``person``.

        Raises:
            PersonUnknown, PersonErased: if there is no key to seal to.
        """
        found = await tx.execute(
            select(directory_people.c.key_id, directory_people.c.public_key, directory_people.c.erased_at).where(
                directory_people.c.tenant_id == tx.scope.tenant, directory_people.c.person == person
            )
        )
        row = found.one_or_none()
        if row is None:
            raise PersonUnknown
        if row.erased_at is not None or row.public_key is None:
            raise PersonErased
        return seal(bytes(row.public_key), row.key_id, BoxContent(event_id, field, person, value))

    async def for_tenant(self, tx: Transaction, *, event_id: UUID, field: str, value: str) -> Sealed:
        """Seal ``value`` to the tenant's key of the day: the newest whose day has come.

        Raises:
            TenantKeyMissing: if there is none.
        """
        found = await tx.execute(
            select(tenant_keys.c.key_id, tenant_keys.c.public_key)
            .where(tenant_keys.c.tenant_id == tx.scope.tenant, tenant_keys.c.day <= self._clock().date())
            .order_by(tenant_keys.c.day.desc())
            .limit(1)
        )
        row = found.one_or_none()
        if row is None:
            raise TenantKeyMissing
        content = BoxContent(event_id, field, f"tenant:{tx.scope.tenant}", value)
        return seal(bytes(row.public_key), row.key_id, content)
