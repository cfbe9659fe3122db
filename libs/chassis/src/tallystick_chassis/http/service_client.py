"""Calls to our other services: over TLS with our own authority, with a service token, with the correlation passed on.

The token is fetched by client credentials and kept until shortly before it ends. Only what is safe to repeat is
repeated.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import httpx
import msgspec
from opentelemetry.trace import SpanKind

from tallystick_chassis.http.correlation import HEADER as CORRELATION_HEADER
from tallystick_chassis.http.correlation import current_correlation
from tallystick_chassis.metric_catalogue import HTTP_CLIENT_DURATION
from tallystick_chassis.metrics import record
from tallystick_chassis.spans import current_traceparent, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
TENANT_HEADER = "X-Tally-Tenant"
TIMEOUT: Final = httpx.Timeout(10.0, connect=2.0)
ATTEMPTS = 3
BACK_OFF_S = 0.05
REFRESH_BEFORE_S = 60.0
_REPEATABLE = frozenset({"GET", "HEAD"})
_REPEAT_STATUS = frozenset({502, 503, 504})
_UNAUTHORIZED = 401

T = TypeVar("T")


_IDENTITY = "identity"


class ServiceCallError(ConnectionError):
    """A call to another service failed. ``status`` is its answer, ``None`` if there was none in time."""

    def __init__(self, service: str, status: int | None, code: str = "") -> None:
        self.service = service
        self.status = status
        self.code = code
        super().__init__(f"{service} answered {status or 'nothing'}{f' ({code})' if code else ''}")


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int


class _ProblemCode(msgspec.Struct, frozen=True):
    code: str = ""


class ServiceClient:
    """One service's way to the others. ``urls`` are their bases by name; without ``secret`` calls carry no token."""

    def __init__(
        self,
        service: str,
        *,
        urls: Mapping[str, str],
        secret: str | None = None,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        self._service = service
        self._urls = {name: url.rstrip("/") for name, url in urls.items()}
        self._secret = secret
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._http = httpx.AsyncClient(
            verify=verify, timeout=timeout, transport=transport, follow_redirects=False, trust_env=False
        )
        self._token: tuple[str, float] | None = None
        self._token_lock = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def url(self, service: str, path: str) -> str:
        """Return the address of ``path`` at ``service``.

        Raises:
            ServiceCallError: if this process was not told where the service is.
        """
        base = self._urls.get(service)
        if base is None:
            raise ServiceCallError(service, None, "not_configured")
        return base + path

    async def get(self, url: str, *, params: Mapping[str, str | int] | None = None) -> httpx.Response:
        """Send a GET to an absolute address with our token; the answer may have any status.

        Raises:
            httpx.HTTPError: if there was no answer.
            ServiceCallError: if no token could be had.
        """
        return await self._send("GET", url, params=params, repeatable=True)

    async def call(
        self,
        method: str,
        service: str,
        path: str,
        *,
        answer: type[T],
        body: msgspec.Struct | None = None,
        params: Mapping[str, str | int] | None = None,
        tenant: UUID | None = None,
        idempotency_key: str | None = None,
        repeatable: bool = False,
    ) -> T:
        """Call another service and return its decoded answer.

        GET, calls with an ``idempotency_key`` and those said to be ``repeatable`` are tried three times.

        Raises:
            ServiceCallError: if there is no answer in time, one that is not 2xx, or one of another shape.
        """
        headers = {}
        if tenant is not None:
            headers[TENANT_HEADER] = str(tenant)
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        try:
            response = await self._send(
                method,
                self.url(service, path),
                params=params,
                headers=headers,
                content=content,
                repeatable=repeatable or idempotency_key is not None or method in _REPEATABLE,
            )
        except httpx.HTTPError as error:
            raise ServiceCallError(service, None, type(error).__name__) from error
        if not response.is_success:
            raise ServiceCallError(service, response.status_code, _code_of(response))
        try:
            return msgspec.json.decode(response.content or b"null", type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServiceCallError(service, response.status_code, "unexpected_answer") from error

    async def _send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        repeatable: bool,
    ) -> httpx.Response:
        attempts = ATTEMPTS if repeatable else 1
        renewed = False
        attempt = 0
        while True:
            attempt += 1
            authorization = await self._authorization()
            try:
                with self._called(method, url) as about:
                    sent = {**_passed_on(), **(headers or {}), **authorization}
                    response = await self._http.request(method, url, params=params, headers=sent, content=content)
                    about["http.response.status_code"] = response.status_code
            except httpx.TransportError:
                if attempt >= attempts:
                    raise
            else:
                if response.status_code == _UNAUTHORIZED and not renewed and self._secret is not None:
                    # Refused before anything was done: identity's key may have been rotated.
                    renewed, self._token, attempt = True, None, attempt - 1
                    continue
                if response.status_code not in _REPEAT_STATUS or attempt >= attempts:
                    return response
            await asyncio.sleep(BACK_OFF_S * 2**attempt * (0.5 + random.random()))  # noqa: S311 - jitter

    @contextmanager
    def _called(self, method: str, url: str) -> Iterator[dict[str, str | int]]:
        """Open the span of one try, and measure it; the block adds the answer's status."""
        peer = next((name for name, base in self._urls.items() if url.startswith(f"{base}/")), "other")
        host = httpx.URL(url).host
        about: dict[str, str | int] = {"http.request.method": method, "server.address": host, "tallystick.peer": peer}
        started = time.perf_counter()
        with span(f"{method} {peer}", kind=SpanKind.CLIENT, attributes=about) as opened:
            try:
                yield about
            except Exception as error:
                about["error.type"] = type(error).__name__
                raise
            finally:
                opened.set_attributes(about)
                record(HTTP_CLIENT_DURATION, time.perf_counter() - started, about)

    async def _authorization(self) -> dict[str, str]:
        if self._secret is None:
            return {}
        if self._token is None or self._token[1] <= time.monotonic():
            async with self._token_lock:
                if self._token is None or self._token[1] <= time.monotonic():
                    self._token = await self._fetch_token(self._secret)
        return {"Authorization": f"Bearer {self._token[0]}"}

    async def _fetch_token(self, secret: str) -> tuple[str, float]:
        basic = base64.b64encode(f"{self._service}:{secret}".encode()).decode()
        asked_at = time.monotonic()
        try:
            response = await self._http.post(
                self.url(_IDENTITY, TOKEN_PATH),
                data={"grant_type": "client_credentials"},
                headers={**_passed_on(), "Authorization": f"Basic {basic}"},
            )
            if not response.is_success:
                raise ServiceCallError(_IDENTITY, response.status_code, _code_of(response))
            token = msgspec.json.decode(response.content, type=_Token)
        except httpx.HTTPError as error:
            raise ServiceCallError(_IDENTITY, None, type(error).__name__) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServiceCallError(_IDENTITY, None, "unexpected_answer") from error
        return token.access_token, asked_at + max(token.expires_in - REFRESH_BEFORE_S, 1.0)


def _passed_on() -> dict[str, str]:
    passed: dict[str, str] = {}
    if (correlation := current_correlation.get()) is not None:
        passed[CORRELATION_HEADER] = correlation
    if (traceparent := current_traceparent()) is not None:
        passed["traceparent"] = traceparent
    return passed


def _code_of(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_ProblemCode).code
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
