"""Where a page may send the browser next: to pages of our own, from a short list, and nowhere else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from litestar.datastructures import Cookie

from tallystick_identity.tenants.domain import is_slug

if TYPE_CHECKING:
    from litestar import Request

ACCOUNT: Final = "/account"
SIGN_IN: Final = "/sign-in"
AFTER_SIGN_IN: Final = "/account/second-factor"
"""Every way of signing in leads here: the page asks for the second factor, or goes on."""

RENEWED: Final = "renewed"
"""In the query of a form that comes from having its session's token renewed: once is enough."""

NEXT_COOKIE = "__Host-tally_next"
TENANT_COOKIE = "__Host-tally_tenant"
_NEXT_MAX_AGE_S: Final = 10 * 60
_TENANT_MAX_AGE_S: Final = 90 * 24 * 60 * 60
_LOCAL: Final = re.compile(r"/(?:account|admin)(?:/[A-Za-z0-9_-]+)*")


def local_page(text: str) -> str:
    """Return the path if it is one of our pages, else the account's: what comes from a browser leads nowhere else."""
    return text if _LOCAL.fullmatch(text) else ACCOUNT


def page_of(request: Request[Any, Any, Any]) -> str:
    """Return the page to come back to: the one that was asked for, or the one whose form was sent."""
    if request.method == "GET":
        return local_page(request.url.path)
    return local_page(urlsplit(request.headers.get("referer", "")).path)


def sign_in_of(request: Request[Any, Any, Any]) -> str:
    """Return where this browser signs in: at the organisation that it was last signed in to, or that it chose."""
    slug = slug_of(request)
    return f"{SIGN_IN}/{slug}" if slug else SIGN_IN


def slug_of(request: Request[Any, Any, Any]) -> str:
    """Return the short name of that organisation, empty where this browser has none."""
    slug = request.cookies.get(TENANT_COOKIE, "")
    return slug if is_slug(slug) else ""


def next_cookie(path: str) -> Cookie:
    """Keep, for ten minutes, where to go after signing in; empty: forget it."""
    return _cookie(NEXT_COOKIE, path, _NEXT_MAX_AGE_S if path else 0)


def tenant_cookie(slug: str) -> Cookie:
    """Keep whose sign-in page is this browser's; set where somebody has signed in, or has named an organisation."""
    return _cookie(TENANT_COOKIE, slug, _TENANT_MAX_AGE_S)


def _cookie(name: str, value: str, max_age_s: int) -> Cookie:
    return Cookie(name, value=value, path="/", max_age=max_age_s, secure=True, httponly=True, samesite="lax")
