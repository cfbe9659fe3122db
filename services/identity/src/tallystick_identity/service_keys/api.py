"""Routes of service keys."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from tallystick_chassis.http.capability import units_of
from tallystick_chassis.http.commands import REPLAYED_HEADER, perform
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.introspection import INACTIVE
from tallystick_chassis.http.problems import FieldError, NotFound
from tallystick_chassis.ids import OrgUnitId, new_id, new_secret
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import InvalidInput, UnknownReference
from tallystick_identity.org_units.commands import in_reach
from tallystick_identity.org_units.store import find_unit, subtree
from tallystick_identity.service_keys.commands import create, revoke
from tallystick_identity.service_keys.domain import KEY_CAPABILITIES, MAX_LIFETIME, KeyToken
from tallystick_identity.service_keys.store import ServiceKey, keys_in_reach
from tallystick_identity.sign_in.domain import secret_hash

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.http.introspection import Introspection
    from tallystick_chassis.transaction import Transaction

_KEYS = "/api/v1/identity/service-keys"


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key to make: what it may do in an org unit, with or without the units below, until ``expires_at``."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(min_length=1, max_length=len(Capability))]
    org_unit_id: UUID
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]
    subtree: bool = False


class KeyView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key, of which only ``prefix`` is ever shown again. ``last_used_at`` is true to within minutes.

    ``key`` is the key itself: in the answer that made it, and never after.
    """

    id: UUID
    name: str
    prefix: str
    capabilities: tuple[str, ...]
    org_unit_id: UUID
    subtree: bool
    created_by: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    key: str | None = None


class KeyList(msgspec.Struct, frozen=True):
    """The keys of the units in reach, oldest first, without those taken back."""

    keys: tuple[KeyView, ...]


class KeyRevoked(msgspec.Struct, frozen=True):
    """The key is taken back."""

    id: UUID


def service_key_routes(*, database: Database) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @get(_KEYS, opt={"capability": Capability.SERVICE_KEYS_READ})
    async def list_keys(tenant_scope: Scope) -> KeyList:
        """List service keys."""
        async with database.transaction(tenant_scope) as tx:
            return KeyList(tuple(_view(key) for key in await keys_in_reach(tx)))

    @post(_KEYS, opt={"capability": Capability.SERVICE_KEYS_WRITE}, status_code=201)
    async def add_key(request: Request[Any, Any, Any], tenant_scope: Scope, data: NewKey) -> Response[KeyView]:
        """Make a key and show it, once: a repeated request gets the same answer without it."""
        key_id = new_id()
        token = KeyToken(tenant_scope.tenant, key_id, new_secret())

        async def run(tx: Transaction) -> KeyView:
            key = await _checked(tx, data, token, context_of(request.scope).introspection or INACTIVE)
            await create(tx, key)
            return _view(key)

        response: Response[Any] = await perform(request, tenant_scope, run, status=201)
        if REPLAYED_HEADER not in response.headers:
            # After the commit, and beside the answer that is kept for repetitions: the key itself is stored nowhere.
            made = msgspec.json.decode(response.content, type=KeyView)
            response.content = msgspec.json.encode(msgspec.structs.replace(made, key=str(token)))
        return response

    @delete(f"{_KEYS}/{{key_id:uuid}}", opt={"capability": Capability.SERVICE_KEYS_WRITE}, status_code=200)
    async def remove_key(request: Request[Any, Any, Any], tenant_scope: Scope, key_id: UUID) -> Response[KeyRevoked]:
        """Take a key back."""

        async def run(tx: Transaction) -> KeyRevoked:
            if not await revoke(tx, key_id):
                raise NotFound
            return KeyRevoked(key_id)

        return await perform(request, tenant_scope, run)

    return [list_keys, add_key, remove_key]


async def _checked(tx: Transaction, data: NewKey, token: KeyToken, maker: Introspection) -> ServiceKey:
    now = tx.clock()
    invalid = [
        FieldError("cannot be held by a key", pointer=f"/capabilities/{number}")
        for number, capability in enumerate(data.capabilities)
        if capability not in KEY_CAPABILITIES
    ]
    if not now < data.expires_at <= now + MAX_LIFETIME:
        invalid.append(FieldError("must lie within the next 366 days", pointer="/expires_at"))
    if invalid:
        raise InvalidInput(errors=invalid)
    wanted = await subtree(tx, data.org_unit_id) if data.subtree else {data.org_unit_id}
    if not wanted or await find_unit(tx, data.org_unit_id) is None or not in_reach(tx.scope, wanted):
        raise UnknownReference(errors=[FieldError("is not there", pointer="/org_unit_id")])
    # Whoever may give roles there may give anything; others give what they hold.
    if not wanted <= units_of(maker, Capability.GRANTS_WRITE):
        beyond = [
            FieldError("is not yours to give in these units", pointer=f"/capabilities/{number}")
            for number, capability in enumerate(data.capabilities)
            if not wanted <= units_of(maker, capability)
        ]
        if beyond:
            raise InvalidInput(errors=beyond)
    return ServiceKey(
        id=token.id,
        org_unit=OrgUnitId(data.org_unit_id),
        subtree=data.subtree,
        name=data.name,
        prefix=token.prefix,
        secret_hash=secret_hash(token.secret),
        capabilities=tuple(sorted({capability.value for capability in data.capabilities})),
        created_by=tx.scope.actor,
        created_at=now,
        expires_at=data.expires_at,
    )


def _view(key: ServiceKey) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        capabilities=key.capabilities,
        org_unit_id=key.org_unit,
        subtree=key.subtree,
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )
