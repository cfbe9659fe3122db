"""Answers that a client may keep: a strong ETag over the bytes, 304 for whoever has them, and how long they are good.

Everything here is for one person's session, so ``private``: no proxy may keep it.
"""

from __future__ import annotations

from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from litestar import Response
from tallystick_chassis.http.openapi import ALSO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request

IMMUTABLE: Final = f"private, max-age={365 * 24 * 3600}, immutable"
"""What can never change: an entry, a proof at a size, a file of an export."""

FRESH: Final = "private, no-cache"
"""What may be kept, and must be asked for again before each use: 304 if it is still so."""

JSON: Final = "application/json"

TAGGED: Final = {ALSO: {HTTPStatus.NOT_MODIFIED: ()}}
"""Option of a route whose answer carries a tag, for its description."""


def etag_of(content: bytes) -> str:
    """Return a strong entity tag: 128 bits of the content's SHA-256, in quotation marks."""
    return f'"{sha256(content).hexdigest()[:32]}"'


def answer(
    request: Request[Any, Any, Any],
    content: bytes,
    *,
    media_type: str = JSON,
    caching: str = FRESH,
    headers: Mapping[str, str] | None = None,
) -> Response[Any]:  # the bytes are what the route's own annotation says
    """Return ``content`` with its tag, or 304 without it if the client names that tag (RFC 9110 §13.1.2)."""
    etag = etag_of(content)
    kept = {**(headers or {}), "ETag": etag, "Cache-Control": caching}
    if names(request.headers.get("if-none-match"), etag):
        return Response(b"", status_code=HTTPStatus.NOT_MODIFIED, headers=kept, media_type=media_type)
    return Response(content, headers=kept, media_type=media_type)


def names(given: str | None, etag: str) -> bool:
    """Say whether an ``If-None-Match`` names the tag; the comparison is the weak one, as the RFC wants it."""
    if given is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
    return etag in tags or tags == ["*"]
