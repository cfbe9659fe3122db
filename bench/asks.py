"""What the people of a small tenant ask for while they work: reads and commands of every service, over HTTPS."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import httpx
from tallystick_cli.cluster.person import Person, Traffic, World
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import control
from tallystick_cli.stack.layout import Layout
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox

_SLUG: Final = "bench"
_STAFF: Final = ("author", "auditor", "privacy_officer")
_CSRF: Final = "__Host-tally_csrf"
_EVALUATIONS: Final = "/api/v1/assessment/evaluations"
_TIMEOUT_S: Final = 30.0
_OPEN_CONNECTIONS: Final = 20


@dataclass(frozen=True)
class Ask:
    """One kind of request, and the status of its answer; a command has a body, made anew each time."""

    client: httpx.AsyncClient
    route: str
    url: str
    status: int = 200
    body: Callable[[], Any] | None = None

    async def send(self, key: str) -> httpx.Response:
        """Send it once.

        Raises:
            httpx.HTTPError: if there is no whole answer.
        """
        if self.body is None:
            return await self.client.get(self.url)
        headers = {"Idempotency-Key": key, "X-CSRF-Token": self.client.cookies.get(_CSRF) or ""}
        return await self.client.post(self.url, headers=headers, json=self.body())


@contextlib.asynccontextmanager
async def asks(layout: Layout) -> AsyncIterator[list[Ask]]:
    """Make a tenant, sign its people in, and give what they ask for, in turn: four reads, then a command."""
    made = await asyncio.to_thread(
        create_tenant, layout.root, command="init", slug=_SLUG, name="Bench", admin=f"administrator@{_SLUG}.example"
    )
    if made != 0:
        message = f"making the tenant ended with {made}"
        raise RuntimeError(message)
    urls = control.endpoints(layout)
    tls = ssl.create_default_context(cafile=str(layout.ca_file))
    async with contextlib.AsyncExitStack() as stack:
        signed_in = await _sign_in(layout, tls)
        clients = {
            name: await stack.enter_async_context(_client(tls, urls["identity"], cookies))
            for name, cookies in signed_in.items()
        }
        exam = await _published(clients["author"], urls["assessment"])
        reads = [
            ("administrator", "identity", "/api/v1/identity/me", 200),
            ("author", "assessment", f"{_EVALUATIONS}/{exam}", 200),
            ("auditor", "ledger", "/api/v1/ledger/entries?limit=10", 200),
            ("author", "verification", "/certs/verify/AAAAAAAAAAAAAAAAAAAAAAAAAAA", 200),
            ("administrator", "identity", "/api/v1/identity/org-units", 200),
            ("privacy_officer", "privacy-worker", "/api/v1/compliance/erasures", 200),
            ("auditor", "ledger", "/api/v1/ledger/logs", 200),
            ("author", "assessment", f"{_EVALUATIONS}/{exam}/versions/1", 200),
        ]
        commands = [
            ("administrator", "identity", "/api/v1/identity/roles", 201, _role),
            ("author", "assessment", _EVALUATIONS, 201, _exam),
        ]
        asked = [Ask(clients[who], f"GET {name}", urls[name] + path, status) for who, name, path, status in reads]
        told = [
            Ask(clients[who], f"POST {name}", urls[name] + path, status, body)
            for who, name, path, status, body in commands
        ]
        yield [*asked[:4], told[0], *asked[4:], told[1]]


async def _sign_in(layout: Layout, tls: ssl.SSLContext) -> dict[str, httpx.Cookies]:
    """Have the administrator import the staff and everybody sign in by a link and a second factor."""
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "journal") as journal:
        world = World(control.endpoints(layout), tls, Mailbox(layout.mail), journal, Traffic())
        people = {
            name: Person(world, tenant=_SLUG, email=f"{name}@{_SLUG}.example") for name in ("administrator", *_STAFF)
        }
        await people["administrator"].sign_in()
        rows = [{"org_unit": "", "email": people[name].email, "display_name": name, "role": name} for name in _STAFF]
        await people["administrator"].do("POST", "identity", "/api/v1/identity/imports", {"rows": rows})
        await asyncio.gather(*(people[name].sign_in() for name in _STAFF))
        cookies = {name: person._http.cookies for name, person in people.items()}  # noqa: SLF001 - a person repeats what fails, and here that counts
        await asyncio.gather(*(person.leave() for person in people.values()))
    return cookies


@contextlib.asynccontextmanager
async def _client(tls: ssl.SSLContext, identity: str, cookies: httpx.Cookies) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_OPEN_CONNECTIONS)
    async with httpx.AsyncClient(
        verify=tls, cookies=cookies, timeout=_TIMEOUT_S, limits=limits, trust_env=False
    ) as client:
        renewed = await client.post(f"{identity}/session/refresh")  # so that the session outlives the measure
        renewed.raise_for_status()
        yield client


async def _published(author: httpx.AsyncClient, assessment: str) -> str:
    answer = await Ask(author, "POST assessment", assessment + _EVALUATIONS, body=_exam).send(f"bench-{token_hex(8)}")
    answer.raise_for_status()
    return str(answer.json()["evaluation_id"])


def _role() -> object:
    return {"name": f"role_{token_hex(6)}", "capabilities": ["people.read"]}


def _exam() -> object:
    item = {"id": "q1", "type": "true_false", "points": 1, "stem": "Up is up.", "key": [True]}
    return {
        "slug": f"exam-{token_hex(6)}",
        "title": "Which way is up",
        "language": "en",
        "pass_mark_percent": 50,
        "time_limit_minutes": 60,
        "items": [item],
    }
