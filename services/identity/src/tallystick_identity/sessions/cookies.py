"""The cookies of a session. Scripts can read one of them, the CSRF token, and none is sent in clear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.datastructures import Cookie
from tallystick_chassis.http.authentication import SESSION_COOKIE
from tallystick_chassis.http.csrf import CSRF_COOKIE, csrf_token

from tallystick_identity.sessions.domain import TOKEN_LIFETIME

if TYPE_CHECKING:
    from tallystick_identity.sessions.commands import Credentials

REFRESH_COOKIE = "__Secure-tally_refresh"
REFRESH_PATH = "/session/refresh"
_SESSION_MAX_AGE_S = int(TOKEN_LIFETIME.total_seconds())


def session_cookies(credentials: Credentials, *, csrf_key: bytes) -> list[Cookie]:
    """Return the three cookies that make a session."""
    token = csrf_token(csrf_key, credentials.session_ref)
    return [
        _session_cookie(credentials.session_token, _SESSION_MAX_AGE_S),
        _refresh_cookie(credentials.refresh_token, credentials.lifetime_s),
        _csrf_cookie(token, credentials.lifetime_s),
    ]


def expired_cookies() -> list[Cookie]:
    """Return the same cookies empty and expired."""
    return [_session_cookie("", 0), _refresh_cookie("", 0), _csrf_cookie("", 0)]


def _session_cookie(value: str, max_age_s: int) -> Cookie:
    return Cookie(SESSION_COOKIE, value=value, path="/", max_age=max_age_s, secure=True, httponly=True, samesite="lax")


def _refresh_cookie(value: str, max_age_s: int) -> Cookie:
    return Cookie(
        REFRESH_COOKIE, value=value, path=REFRESH_PATH, max_age=max_age_s, secure=True, httponly=True, samesite="strict"
    )


def _csrf_cookie(value: str, max_age_s: int) -> Cookie:
    return Cookie(CSRF_COOKIE, value=value, path="/", max_age=max_age_s, secure=True, httponly=False, samesite="lax")
