"""Make service keys, take them back, and say what one is worth."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from tallystick_chassis.http.introspection import INACTIVE, Grant, Introspection
from tallystick_chassis.scope import Scope
from tallystick_chassis.transaction import EventDraft
from tallystick_contracts.envelope import format_time
from tallystick_contracts.generated.identity import ServiceKeyCreated, ServiceKeyRevoked

from tallystick_identity.org_units.store import subtree
from tallystick_identity.request_edge import SERVICE_NAME
from tallystick_identity.service_keys import store
from tallystick_identity.service_keys.domain import parse_key
from tallystick_identity.sign_in.domain import secret_hash

if TYPE_CHECKING:
    from uuid import UUID

    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.service_keys.store import ServiceKey


async def create(tx: Transaction, key: ServiceKey) -> None:
    """Store a key and its event."""
    await store.insert_key(tx, key)
    created = ServiceKeyCreated(
        key_id=str(key.id),
        prefix=key.prefix,
        capabilities=key.capabilities,
        unit_id=str(key.org_unit),
        subtree=key.subtree,
        expires_at=format_time(key.expires_at),
    )
    await tx.append(f"service_key-{key.id}", 0, [EventDraft(created, org_unit=key.org_unit)])


async def revoke(tx: Transaction, identifier: UUID) -> bool:
    """Take a key back from the next request on; ``False`` when none is in force under this id."""
    key = await store.revoke_key(tx, identifier, now=tx.clock())
    if key is None:
        return False
    revoked = ServiceKeyRevoked(key_id=str(key.id))
    await tx.append(f"service_key-{key.id}", 1, [EventDraft(revoked, org_unit=key.org_unit)])
    return True


class KeyIntrospector:
    """Says what a service key is worth now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def introspect(self, token: str) -> Introspection:
        """Return what the key may do where, or inactive; its use is noted."""
        presented = parse_key(token)
        if presented is None:
            return INACTIVE
        async with self._database.transaction(Scope.for_duty(presented.tenant, SERVICE_NAME)) as tx:
            now = tx.clock()
            key = await store.find_key(tx, presented.id)
            proven = hmac.compare_digest(secret_hash(presented.secret), bytes(32) if key is None else key.secret_hash)
            if key is None or not proven or key.revoked_at is not None or key.expires_at <= now:
                return INACTIVE
            await store.note_use(tx, key.id, now=now)
            units = await subtree(tx, key.org_unit) if key.subtree else {key.org_unit}
        return Introspection(
            active=True,
            tenant=presented.tenant,
            person=f"key_{key.id.hex}",
            session=str(key.id),
            amr=("key",),
            grants=(Grant(key.id, key.capabilities, tuple(units)),),
            valid_until=key.expires_at.timestamp(),
        )
