"""Headers that every answer carries, and pages made from templates."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from litestar import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request

HTML = "text/html"  # Litestar adds the charset to every text type
PAGE: Final = "page"
"""Route option: the answer is a page, and so is a refusal for whoever prefers HTML."""

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Set on every answer that does not set them itself (ASVS 3.4, 14.3.2)."""


class Pages:
    """Templates of one package, below its folder ``templates``; values are escaped, an unknown name is an error.

    A template gets ``nonce``: its ``<script nonce="{{ nonce }}">`` and ``<style nonce="{{ nonce }}">`` run, nothing
    else does.
    """

    def __init__(self, package: str, *, has_forms: bool = False) -> None:
        # Browsers say where a form comes from only if the page may tell its own site so.
        self._referrer = {"Referrer-Policy": "same-origin"} if has_forms else {}
        self._environment = Environment(
            loader=PackageLoader(package),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, template: str, *, status: int = 200, **values: object) -> Response[str]:
        """Return the page as an answer with its own strict content security policy."""
        nonce = secrets.token_urlsafe(16)
        content = self._environment.get_template(template).render(nonce=nonce, **values)
        return Response(
            content=content,
            status_code=status,
            media_type=HTML,
            headers={"Content-Security-Policy": page_policy(nonce), **self._referrer},
        )


def prefers_html(request: Request[Any, Any, Any]) -> bool:
    """Say whether the client asks for a page, as browsers do; whoever takes anything gets JSON."""
    return request.accept.best_match(["application/json", HTML], default="application/json") == HTML


def page_policy(nonce: str) -> str:
    """Return the content security policy of a page whose own scripts and styles carry ``nonce``."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
