"""Client credentials: how one of our services proves to identity which it is (RFC 6749 §4.4)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOBODY = "0" * 64


def authenticated_client(authorization: str, hashes: Mapping[str, str]) -> str | None:
    """Return the client that an ``Authorization: Basic`` header proves, or ``None``.

    ``hashes`` are the SHA-256 of the clients' secrets in hex. An unknown client costs the same comparison as a wrong
    secret.
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    digest = hashlib.sha256(unquote_plus(secret).encode()).hexdigest()
    matches = hmac.compare_digest(digest, hashes.get(unquote_plus(client), _NOBODY))
    return client if colon and matches and client in hashes else None
