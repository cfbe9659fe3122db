"""The app factory: a service's routes behind one edge, one guard and one way to say no."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions.base_exceptions import LitestarDeprecationWarning
from tallystick_contracts.capabilities import SERVICE_CAPABILITIES, Capability
from tallystick_contracts.topology import SERVICES, ServiceName

from tallystick_chassis.http.authentication import Authentication
from tallystick_chassis.http.bodies import MAX_BODY_BYTES, StrictRequest
from tallystick_chassis.http.capability import check_declarations, make_guard, scope_of
from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.http.csrf import CsrfCheck
from tallystick_chassis.http.edge import Edge
from tallystick_chassis.http.feed_route import feed_route
from tallystick_chassis.http.health import Readiness, health_routes
from tallystick_chassis.http.in_process import API
from tallystick_chassis.http.introspection import RemoteAuthenticator
from tallystick_chassis.http.openapi import openapi_document
from tallystick_chassis.http.problems import (
    CapabilityMissing,
    NotAuthenticated,
    NotFound,
    problem_of,
    problem_response,
)
from tallystick_chassis.http.refusals import RefusalRecorder
from tallystick_chassis.http.route_limits import RouteLimits
from tallystick_chassis.http.state_route import state_route
from tallystick_chassis.http.tokens import TokenVerifier
from tallystick_chassis.rate_limits import RateLimiter
from tallystick_chassis.scope import Scope
from tallystick_chassis.service import Principal, Runtime
from tallystick_chassis.telemetry import get_log

if TYPE_CHECKING:
    from litestar.types import AfterExceptionHookHandler, ControllerRouterHandler
    from litestar.types import Scope as AsgiScope

    from tallystick_chassis.http.session_memory import SessionMemory
    from tallystick_chassis.service import Service, Wiring
    from tallystick_chassis.settings import Settings

_SERVER_ERROR = 500
_SIGNATURE_TYPES = (Scope, Principal, Runtime)


def create_app(
    service: Service,
    runtime: Runtime,
    wiring: Wiring,
    readiness: Readiness | None = None,
    memory: SessionMemory | None = None,
) -> Litestar:
    """Return the service's ASGI application. Without a ``memory`` that somebody feeds, identity is asked every time.

    Raises:
        RouteDeclarationError: if a route does not name its capability, or the public routes are not the frozen ones.
    """
    settings: Settings = runtime.settings
    readiness = readiness or Readiness({})
    authentication = Authentication(_verifier(settings, runtime), wiring.authenticator or _remote(runtime, memory))
    own_urls = [settings.public_url, *(url for name in SERVICES if (url := settings.url_of(name)) is not None)]
    refusals = RefusalRecorder(runtime.database, runtime.sealer, runtime.clock)
    limits = RouteLimits(runtime.database, RateLimiter.of(settings), runtime.sealer)
    with warnings.catch_warnings():
        # Litestar 3 will want parameters marked by kind; until we go there, their names say it.
        warnings.simplefilter("ignore", LitestarDeprecationWarning)
        app = Litestar(
            route_handlers=_routes(service, wiring, readiness),
            guards=[make_guard(authentication, CsrfCheck(own_urls), runtime.clock, limits)],
            dependencies=_dependencies(),
            exception_handlers={Exception: wiring.refuse or problem_response},
            after_exception=[_recording(refusals)],
            request_class=StrictRequest,
            request_max_body_size=MAX_BODY_BYTES,
            openapi_config=None,  # its routes would be public ones; see `openapi.py`
            state=State({"runtime": runtime, "readiness": readiness}),
            signature_types=_SIGNATURE_TYPES,
            logging_config=None,
            debug=False,
            pdb_on_exception=False,
        )
    check_declarations(app, service.name)
    app.state[API] = app.asgi_handler
    app.asgi_handler = Edge(
        app.asgi_handler,
        app,
        authentication,
        settings.trusted_proxies or (),
        is_draining=lambda: readiness.draining,
    )
    return app


def describe_app(service: Service, wiring: Wiring) -> dict[str, Any]:
    """Return the OpenAPI document of what ``create_app`` serves, as JSON types."""
    return openapi_document(
        service.name,
        service.version,
        _routes(service, wiring, Readiness({})),
        dependencies=_dependencies(),
        signature_types=_SIGNATURE_TYPES,
    )


def _routes(service: Service, wiring: Wiring, readiness: Readiness) -> list[ControllerRouterHandler]:
    return [
        *wiring.routes,
        feed_route(service.name),
        state_route(service.name, wiring.state),
        *health_routes(readiness, service.version),
    ]


def _dependencies() -> dict[str, Provide]:
    return {
        "tenant_scope": Provide(_tenant_scope, sync_to_thread=False),
        "principal": Provide(_principal, sync_to_thread=False),
        "runtime": Provide(_runtime, sync_to_thread=False),
    }


def _verifier(settings: Settings, runtime: Runtime) -> TokenVerifier | None:
    if settings.session_jwks_file is None:
        return None
    return TokenVerifier.from_file(settings.session_jwks_file, clock=runtime.clock)


def _remote(runtime: Runtime, memory: SessionMemory | None) -> RemoteAuthenticator | None:
    # A service that may not ask about sessions knows nobody but services.
    if Capability.SESSION_INTROSPECT not in SERVICE_CAPABILITIES[ServiceName(runtime.service)]:
        return None
    return RemoteAuthenticator(runtime.service_client, memory)


def _tenant_scope(request: Request[Any, Any, Any], runtime: Runtime) -> Scope:
    # Litestar makes a task group for two dependencies that need nothing of each other, which costs more than both.
    del runtime
    return scope_of(request)


def _principal(request: Request[Any, Any, Any]) -> Principal:
    principal = context_of(request.scope).principal
    if principal is None:
        raise NotAuthenticated
    return principal


def _runtime(request: Request[Any, Any, Any]) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def _recording(refusals: RefusalRecorder) -> AfterExceptionHookHandler[Any]:
    async def record(error: Exception, scope: AsgiScope) -> None:
        context = context_of(scope)
        context.route = f"{scope.get('method', '')} {scope.get('path_template') or 'unmatched'}"
        problem = problem_of(error)
        if problem.status >= _SERVER_ERROR and (problem is not error or problem.status == _SERVER_ERROR):
            get_log().error("request_failed", route=context.route, exc_info=error)
        elif isinstance(error, CapabilityMissing):
            await refusals.denied(context)
        elif isinstance(error, NotFound):
            await refusals.miss(context, scope.get("path_params") or {})

    return record
