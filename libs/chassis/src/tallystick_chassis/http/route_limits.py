"""What the guard spends on a high-value route: budgets by address, person and tenant, before the input is read.

A request over a budget is answered 429 with ``Retry-After``. The first of a window leaves ``authz.rate_limit.exceeded``
in the transaction that counts it, so once for each budget and window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from tallystick_contracts.generated.authz import RateLimitExceeded

from tallystick_chassis.budgets import OPEN_WHEN_DOWN, ROUTE_BUDGETS, Per
from tallystick_chassis.http.client_address import UNKNOWN, counted_as
from tallystick_chassis.http.problems import TooManyRequests, Unavailable
from tallystick_chassis.ids import PLATFORM_TENANT, OrgUnitId, TenantId, new_id
from tallystick_chassis.rate_limits import Charge
from tallystick_chassis.scope import Scope
from tallystick_chassis.sealing import SealingError
from tallystick_chassis.telemetry import get_log
from tallystick_chassis.transaction import EventDraft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick_chassis.budgets import Budget
    from tallystick_chassis.database import Database
    from tallystick_chassis.http.correlation import RequestContext
    from tallystick_chassis.rate_limits import RateLimiter, Spent
    from tallystick_chassis.sealing import Sealer
    from tallystick_chassis.transaction import Transaction

# Counting need not wait for the disk: a crash of Postgres forgets the last moment's counts, and nothing else.
_HASTY = text("select set_config('synchronous_commit', 'off', true)")


class RouteLimits:
    """Counts requests of one service's routes."""

    def __init__(self, database: Database, limiter: RateLimiter, sealer: Sealer) -> None:
        self._database = database
        self._limiter = limiter
        self._sealer = sealer

    async def spend(self, context: RequestContext, route: str) -> None:
        """Count one request on ``route`` (``METHOD /path``); services' own requests are not counted.

        Raises:
            TooManyRequests: if a budget is spent.
            Unavailable: if the counters are out of reach, except for what anybody may see.
        """
        budgets = ROUTE_BUDGETS.get(f"{self._database.service} {route}", ())
        if not budgets or (context.principal is not None and context.principal.is_service):
            return
        scope = _scope(context)
        charges = [Charge(budget, _subject(budget, context)) for budget in budgets]
        try:
            async with self._database.transaction(scope) as tx:
                await tx.execute(_HASTY)
                over = [one for one in await self._limiter.count(tx, charges) if one.is_over]
                await record_exceeded(tx, self._sealer, over, route=route, address=context.client_address)
        except (OSError, TimeoutError, SQLAlchemyError) as error:
            get_log().error("requests_not_counted", route=route, error=type(error).__name__)
            if all(budget.name in OPEN_WHEN_DOWN for budget in budgets):
                return
            raise Unavailable from error
        refuse_if_over(over, now_of=self._database)


def refuse_if_over(over: Iterable[Spent], *, now_of: Database) -> None:
    """Raise for the budget that takes longest to come back.

    Raises:
        TooManyRequests: if ``over`` is not empty.
    """
    waits = [one.retry_after_s(now_of.clock()) for one in over]
    if waits:
        raise TooManyRequests(headers={"Retry-After": str(max(waits))})


async def record_exceeded(tx: Transaction, sealer: Sealer, over: Iterable[Spent], *, route: str, address: str) -> None:
    """Append ``authz.rate_limit.exceeded`` for every budget that was just exceeded for the first time."""
    for one in over:
        if not one.is_first_over:
            continue
        event_id = new_id()
        ip = None
        if address != UNKNOWN:
            try:
                ip = await sealer.for_tenant(tx, event_id=event_id, field="ip", value=address)
            except SealingError:
                ip = None  # the platform has no key of the day: what was exceeded counts more than by whom
        data = RateLimitExceeded(route=route, budget=one.charge.budget.name, ip=ip)
        units = tx.scope.org_units
        unit = next(iter(units)) if isinstance(units, frozenset) else None
        await tx.append(f"rate_limit-{event_id}", 0, [EventDraft(data, id=event_id, org_unit=unit)])


def _scope(context: RequestContext) -> Scope:
    known, principal = context.introspection, context.principal
    if principal is None or known is None or known.tenant is None or known.home_unit is None:
        # Nobody is signed in: the counts, and the record, are the platform's.
        return Scope(
            tenant=PLATFORM_TENANT,
            org_units=frozenset({OrgUnitId(PLATFORM_TENANT)}),
            actor="anonymous",
            correlation=context.correlation,
            client_correlation=context.client_correlation,
            traceparent=context.traceparent,
        )
    return Scope(
        tenant=TenantId(known.tenant),
        org_units=frozenset({OrgUnitId(known.home_unit)}),
        actor=principal.name,
        correlation=context.correlation,
        client_correlation=context.client_correlation,
        traceparent=context.traceparent,
    )


def _subject(budget: Budget, context: RequestContext) -> str:
    if budget.per is Per.ADDRESS:
        return counted_as(context.client_address)
    if budget.per is Per.PERSON:
        return context.principal.name if context.principal else counted_as(context.client_address)
    return ""  # the tenant's own silo, or everybody in the platform's
