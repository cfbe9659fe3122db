"""The one guard: every route names its capability or is public, and nothing else decides who may call it.

Order: session (401), forgery (403), second factor (403), capability (403), recent sign-in (401), budget (429); only
then is the input read.
The scope's org units are those in which some grant holds *this* capability, never a product of roles and units.
"""

from __future__ import annotations

from datetime import timedelta
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any
from uuid import UUID

from litestar.handlers import HTTPRouteHandler
from tallystick_contracts.capabilities import IMPLICIT_CAPABILITIES, SERVICE_CAPABILITIES, Capability
from tallystick_contracts.topology import SERVICES, ServiceName

from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.csrf import SAFE_METHODS
from tallystick_chassis.http.problems import (
    BadRequest,
    CapabilityMissing,
    NotAuthenticated,
    SecondFactorRequired,
    StepUpRequired,
)
from tallystick_chassis.http.public_routes import public_routes_of
from tallystick_chassis.ids import OrgUnitId, TenantId
from tallystick_chassis.scope import ALL_UNITS, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litestar import Litestar, Request
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler
    from litestar.types import Guard

    from tallystick_chassis.clock import Clock
    from tallystick_chassis.http.authentication import Authentication
    from tallystick_chassis.http.correlation import RequestContext
    from tallystick_chassis.http.csrf import CsrfCheck
    from tallystick_chassis.http.introspection import Introspection
    from tallystick_chassis.http.route_limits import RouteLimits

CAPABILITY = "capability"
PUBLIC = "public"
STEP_UP = "step_up"
BEFORE_SECOND_FACTOR = "before_second_factor"
STEP_UP_MAX_AGE = timedelta(minutes=15)
TENANT_HEADER = "X-Tally-Tenant"


class RouteDeclarationError(Exception):
    """A route says neither its capability nor that it is public, or the public routes are not the frozen ones."""


