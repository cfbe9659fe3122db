"""The directory: each service's own copy of tenants, of people's public keys, and of the tenants' keys of the day.

It is kept by events, so that sealing waits for nobody. The worker puts these handlers before a service's own for the
same types.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from tallystick_contracts.generated.identity import TenantCreated, UserCreated
from tallystick_contracts.generated.privacy import ErasureOrdered, TenantKeyMinted

from tallystick_chassis.tables import directory_people, directory_tenants, tenant_keys

if TYPE_CHECKING:
    from tallystick_contracts.envelope import Event
    from tallystick_contracts.message import EventData

    from tallystick_chassis.service import Handler
    from tallystick_chassis.transaction import Transaction

_PUBLIC_KEY_BYTES = 32
D = TypeVar("D", bound="EventData")


class DirectoryError(ValueError):
    """An event of another service has content that no key or unit can have."""


async def on_tenant_created(tx: Transaction, event: Event) -> None:
    """Note the tenant's names."""
    data = _data(event, TenantCreated)
    row = {"slug": data.slug, "name": data.name}
    await tx.execute(
        insert(directory_tenants)
        .values(tenant_id=tx.scope.tenant, **row)
        .on_conflict_do_update(index_elements=["tenant_id"], set_=row)
    )


async def on_user_created(tx: Transaction, event: Event) -> None:
    """Note the person's public key; a person who was erased meanwhile stays erased."""
    data = _data(event, UserCreated)
    await tx.execute(
        insert(directory_people)
        .values(
            tenant_id=tx.scope.tenant,
            person=data.person,
            org_unit_id=UUID(data.home_unit),
            key_id=data.key_id,
            public_key=_public_key(data.public_key),
        )
        .on_conflict_do_nothing()
    )


async def on_tenant_key_minted(tx: Transaction, event: Event) -> None:
    """Note the tenant's sealing key of a day."""
    data = _data(event, TenantKeyMinted)
    await tx.execute(
        insert(tenant_keys)
        .values(
            tenant_id=tx.scope.tenant,
            day=date.fromisoformat(data.day),
            key_id=data.key_id,
            public_key=_public_key(data.public_key),
        )
        .on_conflict_do_nothing()
    )


async def on_erasure_ordered(tx: Transaction, event: Event) -> None:
    """Forget the person's public key and remember that they are erased, also if they were not known yet."""
    data = _data(event, ErasureOrdered)
    gone = {"public_key": None, "erased_at": event.time}
    await tx.execute(
        insert(directory_people)
        .values(tenant_id=tx.scope.tenant, person=data.person, org_unit_id=tx.scope.root_unit, key_id="", **gone)
        .on_conflict_do_update(index_elements=["tenant_id", "person"], set_=gone)
    )


DIRECTORY_HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "identity.tenant.created": on_tenant_created,
        "identity.user.created": on_user_created,
        "privacy.tenant_key.minted": on_tenant_key_minted,
        "privacy.erasure.ordered": on_erasure_ordered,
    }
)


def with_directory(handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    """Return ``handlers`` with the directory's own put before them, in the same transaction."""
    merged = dict(handlers)
    for event_type, keep in DIRECTORY_HANDLERS.items():
        own = handlers.get(event_type)
        merged[event_type] = keep if own is None or own is keep else _both(keep, own)
    return merged


def _both(first: Handler, second: Handler) -> Handler:
    async def handle(tx: Transaction, event: Event) -> None:
        await first(tx, event)
        await second(tx, event)

    return handle


def _data(event: Event, kind: type[D]) -> D:
    if not isinstance(event.data, kind):
        message = f"{event.type} does not carry {kind.__name__}"
        raise DirectoryError(message)
    return event.data


def _public_key(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != _PUBLIC_KEY_BYTES:
        message = "a public key that is not 32 bytes long"
        raise DirectoryError(message)
    return key
