"""The route by which a service brings its events while NATS is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import post
from tallystick_chassis.hand_over import HAND_OVER_PATH, HandedOver, HandOverAnswer
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from tallystick_ledger.writing.hand_over import HandOverDesk


def writing_routes(desk: HandOverDesk) -> list[ControllerRouterHandler]:
    """Return the route. It takes no Idempotency-Key: the events' numbers say what is there already."""

    @post(HAND_OVER_PATH, opt={"capability": Capability.EVENT_HAND_OVER}, status_code=200)
    async def hand_over(principal: Principal, tenant_scope: Scope, data: HandedOver) -> HandOverAnswer:
        """Record a service's own numbered events of one tenant and answer with receipts: for when NATS is away."""
        return await desk.take(tenant_scope.tenant, principal.name, data.events)

    return [hand_over]
