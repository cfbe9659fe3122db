"""The edge of a service: what happens to every request before routing, and to every answer after all else.

It mints the correlation id, opens the span, sets the security headers, logs one line, and turns whatever was not
foreseen into a problem document. Under ``/api/v1`` even an unknown path asks for a session first. While the process
drains, each answer ends its connection, so that the next request on it goes elsewhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from litestar.connection import ASGIConnection
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.utils import normalize_path
from opentelemetry.trace import SpanKind, StatusCode

from tallystick_chassis.http.client_address import FORWARDED_HEADER, Networks, client_address
from tallystick_chassis.http.correlation import HEADER as CORRELATION_HEADER
from tallystick_chassis.http.correlation import (
    RequestContext,
    attach,
    current_correlation,
    is_correlation,
    new_correlation,
)
from tallystick_chassis.http.pages import SECURITY_HEADERS
from tallystick_chassis.http.problems import (
    PROBLEM_MEDIA_TYPE,
    BadRequest,
    NotAuthenticated,
    Problem,
    document_of,
    problem_of,
)
from tallystick_chassis.metric_catalogue import HTTP_SERVER_DURATION
from tallystick_chassis.metrics import active_request, record
from tallystick_chassis.spans import CORRELATION_ATTRIBUTE, current_traceparent, is_traceparent, span
from tallystick_chassis.telemetry import get_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Litestar
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

    from tallystick_chassis.http.authentication import Authentication

API = "/api/v1"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_SERVER_ERROR = 500


class BadCorrelationId(BadRequest):
    """The caller's correlation id has a form that no log should carry."""

    code, title = "bad_correlation_id", f"{CORRELATION_HEADER} takes 1 to 64 of A-Z a-z 0-9 . _ -"


class Edge:
    """ASGI middleware around all of Litestar's routing."""

    def __init__(
        self,
        app: ASGIApp,
        litestar: Litestar,
        authentication: Authentication,
        trusted_proxies: Networks | tuple[()] = (),
        *,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_draining = is_draining
        self._trusted_proxies = trusted_proxies
        self._app = app
        self._litestar = litestar
        self._authentication = authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == ScopeType.WEBSOCKET:
            await self._app(scope, receive, send)
            return
        context = RequestContext(correlation=new_correlation())
        attach(scope, context)
        reset = current_correlation.set(context.correlation)
        try:
            await self._request(scope, receive, send, context)
        finally:
            current_correlation.reset(reset)

    async def _request(self, scope: HTTPScope, receive: Receive, send: Send, context: RequestContext) -> None:
        started = time.perf_counter()
        status = 0

        async def finish(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = _completed(message["headers"], context.correlation)
                if self._is_draining():
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            await send(message)

        refusal = await self._before_routing(scope, context)
        parent = Headers.from_scope(scope).get("traceparent", "")
        believed = context.principal is not None and context.principal.is_service and is_traceparent(parent)
        # Callers can invent methods; a span or a metric shall not bear what they invent.
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        about: dict[str, str | int] = {"http.request.method": method, "url.scheme": "https"}
        with (
            active_request(method),
            span("request", kind=SpanKind.SERVER, parent=parent if believed else None, attributes=about) as opened,
        ):
            context.traceparent = current_traceparent()
            try:
                if refusal is None:
                    await self._app(scope, receive, finish)
                else:
                    await _refuse(refusal, context, finish)
            except Exception as error:
                get_log().exception("request_failed", route=context.route)
                if status:
                    raise  # half an answer is out: breaking the connection is the only honest end
                await _refuse(problem_of(error), context, finish)
            template = str(scope.get("path_template") or "unmatched")
            context.route = f"{scope['method']} {template}"
            about |= {"http.route": template, "http.response.status_code": status}
            if status >= _SERVER_ERROR or not status:
                about["error.type"] = str(status or "aborted")
                opened.set_status(StatusCode.ERROR)
            opened.update_name(f"{method} {template}")
            opened.set_attributes({**about, CORRELATION_ATTRIBUTE: context.correlation})
            if context.client_correlation is not None:
                opened.set_attribute("tallystick.client_correlation_id", context.client_correlation)
            duration_s = time.perf_counter() - started
            record(HTTP_SERVER_DURATION, duration_s, about)  # inside the span, which becomes its exemplar
            duration_ms = round(duration_s * 1000, 1)
            get_log().info(
                "request",
                route=context.route,
                status=status,
                duration_ms=duration_ms,
                client_correlation_id=context.client_correlation,
            )

    async def _before_routing(self, scope: HTTPScope, context: RequestContext) -> Problem | None:
        connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
        context.client_address = client_address(
            connection.client.host if connection.client else None,
            connection.headers.getall(FORWARDED_HEADER, []),
            self._trusted_proxies,
        )
        own = connection.headers.get(CORRELATION_HEADER)
        if own is not None and not is_correlation(own):
            return BadCorrelationId()
        context.client_correlation = own
        if b"%00" in scope["query_string"] or "\x00" in scope["path"]:
            return BadRequest("NUL characters are not accepted")
        try:
            if "authorization" in connection.headers:
                # Known now, a service's trace and correlation can be followed. If it fails, the guard says so.
                try:
                    await self._authentication.authenticate(connection, context)
                except NotAuthenticated:
                    context.principal = None
            if self._is_unknown_api_path(scope):
                await self._authentication.authenticate(connection, context)
        except Problem as problem:
            return problem
        except Exception as error:  # noqa: BLE001 -- whatever it is, the caller gets a problem document
            get_log().exception("request_failed", route=context.route)
            return problem_of(error)
        return None

    def _is_unknown_api_path(self, scope: HTTPScope) -> bool:
        path = normalize_path(scope["path"])
        if path != API and not path.startswith(f"{API}/"):
            return False
        try:
            self._litestar.asgi_router.handle_routing(path=path, method=scope["method"])
        except (NotFoundException, MethodNotAllowedException):
            return True
        return False


def _completed(headers: Any, correlation: str) -> list[tuple[bytes, bytes]]:  # noqa: ANN401 - pairs, as ASGI has them
    completed = [(name, value) for name, value in headers if name.lower() != b"server"]
    present = {name.lower() for name, _ in completed}
    completed += [
        (name.lower().encode(), value.encode())
        for name, value in SECURITY_HEADERS.items()
        if name.lower().encode() not in present
    ]
    completed.append((CORRELATION_HEADER.lower().encode(), correlation.encode()))
    return completed


async def _refuse(problem: Problem, context: RequestContext, send: Send) -> None:
    body = document_of(problem, context.correlation)
    headers = [
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
