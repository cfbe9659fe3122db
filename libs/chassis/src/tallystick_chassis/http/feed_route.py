"""The feed: a source's own numbered events, for consumers that missed some on JetStream."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from tallystick_contracts.capabilities import Capability

from tallystick_chassis.catch_up import PAGE, FeedPage, read_feed
from tallystick_chassis.scope import Scope


def feed_route(service: str) -> HTTPRouteHandler:
    """Return ``GET /api/v1/<service>/feed/{tenant}/{aggregate}?after=&limit=``."""

    @get(
        f"/api/v1/{service}/feed/{{tenant:uuid}}/{{aggregate:str}}",
        opt={"capability": Capability.FEED_READ},
        name=f"{service}-feed",
    )
    async def feed(  # noqa: PLR0917 - Litestar calls it by names
        request: Request[Any, Any, Any],
        tenant_scope: Scope,
        tenant: UUID,  # noqa: ARG001 - the scope is made from it
        aggregate: str,
        after: Annotated[int, Parameter(ge=0, le=2**53)] = 0,
        limit: Annotated[int, Parameter(ge=1, le=PAGE)] = PAGE,
    ) -> FeedPage:
        """Give a service the numbered events of one tenant and aggregate, after the last one it has."""
        async with request.app.state.runtime.database.transaction(tenant_scope) as tx:
            return await read_feed(tx, aggregate, after, limit)

    return feed
