"""Load: administrators and authors who go on sending commands, and write down each one that was accepted."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweep.recipes import exam
from tallystick_cli.cluster.person import Person, Traffic, World
from tallystick_cli.stack import control
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox

from faults.arena import TENANTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tallystick_cli.cluster.person import Accepted

    from faults.arena import Arena

_PAUSE_S = 0.02
_IDENTITY, _ASSESSMENT = "/api/v1/identity", "/api/v1/assessment"


@dataclass
class Load:
    """Commands under way; ``accepted`` is the journal so far."""

    world: World
    senders: list[asyncio.Task[None]] = field(default_factory=list)
    running: bool = True

    @property
    def accepted(self) -> list[Accepted]:
        return self.world.journal.accepted

    async def next_accepted(self, after: int, *, within_s: float) -> Accepted:
        """Return the first command that was accepted after ``after`` others."""
        deadline = time.monotonic() + within_s
        while len(self.accepted) <= after:
            self.check()
            assert time.monotonic() < deadline, f"no command was accepted for {within_s:.0f} s"
            await asyncio.sleep(0.01)
        return self.accepted[after]

    def check(self) -> None:
        """Raise what ended a sender."""
        for sender in self.senders:
            if sender.done():
                sender.result()

    async def end(self) -> None:
        """Let every command under way come to its end."""
        self.running = False
        await asyncio.gather(*self.senders)

    async def send(self, administrator: Person, author: Person) -> None:
        turn = 0
        while self.running:
            turn += 1
            name = secrets.token_hex(6)
            if turn % 8 == 0:
                await author.do("POST", "assessment", f"{_ASSESSMENT}/evaluations", exam(f"exam-{name}"))
            elif turn % 4 == 0:
                body = {"email": f"{name}@load.example", "display_name": "Some One"}
                await administrator.do("POST", "identity", f"{_IDENTITY}/people", body)
            else:
                body = {"name": f"role_{name}", "capabilities": ["people.read"]}
                await administrator.do("POST", "identity", f"{_IDENTITY}/roles", body)
            await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def load(arena: Arena, journal: Path) -> AsyncIterator[Load]:
    """Sign everybody in and keep them busy; at the end of the block the senders are stopped where they are."""
    tls = ssl.create_default_context(cafile=arena.layout.ca_file)
    with Journal(journal) as written:
        world = World(control.endpoints(arena.layout), tls, Mailbox(arena.layout.mail), written, Traffic())
        people: list[Person] = []
        made = Load(world)
        try:
            for slug in TENANTS:
                administrator = Person(world, tenant=slug, email=f"admin@{slug}.example")
                author = Person(world, tenant=slug, email=f"author@{slug}.example")
                people += [administrator, author]
                await _arrive(arena, administrator, author)
                made.senders += [asyncio.create_task(made.send(administrator, author)) for _ in range(2)]
            yield made
        finally:
            for sender in made.senders:
                sender.cancel()
            await asyncio.gather(*made.senders, return_exceptions=True)
            for person in people:
                arena.signed_in[person.email] = person.authenticator, person._http.cookies
                await person.leave()


async def _arrive(arena: Arena, administrator: Person, author: Person) -> None:
    """Sign both in, and have the author imported before; or go on with the sessions that they had."""
    if author.email in arena.signed_in:
        for person in (administrator, author):
            person.authenticator, person._http.cookies = arena.signed_in[person.email]
        return
    await administrator.sign_in()
    row = {"org_unit": "", "email": author.email, "display_name": "An Author", "role": "author"}
    await administrator.do("POST", "identity", f"{_IDENTITY}/imports", {"rows": [row]})
    await author.sign_in()
