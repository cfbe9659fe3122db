"""Correlation: one id for all that a request causes, minted at the edge.

A stranger's own ``X-Correlation-ID`` is kept beside it as the client correlation id, so that nobody can graft himself
onto another's timeline; one of our own services is believed, once its token has been checked.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import Scope as AsgiScope

    from tallystick_chassis.http.introspection import Introspection
    from tallystick_chassis.service import Principal

HEADER = "X-Correlation-ID"
_STATE_KEY = "tallystick"
_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")

current_correlation: ContextVar[str | None] = ContextVar("tallystick_correlation", default=None)
"""The correlation id of the request, event or job that is being worked on: logs and outgoing calls read it."""


@dataclass(slots=True)
class RequestContext:
    """What the edge knows of one request. The guard fills in who makes it."""

    correlation: str
    client_correlation: str | None = None
    traceparent: str | None = None
    principal: Principal | None = None
    introspection: Introspection | None = None
    by_cookie: bool = False
    missing_capability: str | None = None
    route: str = "unmatched"
    client_address: str = "unknown"

    def adopt_correlation(self) -> None:
        """Take over the caller's correlation id: it is one of our own services."""
        if self.client_correlation is not None:
            self.correlation, self.client_correlation = self.client_correlation, None
            current_correlation.set(self.correlation)


def new_correlation() -> str:
    """Return a fresh correlation id: 32 hexadecimal digits."""
    return uuid4().hex


def is_correlation(text: str) -> bool:
    """Say whether ``text`` has the form of a correlation id."""
    return _FORM.fullmatch(text) is not None


def attach(scope: AsgiScope, context: RequestContext) -> None:
    """Keep ``context`` with the request."""
    cast("dict[str, object]", scope["state"])[_STATE_KEY] = context


def context_of(scope: AsgiScope) -> RequestContext:
    """Return the request's context; a fresh one if the edge was not passed (a test that calls a handler by itself)."""
    state = cast("Mapping[str, object]", scope.get("state") or {})
    found = state.get(_STATE_KEY)
    return found if isinstance(found, RequestContext) else RequestContext(correlation=new_correlation())
