"""What every test of pages does: open a browser, fill in a form, read a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from conftest import Identity, Tenant

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CSRF = "__Host-tally_csrf"
HIDDEN = re.compile(r'name="(csrf_token|idempotency_key)" value="([^"]*)"')


def browser(identity: Identity, client: httpx.AsyncClient | None = None) -> httpx.AsyncClient:
    """Return a browser, with the cookies of somebody who has signed in; its pages send no forgery header."""
    opened = identity.client(Accept=ACCEPT)
    if client is not None:
        opened.cookies = client.cookies
    return opened


async def fill_in(client: httpx.AsyncClient, path: str, *, at: str = "", **fields: Any) -> httpx.Response:
    """Send a form as it stands on the page ``at`` (else at its own path), with these fields."""
    shown = await client.get(at or path)
    assert shown.status_code == 200, shown.text
    return await client.post(path, data=dict(HIDDEN.findall(shown.text)) | fields)


def text_of(page: httpx.Response) -> str:
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page.text, flags=re.DOTALL).split())


async def admins_browser(identity: Identity, tenant: Tenant) -> httpx.AsyncClient:
    return browser(identity, await identity.signed_in(tenant))
