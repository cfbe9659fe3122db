"""The routes that need no session: two frozen lists, each route with its reason.

A service that serves a public route that is not here, or lacks one that is, does not start.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HEALTH = "GET /api/v1/health"
READY = "GET /ready"

API_PUBLIC: Mapping[str, str] = MappingProxyType(
    {
        "POST /api/v1/auth/login": "asks for a sign-in link; nobody is signed in yet",
        "POST /api/v1/auth/verify": "turns a sign-in link into a session; the link authenticates",
        HEALTH: "liveness and version, no detail",
    }
)
"""Everything under ``/api/v1`` that needs no session (requirement EV-12a). Nothing is ever added."""

TRUST_PUBLIC: Mapping[str, str] = MappingProxyType(
    {
        READY: "readiness for the orchestrator, without detail",
        "POST /oauth/token": "the client authenticates in the request",
        "POST /session/refresh": "the refresh cookie authenticates",
        "GET /": "leads whoever types the host's name to the account, or to where one signs in",
        "GET /sign-in": "the page that asks for the organisation's short name; it looks nothing up",
        "POST /sign-in": "that page's form, which leads to the sign-in page of any name, known or not",
        "GET /sign-in/{tenant}": "the page on which a person chooses how to sign in",
        "POST /sign-in/{tenant}": "that page's form, which asks /api/v1/auth/login or /api/v1/auth/verify",
        "GET /sign-in/{tenant}/verify": "the page that takes a code, or a link's secret from the fragment",
        "POST /sign-in/{tenant}/verify": "that page's form, which asks /api/v1/auth/verify; the proof authenticates",
        "POST /sign-in/{tenant}/passkey/options": "what a passkey must sign; nobody is signed in yet",
        "POST /sign-in/{tenant}/passkey": "turns a passkey's signature into a session; the signature authenticates",
        "GET /sign-in/{tenant}/sso": "sends the browser to the tenant's provider; nobody is signed in yet",
        "GET /sign-in/{tenant}/sso/callback": "turns the provider's answer into a session; the answer authenticates",
        "POST /sign-in/{tenant}/sso/logout": "the provider's logout; the token in it authenticates",
        "GET /.well-known/jwks.json": "public keys",
        "GET /certs/verify/{token}": "public verification of a certificate; the token is the holder's to give",
        "GET /certs/verify/{token}/proof": "the public entry's proof",
        "GET /certs/verify/{token}/entry": "the public entry itself",
        "GET /open/logs/{log_id}/checkpoint": "a log's signed head, where its tenant has opened the log to anybody",
        "GET /open/logs/{log_id}/vkey": "the key that signs it, likewise",
        "GET /open/logs/{log_id}/tile/{name}": "the log's hashes, likewise; never its entries",
    }
)
"""The public trust surface outside ``/api/v1`` (requirement EV-12b)."""

_EVERY_SERVICE = frozenset({HEALTH, READY})
_IDENTITY = frozenset(
    {
        "POST /api/v1/auth/login",
        "POST /api/v1/auth/verify",
        "POST /oauth/token",
        "POST /session/refresh",
        "GET /",
        "GET /sign-in",
        "POST /sign-in",
        "GET /sign-in/{tenant}",
        "POST /sign-in/{tenant}",
        "GET /sign-in/{tenant}/verify",
        "POST /sign-in/{tenant}/verify",
        "POST /sign-in/{tenant}/passkey/options",
        "POST /sign-in/{tenant}/passkey",
        "GET /sign-in/{tenant}/sso",
        "GET /sign-in/{tenant}/sso/callback",
        "POST /sign-in/{tenant}/sso/logout",
        "GET /.well-known/jwks.json",
    }
)
_VERIFICATION = frozenset(
    {"GET /certs/verify/{token}", "GET /certs/verify/{token}/proof", "GET /certs/verify/{token}/entry"}
)
_LEDGER = frozenset(f"GET /open/logs/{{log_id}}/{name}" for name in ("checkpoint", "vkey", "tile/{name}"))
_OWN: Mapping[str, frozenset[str]] = MappingProxyType(
    {"identity": _IDENTITY, "ledger": _LEDGER, "verification": _VERIFICATION}
)


def public_routes_of(service: str) -> frozenset[str]:
    """Return the public routes that ``service`` must serve, as ``METHOD /path/{parameter}``."""
    return _EVERY_SERVICE | _OWN.get(service, frozenset())
