"""The route that finds one person: by the whole address, or by the pseudonym that stands in events.

Names are encrypted for each person alone and have no index: nobody is found by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, post
from tallystick_chassis.http.commands import require_key
from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import FieldError, NotFound, ValidationFailed
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_identity.people.api import Email
from tallystick_identity.people.store import find_by_ref

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database

    from tallystick_identity.people.commands import People

_FIND = "/api/v1/identity/people/find"


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to find: one of the two."""

    email: Email | None = None
    person: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class PersonFound(msgspec.Struct, frozen=True):
    """Who it is. What else there is to know is read under the id."""

    id: UUID
    person: str


def find_routes(*, database: Database, people: People) -> list[ControllerRouterHandler]:
    """Return the route."""

    # By POST, since an address in a URL would lie in every log on the way. The answer is not kept under the request's
    # key: who has the row could guess the address from its hash.
    @post(_FIND, opt={"capability": Capability.PEOPLE_READ, REFUSES: (NotFound,)}, status_code=200)
    async def find_person(request: Request[Any, Any, Any], tenant_scope: Scope, data: Wanted) -> PersonFound:
        """Find a person of the units in reach by the whole address, or by pseudonym."""
        require_key(request)
        async with database.transaction(tenant_scope) as tx:
            if data.email is not None and data.person is None:
                row = await people.find(tx, data.email)
            elif data.person is not None and data.email is None:
                row = await find_by_ref(tx, data.person)
            else:
                raise ValidationFailed(errors=[FieldError("Expected `email` or `person`", pointer="")])
        if row is None or row.deleted_at is not None:
            raise NotFound
        return PersonFound(row.id, row.person)

    return [find_person]
