"""Routes that disable and enable people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_identity.people.store import find_person
from tallystick_identity.roles.administrators import keeping_an_administrator

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.commands import People

_PERSON = "/api/v1/identity/people/{person_id:uuid}"


class PersonStatus(msgspec.Struct, frozen=True):
    """Whether a person is disabled now."""

    person: str
    disabled: bool


def status_routes(*, people: People) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @post(f"{_PERSON}/disable", opt={"capability": Capability.PEOPLE_WRITE}, status_code=200)
    async def disable(request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID) -> Response[PersonStatus]:
        """Disable a person: all sessions end now, and nobody signs in as them until they are enabled again."""

        async def run(tx: Transaction) -> PersonStatus:
            row = await find_person(tx, person_id, lock=True)
            if row is None:
                raise NotFound
            async with keeping_an_administrator(tx):
                await people.disable(tx, row)
            return PersonStatus(row.person, disabled=True)

        return await perform(request, tenant_scope, run)

    @post(f"{_PERSON}/enable", opt={"capability": Capability.PEOPLE_WRITE}, status_code=200)
    async def enable(request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID) -> Response[PersonStatus]:
        """Enable a disabled person, who signs in anew; grants are as they were."""

        async def run(tx: Transaction) -> PersonStatus:
            row = await find_person(tx, person_id, lock=True)
            if row is None:
                raise NotFound
            await people.enable(tx, row)
            return PersonStatus(row.person, disabled=False)

        return await perform(request, tenant_scope, run)

    return [disable, enable]
