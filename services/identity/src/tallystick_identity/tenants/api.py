"""Routes by which a tenant's administrators say how its people may sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, get, put
from tallystick_chassis.http.commands import perform
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.problems import CapabilityMissing
from tallystick_chassis.scope import Scope
from tallystick_contracts.capabilities import Capability

from tallystick_identity.org_units.commands import in_reach
from tallystick_identity.tenants.commands import set_sign_in_policy
from tallystick_identity.tenants.store import has_passwords

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler
    from tallystick_chassis.database import Database
    from tallystick_chassis.transaction import Transaction

_POLICY = "/api/v1/identity/sign-in-policy"


class SignInPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether people may sign in by password beside the link that is mailed to them, which they always may."""

    passwords: bool


def sign_in_policy_routes(*, database: Database) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @get(_POLICY, opt={"capability": Capability.ROLES_READ})
    async def read_policy(tenant_scope: Scope) -> SignInPolicy:
        """Say how the tenant's people may sign in."""
        async with database.transaction(tenant_scope) as tx:
            return SignInPolicy(await has_passwords(tx))

    @put(_POLICY, opt={"capability": Capability.ROLES_WRITE, "step_up": True})
    async def set_policy(
        request: Request[Any, Any, Any], tenant_scope: Scope, data: SignInPolicy
    ) -> Response[SignInPolicy]:
        """Let the tenant's people sign in by password, or not; it holds from the next sign-in on."""
        # The policy is the whole tenant's: who holds `roles.write` in one unit only must not change it for all.
        if not in_reach(tenant_scope, [tenant_scope.root_unit]):
            context_of(request.scope).missing_capability = Capability.ROLES_WRITE
            raise CapabilityMissing

        async def run(tx: Transaction) -> SignInPolicy:
            await set_sign_in_policy(tx, passwords=data.passwords)
            return data

        return await perform(request, tenant_scope, run)

    return [read_policy, set_policy]
