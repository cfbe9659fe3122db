"""The route by which an auditor reads a service's present state, to compare it with the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from tallystick_contracts.capabilities import Capability

from tallystick_chassis.http.openapi import REFUSES
from tallystick_chassis.http.problems import FieldError, NotFound, Problem, ValidationFailed
from tallystick_chassis.scope import AllUnits, Scope
from tallystick_chassis.service import Runtime
from tallystick_chassis.state import (
    REACH,
    STATE_PAGE,
    CursorError,
    StateKind,
    StatePage,
    reach_page,
    read_state,
    store_kinds,
)


class WholeTenantOnly(Problem):
    """State is read for a whole tenant, as its log is: the grant must hold in the root unit."""

    status, code, title = 403, "whole_tenant_only", "This needs a grant in the tenant's root unit"


def state_route(service: str, own: Sequence[StateKind]) -> HTTPRouteHandler:
    """Return ``GET /api/v1/<service>/state?kind=&after=&limit=``."""
    kinds = {kind.name: kind for kind in (*store_kinds(service), *own)}

    @get(
        f"/api/v1/{service}/state",
        opt={"capability": Capability.STATE_READ, REFUSES: (NotFound,)},
        name=f"{service}-state",
    )
    async def state(
        tenant_scope: Scope,
        runtime: Runtime,
        kind: Annotated[str, Parameter(max_length=40)],
        after: Annotated[str | None, Parameter(max_length=300)] = None,
        limit: Annotated[int, Parameter(ge=1, le=STATE_PAGE)] = STATE_PAGE,
    ) -> StatePage:
        """Give the present rows of a kind, for comparison with what the ledger says."""
        if not (isinstance(tenant_scope.org_units, AllUnits) or tenant_scope.root_unit in tenant_scope.org_units):
            raise WholeTenantOnly
        if kind == REACH:
            return reach_page(service, tenant_scope)
        if kind not in kinds:
            raise NotFound
        async with runtime.database.transaction(tenant_scope) as tx:
            try:
                return await read_state(tx, kinds[kind], after, limit)
            except CursorError:
                raise ValidationFailed(errors=[FieldError("Invalid value", parameter="after")]) from None

    return state
