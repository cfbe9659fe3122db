"""The route by which a service brings its events while NATS is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from litestar import Response, post
from tallystick_chassis.hand_over import HAND_OVER_PATH, HandedOver
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Principal
from tallystick_contracts.capabilities import Capability

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

    from tallystick_ledger.writing.hand_over import HandOverDesk

_JSON: Final = "application/json"


def writing_routes(desk: HandOverDesk) -> list[ControllerRouterHandler]:
    """Return the route. It takes no Idempotency-Key: the events' numbers say what is there already."""

    @post(HAND_OVER_PATH, opt={"capability": Capability.EVENT_HAND_OVER}, status_code=200)
    async def hand_over(principal: Principal, tenant_scope: Scope, data: HandedOver) -> Response[bytes]:
        """Record a service's own numbered events of one tenant and answer with receipts: for when NATS is away."""
        answer = await desk.take(tenant_scope.tenant, principal.name, data.events)
        return Response(msgspec.json.encode(answer), media_type=_JSON)

    return [hand_over]
