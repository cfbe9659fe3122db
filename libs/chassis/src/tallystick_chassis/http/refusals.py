"""What is kept of refused requests: denied capabilities, and ids that were not there (another tenant's, perhaps).

Both are recorded in a short transaction of their own before the answer is sent, so that an id of another tenant's and
one that does not exist take the same time. Failing to record never changes the answer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import insert
from tallystick_contracts.generated.authz import AccessDenied

from tallystick_chassis.http.client_address import UNKNOWN
from tallystick_chassis.ids import OrgUnitId, TenantId, new_id
from tallystick_chassis.scope import Scope
from tallystick_chassis.sealing import SealingError
from tallystick_chassis.tables import misses
from tallystick_chassis.telemetry import get_log
from tallystick_chassis.transaction import EventDraft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.database import Database
    from tallystick_chassis.http.correlation import RequestContext
    from tallystick_chassis.sealing import Sealer

DENIAL_INTERVAL_S = 60.0
MAX_REMEMBERED = 10_000


class RefusalRecorder:
    """Writes ``misses`` rows and ``authz.access.denied`` events, the latter once a minute for a session and route."""

    def __init__(self, database: Database, sealer: Sealer, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._denied_at: dict[tuple[str, str], float] = {}

    async def miss(self, context: RequestContext, path_parameters: Mapping[str, object]) -> None:
        """Record the ids of a request that found nothing; the worker looks whether they are another tenant's."""
        scope = _scope(context)
        ids = [value for name, value in path_parameters.items() if isinstance(value, UUID) and name != "tenant"]
        if scope is None or not ids:
            return
        try:
            async with self._database.transaction(scope) as tx:
                await tx.execute(
                    insert(misses).inline(),  # RETURNING would need to read, and nobody who asks may
                    [
                        {
                            "tenant_id": scope.tenant,
                            "id": one,
                            "route": context.route,
                            "actor": scope.actor,
                            "correlation": scope.correlation,
                            "at": self._clock(),
                        }
                        for one in ids
                    ],
                )
        except Exception:  # noqa: BLE001 - the answer is decided; what fails here is logged
            get_log().error("miss_not_recorded", route=context.route, exc_info=True)

    async def denied(self, context: RequestContext) -> None:
        """Emit ``authz.access.denied`` for a person, at most once a minute for the same session and route."""
        scope = _scope(context)
        if (
            scope is None
            or context.principal is None
            or not self._is_due(context.principal.session or "", context.route)
        ):
            return
        event_id = new_id()
        try:
            async with self._database.transaction(scope) as tx:
                ip = None
                if context.client_address != UNKNOWN:
                    try:
                        ip = await self._sealer.for_tenant(
                            tx, event_id=event_id, field="ip", value=context.client_address
                        )
                    except SealingError:
                        ip = None  # no key of the day yet: the denial counts more than the address
                data = AccessDenied(route=context.route, capability=context.missing_capability or "", ip=ip)
                (unit,) = scope.org_units if isinstance(scope.org_units, frozenset) else (scope.root_unit,)
                await tx.append(f"access-{event_id}", 0, [EventDraft(data, id=event_id, org_unit=unit)])
        except Exception:  # noqa: BLE001 - as above
            get_log().error("denial_not_recorded", route=context.route, exc_info=True)

    def _is_due(self, session: str, route: str) -> bool:
        now = time.monotonic()
        last = self._denied_at.get((session, route))
        if last is not None and now - last < DENIAL_INTERVAL_S:
            return False
        if len(self._denied_at) >= MAX_REMEMBERED:
            self._denied_at = {key: at for key, at in self._denied_at.items() if now - at < DENIAL_INTERVAL_S}
        self._denied_at[(session, route)] = now
        return True


def _scope(context: RequestContext) -> Scope | None:
    """Return the smallest scope that can write for the request's person: their home unit. ``None`` for services."""
    known, principal = context.introspection, context.principal
    if principal is None or known is None or known.tenant is None or known.home_unit is None:
        return None
    return Scope(
        tenant=TenantId(known.tenant),
        org_units=frozenset({OrgUnitId(known.home_unit)}),
        actor=principal.name,
        correlation=context.correlation,
        client_correlation=context.client_correlation,
        traceparent=context.traceparent,
    )
