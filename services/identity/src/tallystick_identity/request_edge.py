"""What identity's routes read from a request besides its body: its origin, and the scope before anybody signed in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tallystick_chassis.http.correlation import context_of
from tallystick_chassis.scope import Scope

if TYPE_CHECKING:
    from litestar import Request
    from tallystick_chassis.ids import TenantId

SERVICE_NAME = "identity"
_MAX_USER_AGENT_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: personal data, so it is only ever sealed."""

    ip: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Visit:
    """A request before anybody is signed in: where it comes from, and what names it in every record."""

    origin: Origin
    correlation: str
    client_correlation: str | None = None
    traceparent: str | None = None

    def scope(self, tenant: TenantId) -> Scope:
        """Return the scope in which identity itself acts for a tenant while nobody is signed in."""
        duty = Scope.for_duty(tenant, SERVICE_NAME, correlation=self.correlation)
        return replace(duty, client_correlation=self.client_correlation, traceparent=self.traceparent)


def visit_of(request: Request[Any, Any, Any]) -> Visit:
    """Return what identity reads from a request before sign-in."""
    context = context_of(request.scope)
    return Visit(origin_of(request), context.correlation, context.client_correlation, context.traceparent)


def origin_of(request: Request[Any, Any, Any]) -> Origin:
    """Return the client's address, as the edge found it, and the user agent."""
    agent = request.headers.get("user-agent", "")[:_MAX_USER_AGENT_LENGTH]
    return Origin(ip=context_of(request.scope).client_address, user_agent=agent or "unknown")


def scope_before_sign_in(request: Request[Any, Any, Any], tenant: TenantId) -> Scope:
    """Return the scope in which identity itself acts for a tenant while nobody is signed in."""
    return visit_of(request).scope(tenant)
