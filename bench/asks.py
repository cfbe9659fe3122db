"""What the people of a small tenant ask for while they work: reads and commands of every service, over HTTPS."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import httpx
import msgspec
from tallystick_cli.cluster.person import Person, Traffic, World
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import control
from tallystick_cli.stack.layout import Layout
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox

from bench.connections import TIMEOUT_S, Answer, Connections

_SLUG: Final = "bench"
_STAFF: Final = ("author", "auditor", "privacy_officer")
_CSRF: Final = "__Host-tally_csrf"
_EVALUATIONS: Final = "/api/v1/assessment/evaluations"
_RENEW_S: Final = 120.0


@dataclass(frozen=True)
class Ask:
    """One kind of request, and the status of its answer; a command has a body, made anew each time."""

    visitor: "Visitor"
    connections: Connections
    route: str
    path: str
    status: int = 200
    body: Callable[[], Any] | None = None

    async def send(self, key: str) -> Answer:
        """Send it once.

        Raises:
            OSError: if no connection could be made, or the answer did not come in time.
            NoAnswerError: if there is no whole answer.
        """
        return await self.connections.send(self.request(key))

    def request(self, key: str) -> bytes:
        """Return the bytes to send; ``key`` is a command's Idempotency-Key."""
        about = f"{self.path} HTTP/1.1\r\nHost: {self.connections.host_header}\r\n{self.visitor.credentials}"
        if self.body is None:
            return f"GET {about}\r\n".encode()
        body = msgspec.json.encode(self.body())
        what = f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"POST {about}{what}\r\n".encode() + body


class Visitor:
    """A signed-in person. ``credentials`` are the header fields that say so, CSRF token included."""

    def __init__(self, http: httpx.AsyncClient, identity: str) -> None:
        self._http, self._identity = http, identity
        self.credentials = ""

    async def renew(self) -> None:
        """Renew the session: its token is good for five minutes."""
        renewed = await self._http.post(f"{self._identity}/session/refresh")
        renewed.raise_for_status()
        cookies = self._http.build_request("GET", f"{self._identity}/api/v1").headers["cookie"]
        self.credentials = f"Accept: */*\r\nCookie: {cookies}\r\nX-CSRF-Token: {self._http.cookies[_CSRF]}\r\n"


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
        visitors = {
            name: await stack.enter_async_context(_visitor(tls, urls["identity"], cookies))
            for name, cookies in signed_in.items()
        }
        opened: dict[tuple[str, str], Connections] = {}

        def ask(who: str, service: str, path: str, status: int = 200, body: Callable[[], object] | None = None) -> Ask:
            if (who, service) not in opened:
                opened[who, service] = Connections(urls[service], tls)
                stack.callback(opened[who, service].close)
            route = f"{'GET' if body is None else 'POST'} {service}"
            return Ask(visitors[who], opened[who, service], route, path, status, body)

        exam = f"{_EVALUATIONS}/{await _published(ask('author', 'assessment', _EVALUATIONS, 201, _exam))}"
        renewing = asyncio.create_task(_renew(visitors.values()))
        try:
            yield [
                ask("administrator", "identity", "/api/v1/identity/me"),
                ask("author", "assessment", exam),
                ask("auditor", "ledger", "/api/v1/ledger/entries?limit=10"),
                ask("author", "verification", "/certs/verify/AAAAAAAAAAAAAAAAAAAAAAAAAAA"),
                ask("administrator", "identity", "/api/v1/identity/roles", 201, _role),
                ask("administrator", "identity", "/api/v1/identity/org-units"),
                ask("privacy_officer", "privacy-worker", "/api/v1/compliance/erasures"),
                ask("auditor", "ledger", "/api/v1/ledger/logs"),
                ask("author", "assessment", f"{exam}/versions/1"),
                ask("author", "assessment", _EVALUATIONS, 201, _exam),
            ]
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing


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
async def _visitor(tls: ssl.SSLContext, identity: str, cookies: httpx.Cookies) -> AsyncIterator[Visitor]:
    # A renewal comes so seldom that it gets a connection of its own each time.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        verify=tls, cookies=cookies, timeout=TIMEOUT_S, limits=limits, trust_env=False
    ) as client:
        visitor = Visitor(client, identity)
        await visitor.renew()
        yield visitor


async def _renew(visitors: Collection[Visitor]) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        for visitor in visitors:
            await visitor.renew()


async def _published(creating: Ask) -> str:
    answer = await creating.send(f"bench-{token_hex(8)}")
    if answer.status != creating.status:
        message = f"creating an exam was answered with {answer.status}"
        raise RuntimeError(message)
    return str(msgspec.json.decode(answer.body)["evaluation_id"])


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