def declared_routes(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Yield each ``METHOD /path/{parameter}`` with its handler, without the OPTIONS answers that Litestar adds."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler):
                for method in handler.http_methods:
                    if not _is_added_options(handler):
                        yield f"{method} {route.path_format}", handler


def check_declarations(app: Litestar, service: str) -> None:
    """Refuse to start unless every route is declared and the public ones are exactly the service's frozen list.

    Raises:
        RouteDeclarationError: naming every route at fault.
    """
    public = set()
    faults = [
        f"{route.path}: only HTTP routes can be guarded" for route in app.routes if not hasattr(route, "route_handlers")
    ]
    for name, handler in declared_routes(app):
        capability, is_public = handler.opt.get(CAPABILITY), handler.opt.get(PUBLIC)
        taken = signature(handler.fn).parameters
        if bool(capability) == bool(is_public):
            faults.append(f"{name}: name a capability or be public, one of the two")
        elif capability and capability not in frozenset(Capability):
            faults.append(f"{name}: {capability} is not a capability")
        if is_public:
            public.add(name)
            faults.extend(
                f"{name}: a public route has no {taboo}" for taboo in ("tenant_scope", "principal") if taboo in taken
            )
        if _wants_our_scope(taken.get("scope")):
            faults.append(f"{name}: `scope` is Litestar's own name; call the parameter `tenant_scope`")
    frozen = public_routes_of(service)
    faults.extend(f"{name}: public, but not on the frozen list" for name in sorted(public - frozen))
    faults.extend(f"{name}: on the frozen list of public routes, but not served" for name in sorted(frozen - public))
    if faults:
        message = "route declarations: " + "; ".join(faults)
        raise RouteDeclarationError(message)


def _wants_our_scope(parameter: Parameter | None) -> bool:
    return parameter is not None and (parameter.annotation is Scope or parameter.annotation == "Scope")


def _is_added_options(handler: BaseRouteHandler) -> bool:
    return isinstance(handler, HTTPRouteHandler) and handler.http_methods == {"OPTIONS"} and not handler.opt


def make_guard(authentication: Authentication, csrf: CsrfCheck, clock: Clock, limits: RouteLimits) -> Guard:
    """Return the guard of all routes."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        context = context_of(connection.scope)
        if handler.opt.get(PUBLIC):
            csrf.check_origin(connection)
            await limits.spend(context, _name_of(connection))
            return
        await authentication.authenticate(connection, context, ask=bool(handler.opt.get(STEP_UP)))
        if _is_added_options(handler):
            return
        if context.by_cookie and context.introspection is not None:
            await csrf.check_session(connection, context.introspection)
            if context.introspection.limited and not handler.opt.get(BEFORE_SECOND_FACTOR):
                raise SecondFactorRequired
        capability = Capability(handler.opt[CAPABILITY])
        if not holds(context, capability):
            context.missing_capability = capability
            raise CapabilityMissing
        if handler.opt.get(STEP_UP) and context.introspection is not None:
            age_s = clock().timestamp() - context.introspection.auth_time
            if age_s > STEP_UP_MAX_AGE.total_seconds():
                raise StepUpRequired
        await limits.spend(context, _name_of(connection))

    return guard


def _name_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return f"{connection.scope.get('method', '')} {connection.scope.get('path_template', '')}"


def holds(context: RequestContext, capability: Capability) -> bool:
    """Say whether the request's principal has ``capability`` anywhere in its tenant."""
    if context.principal is None:
        return False
    if context.principal.is_service:
        name = context.principal.name
        return name in SERVICES and capability in SERVICE_CAPABILITIES[ServiceName(name)]
    return context.introspection is not None and bool(units_of(context.introspection, capability))


def units_of(known: Introspection, capability: str) -> frozenset[OrgUnitId]:
    """Return the org units in which the person holds ``capability``."""
    units = {unit for grant in known.grants if capability in grant.capabilities for unit in grant.units}
    if capability in IMPLICIT_CAPABILITIES and known.home_unit is not None:
        units.add(known.home_unit)
    return frozenset(OrgUnitId(unit) for unit in units)


def scope_of(request: Request[Any, Any, Any]) -> Scope:
    """Return the scope of the request: the handler's ``tenant_scope``.

    Raises:
        BadRequest: if a service does not say for which tenant it asks, or says it twice and differently.
    """
    context = context_of(request.scope)
    principal, known = context.principal, context.introspection
    if principal is None:
        raise NotAuthenticated
    if principal.is_service:
        tenant, units = _tenant_named(request), ALL_UNITS
        return _scope(request, context, tenant, units, principal.name)
    if known is None or known.tenant is None:
        raise NotAuthenticated
    units_in_reach = units_of(known, request.route_handler.opt[CAPABILITY])
    return _scope(request, context, TenantId(known.tenant), units_in_reach, principal.name)


def _scope(
    request: Request[Any, Any, Any],
    context: RequestContext,
    tenant: TenantId,
    units: Any,  # noqa: ANN401 - either form that Scope accepts; Scope itself checks
    actor: str,
) -> Scope:
    unsafe = request.method not in SAFE_METHODS
    return Scope(
        tenant=tenant,
        org_units=units,
        actor=actor,
        correlation=context.correlation,
        client_correlation=context.client_correlation,
        idempotency_key=request.headers.get("idempotency-key") if unsafe else None,
        traceparent=context.traceparent,
    )


def _tenant_named(request: Request[Any, Any, Any]) -> TenantId:
    named: Sequence[object] = [
        value for value in (request.path_params.get("tenant"), request.headers.get(TENANT_HEADER)) if value is not None
    ]
    try:
        tenants = {UUID(str(value)) for value in named}
    except ValueError:
        tenants = set()
    if len(tenants) != 1:
        detail = f"A service names one tenant: in the path, or in {TENANT_HEADER}"
        raise BadRequest(detail)
    return TenantId(tenants.pop())
