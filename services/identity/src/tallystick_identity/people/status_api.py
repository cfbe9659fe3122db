"""Routes that disable and enable people, and give them another address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, post, put
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.problems import FieldError, NotFound
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_identity.errors import BeyondReach, InvalidInput
from tallystick_identity.org_units.commands import in_reach
from tallystick_identity.people.domain import MAX_EMAIL_LENGTH, InvalidEmailError, email_address
from tallystick_identity.people.store import find_person
from tallystick_identity.roles.administrators import keeping_an_administrator
from tallystick_identity.roles.store import units_held

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.transaction import Transaction

    from tallystick_identity.people.commands import People

_MAX_REASON_LENGTH = 1_000
_PERSON = "/api/v1/identity/people/{person_id:uuid}"


class NewAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where mail to a person goes from now on, and why."""

    email: Annotated[str, msgspec.Meta(min_length=3, max_length=MAX_EMAIL_LENGTH)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_REASON_LENGTH)]


class AddressChanged(msgspec.Struct, frozen=True):
    """Whose address it is. The address itself is not said: answers of commands are kept, and would outlive it."""

    person: str


class PersonStatus(msgspec.Struct, frozen=True):
    """Whether a person is disabled now."""

    person: str
    disabled: bool


def status_routes(*, people: People) -> list[ControllerRouterHandler]:  # noqa: C901 - a list of handlers; none of them branches much
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

    @put(
        f"{_PERSON}/email",
        opt={"capability": Capability.GRANTS_WRITE, "step_up": True},
        status_code=200,
    )
    async def change_address(
        request: Request[Any, Any, Any], tenant_scope: Scope, person_id: UUID, data: NewAddress
    ) -> Response[AddressChanged]:
        """Give a person another address; links mailed before are void, and all their sessions end.

        Whoever gets a person's mail can come to be that person, so it takes who may give roles wherever they have any.
        """

        async def run(tx: Transaction) -> AddressChanged:
            row = await find_person(tx, person_id, lock=True)
            if row is None:
                raise NotFound
            async with tx.whole_tenant():
                held = await units_held(tx, row.person, now=tx.clock())
            if not in_reach(tenant_scope, held):
                raise BeyondReach
            try:
                email = email_address(data.email)
            except InvalidEmailError as error:
                raise InvalidInput(errors=[FieldError(str(error), pointer="/email")]) from None
            await people.change_address(tx, row, email=email, reason=data.reason)
            return AddressChanged(row.person)

        return await perform(request, tenant_scope, run)

    return [disable, enable, change_address]
