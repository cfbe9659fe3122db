"""A person at a browser, one request at a time: cookies, CSRF, renewal of the session, and answers made comparable."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from sweep.routes import Route

CSRF_COOKIE = "__Host-tally_csrf"
NOTHING: Any = object()
"""No body at all, which is not the same as ``null``."""
_REFRESH_AFTER_S = 60.0
_UNCOMPARED = frozenset({"date", "x-correlation-id"})


@dataclass(frozen=True, slots=True)
class Call:
    """What is put into one route's request."""

    path: Mapping[str, object] = field(default_factory=dict)
    query: Mapping[str, object] = field(default_factory=dict)
    json: Any = NOTHING
    form: Mapping[str, object] | None = None
    """The fields of a page's form; the two that every form has are added as it is sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response without what differs from request to request: date and correlation id."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class UndescribedAnswer(AssertionError):
    """The service's OpenAPI document does not name the answer's status."""


class Visitor:
    """Somebody who sends requests; signed in if he has cookies."""

    def __init__(
        self,
        urls: Mapping[str, str],
        tls: ssl.SSLContext,
        cookies: httpx.Cookies | None = None,
        *,
        name: str = "nobody",
        user_agent: str = "sweep",
    ) -> None:
        self.name = name
        self.sign_in_again: Callable[[], httpx.Cookies] | None = None
        self._urls = urls
        self.http = httpx.Client(verify=tls, timeout=30.0, cookies=cookies, headers={"User-Agent": user_agent})
        self._refreshed_at = time.monotonic()

    def close(self) -> None:
        self.http.close()

    def send(self, route: Route, call: Call, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Send one request, with CSRF token and Idempotency-Key where it is unsafe; renew the session if it ended."""
        answer = self.request(route, call, headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED and b"step_up_required" in answer.content:
            self.renew()
            return self.request(route, call, headers=headers)
        signed_in = self.http.cookies.get(CSRF_COOKIE)
        if answer.status_code == httpx.codes.UNAUTHORIZED and signed_in and self.refresh():
            answer = self.request(route, call, headers=headers)
        return answer

    def refresh(self) -> bool:
        """Have the session's token renewed, as a browser's page does; say whether that was granted."""
        self._refreshed_at = time.monotonic()
        return self.http.post(f"{self._urls['identity']}/session/refresh").is_success

    def stay_signed_in(self) -> None:
        """Renew the token in good time before it ends."""
        if self.http.cookies.get(CSRF_COOKIE) and time.monotonic() - self._refreshed_at > _REFRESH_AFTER_S:
            self.refresh()

    def renew(self) -> None:
        """Sign in again, for what wants a recent sign-in."""
        if self.sign_in_again is not None:
            self.http.cookies = self.sign_in_again()

    def request(self, route: Route, call: Call, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Send it once, whatever comes; an answer that the service's OpenAPI document does not name is a failure."""
        answer = self.raw(
            route.folder,
            route.method,
            route.path.format(**call.path),
            query=call.query,
            headers=headers,
            **self._body(call),
        )
        if answer.status_code not in route.answers:
            message = f"{route.name} does not say that it answers {answer.status_code}"
            raise UndescribedAnswer(message)
        return answer

    def _body(self, call: Call) -> dict[str, Any]:
        if call.form is not None:
            token = self.http.cookies.get(CSRF_COOKIE) or ""
            return {"data": {"csrf_token": token, "idempotency_key": f"sweep-{uuid4().hex}"} | dict(call.form)}
        return {} if call.json is NOTHING else {"json": call.json}

    def raw(
        self,
        folder: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> httpx.Response:
        """Send anything to a service."""
        sent: dict[str, str] = {}
        if method not in {"GET", "HEAD"}:
            sent["Idempotency-Key"] = f"sweep-{uuid4().hex}"
            if token := self.http.cookies.get(CSRF_COOKIE):
                sent["X-CSRF-Token"] = token
        params = {name: str(value) for name, value in (query or {}).items()} or None
        return self.http.request(
            method, self._urls[folder] + path, params=params, headers=sent | dict(headers or {}), **body
        )


def comparable(response: httpx.Response) -> Answer:
    """Return the answer with its date and correlation id taken out."""
    correlation = response.headers.get("x-correlation-id", "").encode()
    body = response.content.replace(correlation, b"-") if correlation else response.content
    kept = tuple(sorted((name, value) for name, value in response.headers.items() if name not in _UNCOMPARED))
    return Answer(response.status_code, kept, body)
