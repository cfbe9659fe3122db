"""Requests that a page makes of its own service's API, in the same process and in its visitor's name.

They pass the guard, the budgets and the handler that a request from outside passes, so a page can neither do nor show
anything that the API would refuse. They belong to the page's request: its correlation id, its client's address, and
whoever the guard has found to be signed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec
from litestar import Response

from tallystick_chassis.http.commands import IDEMPOTENCY_HEADER
from tallystick_chassis.http.correlation import RequestContext, attach, context_of
from tallystick_chassis.http.csrf import CSRF_HEADER
from tallystick_chassis.http.problems import Problem, ProblemDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from litestar import Request
    from litestar.types import ASGIApp, HTTPScope, Message
    from litestar.types.asgi_types import HTTPRequestEvent

T = TypeVar("T")

API: Final = "api"
"""Where the application's state keeps the ASGI application behind its edge."""

_FIRST_ERROR: Final = 400
# What says who asks and from where. What describes the page's own body, and what asks for HTML, does not go on.
_HANDED_ON: Final = frozenset(
    {b"cookie", b"authorization", b"origin", b"user-agent", b"traceparent", b"x-tally-tenant"}
)
_SET_COOKIE: Final = b"set-cookie"


class ApiRefusal(Problem):
    """What the API refused, with its own status, code and words."""

    def __init__(self, document: ProblemDocument, headers: Mapping[str, str]) -> None:
        super().__init__(document.detail, errors=document.errors, headers=headers)
        self.status, self.code, self.title = document.status, document.code, document.title


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What the API answered, good news only. ``cookies`` are header lines for the browser."""

    status: int
    body: bytes
    cookies: tuple[tuple[bytes, bytes], ...]

    def read(self, kind: type[T]) -> T:
        """Return the answer as the type that the route says it returns."""
        return msgspec.json.decode(self.body, type=kind)


class PageResponse(Response[T]):
    """A page's answer that hands on the cookies which the API gave with its own."""

    def __init__(self, response: Response[T], answers: Iterable[ApiAnswer]) -> None:
        super().__init__(
            response.content,
            status_code=response.status_code,
            media_type=response.media_type,
            headers=response.headers,
            cookies=response.cookies,
        )
        self._handed_on = [line for answer in answers for line in answer.cookies]

    def to_asgi_response(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as Litestar declares it
        """Return the answer as it is sent."""
        sent = super().to_asgi_response(*args, **more)
        for name, value in self._handed_on:
            sent.headers.add(name.decode("latin-1"), value.decode("latin-1"))
        return sent


async def ask(
    request: Request[Any, Any, Any],
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    json: object = None,
    csrf: str = "",
    key: str = "",
) -> ApiAnswer:
    """Send one request to the API behind the page's own ``request``; ``path`` is not yet percent-encoded.

    Raises:
        ApiRefusal: for every answer of 400 and more.
    """
    body = b"" if json is None else msgspec.json.encode(json)
    sent: list[Message] = []

    async def receive() -> HTTPRequestEvent:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [pair for pair in request.scope["headers"] if pair[0].lower() in _HANDED_ON]
    headers.append((b"content-length", str(len(body)).encode()))
    if json is not None:
        headers.append((b"content-type", b"application/json"))
    for name, value in ((CSRF_HEADER, csrf), (IDEMPOTENCY_HEADER, key)):
        if value:
            headers.append((name.lower().encode(), value.encode()))
    scope = _scope(request, method, path, urlencode(query or {}), headers)
    application: ASGIApp = request.app.state[API]
    await application(scope, receive, send)
    return _answer(sent)


def _scope(
    request: Request[Any, Any, Any], method: str, path: str, query: str, headers: list[tuple[bytes, bytes]]
) -> HTTPScope:
    outer, context = request.scope, context_of(request.scope)
    scope: dict[str, object] = {
        "type": "http",
        "asgi": outer["asgi"],
        "http_version": outer["http_version"],
        "method": method,
        "scheme": outer["scheme"],
        "path": path,
        "raw_path": quote(path, safe="/").encode(),
        "root_path": outer.get("root_path", ""),
        "query_string": query.encode(),
        "headers": headers,
        "client": outer.get("client"),
        "server": outer.get("server"),
        "extensions": {},
        "state": {},
        "app": request.app,
        "litestar_app": request.app,
    }
    inner = cast("HTTPScope", scope)
    attach(
        inner,
        RequestContext(
            correlation=context.correlation,
            client_correlation=context.client_correlation,
            traceparent=context.traceparent,
            principal=context.principal,
            introspection=context.introspection,
            by_cookie=context.by_cookie,
            client_address=context.client_address,
        ),
    )
    return inner


def _answer(sent: list[Message]) -> ApiAnswer:
    start, *rest = cast("list[dict[str, Any]]", sent)
    body = b"".join(one.get("body", b"") for one in rest)
    if start["status"] >= _FIRST_ERROR:
        kept = {"retry-after": "Retry-After"}
        headers = {
            kept[name.decode().lower()]: value.decode()
            for name, value in start["headers"]
            if name.decode().lower() in kept
        }
        raise ApiRefusal(msgspec.json.decode(body, type=ProblemDocument), headers)
    cookies = tuple((name, value) for name, value in start["headers"] if name.lower() == _SET_COOKIE)
    return ApiAnswer(start["status"], body, cookies)
