"""Routes by which an administrator helps somebody who lost a factor or was locked out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.problems import NotFound
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import BeyondReach
from tallystick_identity.org_units.commands import in_reach
from tallystick_identity.people.store import email_index_of, find_person
from tallystick_identity.roles.store import units_held

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.factors.commands import Factors
    from tallystick_identity.sign_in.tries import Tries

_PERSON = "/api/v1/identity/people/{person_id:uuid}"
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class WithReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an administrator does it; sealed in the record."""

    reason: Reason


class FactorsReset(msgspec.Struct, frozen=True):
    """How many factors were removed; every session of the person has ended."""

    person: str
    removed: int


class Unlocked(msgspec.Struct, frozen=True):
    """The account has its tries back."""

    person: str


def administration_routes(*, factors: Factors, tries: Tries) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @post(f"{_PERSON}/factors/reset", opt={"capability": Capability.PEOPLE_WRITE, "step_up": True}, status_code=200)
    async def reset_factors(
        request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID, data: WithReason
    ) -> Response[FactorsReset]:
        """Remove all second factors of somebody who lost them, and end their sessions.

        What guards roles is taken off by nobody who has no say where the roles are.
        """

        async def run(tx: Transaction) -> FactorsReset:
            row = await find_person(tx, person_id, lock=True)
            if row is None:
                raise NotFound
            async with tx.whole_tenant():
                held = await units_held(tx, row.person, now=tx.clock())
            if not in_reach(tenant_scope, held):
                raise BeyondReach
            return FactorsReset(row.person, await factors.reset(tx, row, reason=data.reason))

        return await perform(request, tenant_scope, run)

    @post(f"{_PERSON}/unlock", opt={"capability": Capability.PEOPLE_WRITE}, status_code=200)
    async def unlock_person(
        request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID, data: WithReason
    ) -> Response[Unlocked]:
        """Give an account that was locked for everybody its tries back."""

        async def run(tx: Transaction) -> Unlocked:
            row = await find_person(tx, person_id, lock=True)
            if row is None:
                raise NotFound
            await tries.unlock(tx, row, await email_index_of(tx, row.person), reason=data.reason)
            return Unlocked(row.person)

        return await perform(request, tenant_scope, run)

    return [reset_factors, unlock_person]
