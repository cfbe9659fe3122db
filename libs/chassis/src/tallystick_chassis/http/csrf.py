"""Cross-site request forgery: an unsafe request by cookie proves that our own page sent it.

Double submit, bound to the session: the page repeats the ``__Host-tally_csrf`` cookie in ``X-CSRF-Token`` or, where the
route takes a form, in its field ``csrf_token``; the server also knows its hash from the session. Bearer requests are
exempt: a browser never attaches those by itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from litestar import Request

from tallystick_chassis.http.forms import only_value, takes_form
from tallystick_chassis.http.problems import CsrfFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.connection import ASGIConnection

    from tallystick_chassis.http.introspection import Introspection

CSRF_COOKIE = "__Host-tally_csrf"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def csrf_token(key: bytes, session: str) -> str:
    """Return the session's CSRF token: HMAC-SHA256 of the session id in URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(hmac.digest(key, session.encode(), "sha256")).rstrip(b"=").decode()


def csrf_sha256(token: str) -> str:
    """Return the SHA-256 of a CSRF token in hex, as introspection tells it."""
    return hashlib.sha256(token.encode()).hexdigest()


def origin_of(url: str) -> str:
    """Return the origin of a URL as browsers write it: scheme, host, and port unless it is the scheme's own."""
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    port = "" if parts.port is None or parts.port == default else f":{parts.port}"
    return f"{parts.scheme}://{(parts.hostname or '').lower()}{port}"


class CsrfCheck:
    """Holds the origins that our pages come from."""

    def __init__(self, own_urls: Iterable[str]) -> None:
        self._origins = frozenset(origin_of(url) for url in own_urls)

    def check_origin(self, connection: ASGIConnection) -> None:  # type: ignore[type-arg] # any connection
        """Refuse an unsafe request that a browser says comes from elsewhere (also ``null``).

        Raises:
            CsrfFailed: if ``Origin`` was sent and is not ours.
        """
        origin = connection.headers.get("origin")
        if connection.scope.get("method") not in SAFE_METHODS and origin is not None and origin not in self._origins:
            raise CsrfFailed

    async def check_session(self, connection: ASGIConnection, known: Introspection) -> None:  # type: ignore[type-arg] # any connection
        """Refuse an unsafe request that does not repeat its session's CSRF token.

        Raises:
            CsrfFailed: unless header (or form field), cookie and session agree.
        """
        if connection.scope.get("method") in SAFE_METHODS:
            return
        self.check_origin(connection)
        repeated = await _repeated(connection)
        cookie = connection.cookies.get(CSRF_COOKIE, "")
        matches = hmac.compare_digest(repeated.encode(), cookie.encode())
        belongs = hmac.compare_digest(csrf_sha256(repeated), known.csrf_sha256)
        if not (repeated and matches and belongs):
            raise CsrfFailed


async def _repeated(connection: ASGIConnection) -> str:  # type: ignore[type-arg] # any connection
    header = connection.headers.get(CSRF_HEADER)
    if header is not None:
        return header
    if isinstance(connection, Request) and takes_form(connection):
        return only_value(await connection.body(), CSRF_FIELD)
    return ""
