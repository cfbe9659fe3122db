"""Two tenants with org units, people who hold every capability in their own place, and one of everything in each
place.

Made through the front doors alone: tenants by the operator's command, sign-in by real mail, everything else over
HTTPS. Each command that is accepted on the way is noted as proof that its recipe is a proper one.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from tallystick_cli.cluster.person import Authenticator, Person, Traffic, World
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import control, secret_files
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox

from sweep.accounts import use_accounts
from sweep.recipes import RECIPES, Ids
from sweep.routes import Route, every_route
from sweep.visitor import Call, Visitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tallystick_cli.stack.layout import Layout

T = TypeVar("T")
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class House:
    """Everything the sweeps need."""

    layout: Layout
    urls: Mapping[str, str]
    tls: ssl.SSLContext
    routes: Mapping[str, Route]
    visitors: Mapping[str, Visitor]
    places: Mapping[str, Ids]
    proven: frozenset[str]
    verification_url: str

    def visitor(self, name: str) -> Visitor:
        """Return one of the people, or a stranger without an account (``nobody``)."""
        visitor = self.visitors[name]
        visitor.stay_signed_in()
        return visitor


def eventually(check: Callable[[], T | None], what: str) -> T:
    """Wait until ``check`` gives something."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what} did not happen within {_PATIENCE_S:.0f} s"
        time.sleep(0.1)
    return found


def _is_accepted(answer: httpx.Response) -> bool:
    # A page's form leads to the next page.
    return answer.is_success or answer.status_code == httpx.codes.SEE_OTHER


class _ByTheLink(Person):
    """Somebody who stops before the second factor."""

    async def _second_factor(self, need: str | None) -> bool:
        del need
        return True


class Builder:
    """Makes the house, step by step."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        self.layout = layout
        self.urls = control.endpoints(layout)
        self.tls = ssl.create_default_context(cafile=layout.ca_file)
        self.routes = {route.name: route for route in every_route(layout)}
        self.mailbox = Mailbox(layout.mail)
        self.proven: set[str] = set()
        self._authenticators: dict[str, Authenticator] = {}
        self._journal = folder / "sweep.ndjson"
        unique = secrets.token_hex(3)
        self.north, self.south = f"north-{unique}", f"south-{unique}"

    def sign_in(self, tenant: str, *names: str, user_agent: str = "sweep") -> dict[str, Visitor]:
        """Sign people in through real mail, all at once; their address is ``name@tenant.example``."""

        async def all_of_them() -> list[httpx.Cookies]:
            with Journal(self._journal) as journal:
                world = World(self.urls, self.tls, self.mailbox, journal, Traffic())
                people = [Person(world, tenant=tenant, email=f"{name}@{tenant}.example") for name in names]
                for person in people:
                    person._http.headers["User-Agent"] = user_agent
                    person.authenticator = self._authenticators.setdefault(person.email, person.authenticator)
                try:
                    await asyncio.gather(*(person.sign_in() for person in people))
                    return [person._http.cookies for person in people]
                finally:
                    await asyncio.gather(*(person.leave() for person in people))

        cookies = asyncio.run(all_of_them())
        self.proven |= {"identity POST /api/v1/auth/login", "identity POST /api/v1/auth/verify"}
        visitors = {
            name: Visitor(self.urls, self.tls, own, name=name, user_agent=user_agent)
            for name, own in zip(names, cookies, strict=True)
        }
        for name, visitor in visitors.items():
            visitor.sign_in_again = partial(self._cookies_of, tenant, name, user_agent)
        return visitors

    def sign_in_half(self, tenant: str, name: str) -> Visitor:
        """Sign somebody in by a link alone, whatever second factor they have."""

        async def by_the_link() -> httpx.Cookies:
            with Journal(self._journal) as journal:
                world = World(self.urls, self.tls, self.mailbox, journal, Traffic())
                person = _ByTheLink(world, tenant=tenant, email=f"{name}@{tenant}.example")
                try:
                    await person.sign_in()
                    return person._http.cookies
                finally:
                    await person.leave()

        return Visitor(self.urls, self.tls, asyncio.run(by_the_link()), name=name)

    def _cookies_of(self, tenant: str, name: str, user_agent: str) -> httpx.Cookies:
        (again,) = self.sign_in(tenant, name, user_agent=user_agent).values()
        with again.http:
            return again.http.cookies

    def ask(self, who: Visitor, name: str, call: Call) -> httpx.Response:
        """Send a request that must be accepted, again while the service says it cannot yet (409, 422 and 503)."""

        deadline = time.monotonic() + _PATIENCE_S
        while not _is_accepted(answer := who.send(self.routes[name], call)):
            refused = f"{who.name}: {name}: {answer.status_code} {answer.text}"
            assert answer.status_code in {409, 422, 503}, refused
            assert time.monotonic() < deadline, refused
            time.sleep(0.1)
        self.proven.add(name)
        return answer

    def do(self, who: Visitor, name: str, ids: Ids) -> Any:
        """Follow the route's first recipe."""
        return self.ask(who, name, RECIPES[name][0].build(ids)).json()


def _people(builder: Builder, admin: Visitor, tenant: str, rows: list[tuple[str, str, str | None]]) -> dict[str, Ids]:
    """Import people (name, unit path, role); return tenant, unit, id and pseudonym of each."""
    me = admin.send(builder.routes["identity GET /api/v1/identity/me"], Call()).json()
    body = {
        "rows": [
            {"org_unit": path, "email": f"{name}@{tenant}.example", "display_name": name.title()}
            | ({"role": role} if role else {})
            for name, path, role in rows
        ]
    }
    made = builder.ask(admin, "identity POST /api/v1/identity/imports", Call(json=body)).json()["people"]
    return {
        name: Ids(tenant=me["tenant"], unit=one["org_unit_id"], person_id=one["id"], person=one["person"], path=path)
        for (name, path, _), one in zip(rows, made, strict=True)
    }


def _role(builder: Builder, admin: Visitor) -> tuple[str, str]:
    """Make a role with every capability; return its id and name."""
    made = builder.do(admin, "identity POST /api/v1/identity/roles", Ids())
    builder.do(admin, "identity PUT /api/v1/identity/roles/{role_id}", Ids(role=made["id"]))
    return made["id"], made["name"]


def _exam(builder: Builder, author: Visitor, taker: Visitor, ids: Ids, slug: str) -> Ids:
    """Publish, assign, take, score, mend, certify: one of everything, in the taker's unit."""
    api = "assessment {} /api/v1/assessment/{}".format
    ids = replace(ids, slug=slug)
    published = builder.do(author, api("POST", "evaluations"), ids)
    ids = replace(
        ids,
        evaluation=published["evaluation_id"],
        version=published["version"],
        question=published["questions"][0]["question_id"],
    )
    builder.do(author, api("POST", "evaluations/{evaluation_id}/versions/{version}/releases"), ids)
    made = [builder.do(author, api("POST", "assignments"), ids)["assignments"][0]["assignment_id"] for _ in range(2)]
    ids = replace(ids, assignment=made[0], spare=made[1])
    ids = replace(ids, attempt=builder.do(taker, api("POST", "attempts"), ids)["attempt_id"])
    builder.do(taker, api("PUT", "attempts/{attempt_id}/answers/{item_id}"), ids)
    handed_in = builder.do(taker, api("POST", "attempts/{attempt_id}/submission"), ids)
    ids = replace(ids, submission=handed_in["submission_id"])
    history = builder.routes[api("GET", "submissions/{submission_id}/scores")]
    eventually(lambda: author.send(history, Call(path={"submission_id": ids.submission})).is_success or None, "scoring")
    ids = replace(ids, remediation=builder.do(author, api("POST", "remediations"), ids)["remediation_id"])
    builder.do(author, api("POST", "remediations/{remediation_id}/apply"), ids)
    builder.do(author, api("POST", "remediations/{remediation_id}/revert"), ids)
    certified = builder.do(author, api("POST", "certificates/issue"), ids)
    return replace(ids, certificate=certified["certificate_ids"][0])


def _ledger(builder: Builder, auditor: Visitor, ids: Ids) -> Ids:
    """Export the compliance log, once it has the exam's events."""
    api = "ledger {} /api/v1/ledger/{}".format
    logs = builder.ask(auditor, api("GET", "logs"), Call()).json()["logs"]
    ids = replace(ids, log=next(log["id"] for log in logs if log["kind"] == "compliance"))
    exported = builder.do(auditor, api("POST", "exports"), ids)
    if api("PUT", "logs/{log_id}/publication") in builder.routes:
        builder.ask(
            auditor, api("PUT", "logs/{log_id}/publication"), Call(path={"log_id": ids.log}, json={"open": False})
        )
    spare, kept = (builder.do(auditor, api("POST", "siem-destinations"), ids)["id"] for _ in range(2))
    builder.do(auditor, api("DELETE", "siem-destinations/{destination_id}"), Ids(destination=spare))
    ids = replace(ids, destination=kept)
    for method, path in (("PUT", ""), ("POST", "/test"), ("POST", "/replay"), ("GET", "/dead-letters")):
        builder.do(auditor, api(method, f"siem-destinations/{{destination_id}}{path}"), ids)
    page = builder.ask(auditor, api("GET", "logs/{log_id}/entries"), Call(path={"log_id": ids.log})).json()
    first = httpx.Response(200, text=page["entries"][0]["line"]).json()
    return replace(ids, size=exported["size"], correlation=first["event"]["correlation"], seq=0)


def _erase(builder: Builder, admin: Visitor, ids: Ids, victim: Ids) -> Ids:
    builder.do(admin, "identity DELETE /api/v1/identity/people/{person_id}", victim)
    erasures = builder.routes["privacy GET /api/v1/compliance/erasures"]

    def listed() -> str | None:
        jobs = admin.send(erasures, Call()).json()["items"]
        return next((job["job_id"] for job in jobs if job["person"] == victim.person), None)

    return replace(ids, job=eventually(listed, "ordering an erasure"))


def make_tenant(layout: Layout, slug: str) -> int:
    """Let the operator's command make a tenant with ``admin@<slug>.example``; return its exit status."""
    # The second tenant of a running system; `init` is for the very first.
    return create_tenant(layout.root, command="add-tenant", slug=slug, name=slug.title(), admin=f"admin@{slug}.example")


@contextmanager
def open_house(
    layout: Layout, folder: Path, make_tenant: Callable[[Layout, str], int] = make_tenant
) -> Iterator[House]:
    """Make the house; everybody leaves at the end."""
    builder = Builder(layout, folder)
    for tenant in (builder.north, builder.south):
        made = make_tenant(layout, tenant)
        assert made == 0, f"making the tenant {tenant} ended with {made}"
    visitors: dict[str, Visitor] = {"nobody": Visitor(builder.urls, builder.tls)}
    try:
        yield _make(builder, visitors)
    finally:
        for visitor in visitors.values():
            visitor.close()


def _make(builder: Builder, visitors: dict[str, Visitor]) -> House:
    north, south = _north(builder, visitors), _south(builder, visitors)
    certificate = eventually(
        lambda: (
            visitors["owner"]
            .send(builder.routes["assessment GET /api/v1/assessment/my/certificates"], Call())
            .json()["certificates"]
        ),
        "the owner's certificate",
    )[0]
    return House(
        layout=builder.layout,
        urls=builder.urls,
        tls=builder.tls,
        routes=builder.routes,
        visitors=visitors,
        places=north | south,
        proven=frozenset(builder.proven),
        verification_url=certificate["verification_url"],
    )


def _north(builder: Builder, visitors: dict[str, Visitor]) -> dict[str, Ids]:
    """The first tenant: ``owner`` lives in unit a and holds everything everywhere, ``neighbour`` in unit b only."""
    (first,) = builder.sign_in(builder.north, "admin").values()
    first.close()
    # The first sign-in enrolled a second factor, this one shows it.
    (admin,) = builder.sign_in(builder.north, "admin").values()
    builder.proven.add("identity POST /api/v1/auth/second-factor")
    visitors["admin"] = admin
    role, role_name = _role(builder, admin)
    rows = [
        ("owner", "alpha", None),
        ("colleague", "alpha", "candidate"),
        ("powerless", "alpha", None),
        ("leaver", "alpha", role_name),
        ("victim-a", "alpha", None),
        ("neighbour", "bravo", role_name),
        ("victim-b", "bravo", None),
    ]
    people = {name: replace(ids, role=role) for name, ids in _people(builder, admin, builder.north, rows).items()}
    grant = {
        "person_id": people["owner"].person_id,
        "role_id": role,
        "org_unit_id": people["owner"].tenant,
        "subtree": True,
    }
    builder.ask(admin, "identity POST /api/v1/identity/grants", Call(json=grant))
    visitors |= builder.sign_in(builder.north, "owner", "colleague", "powerless", "leaver", "neighbour")
    owner, neighbour = visitors["owner"], visitors["neighbour"]
    place_a = replace(
        people["owner"], grant=builder.do(owner, "identity POST /api/v1/identity/grants", people["owner"])["id"]
    )
    use_accounts(builder, visitors, people)
    place_a = _own(builder, owner, place_a)
    people["neighbour"] = _own(builder, neighbour, people["neighbour"])
    place_a = _ledger(builder, owner, _exam(builder, owner, owner, place_a, "exam-of-a"))
    place_a = _erase(builder, owner, place_a, people["victim-a"])
    place_b = _erase(
        builder, owner, _exam(builder, owner, neighbour, people["neighbour"], "exam-of-b"), people["victim-b"]
    )
    grants = builder.ask(
        owner, "identity GET /api/v1/identity/grants", Call(query={"person_id": place_b.person_id})
    ).json()["grants"]
    return {"a": place_a, "b": replace(place_b, grant=grants[0]["id"])}


def _own(builder: Builder, person: Visitor, ids: Ids) -> Ids:
    """A session and a service key of whoever lives in the place."""
    sessions = builder.ask(person, "identity GET /api/v1/identity/me/sessions", Call()).json()["sessions"]
    (own,) = (session["id"] for session in sessions if session["current"])
    key = builder.do(person, "identity POST /api/v1/identity/service-keys", ids)
    return replace(ids, session=own, spare_session=own, key=key["id"])


def _south(builder: Builder, visitors: dict[str, Visitor]) -> dict[str, Ids]:
    """The other tenant: ``stranger`` holds everything everywhere in it."""
    (admin,) = builder.sign_in(builder.south, "admin").values()
    visitors["south-admin"] = admin
    role, role_name = _role(builder, admin)
    people = _people(builder, admin, builder.south, [("stranger", "", role_name), ("victim", "", None)])
    visitors |= builder.sign_in(builder.south, "stranger")
    stranger, ids = visitors["stranger"], replace(people["stranger"], role=role)
    grants = builder.ask(
        stranger, "identity GET /api/v1/identity/grants", Call(query={"person_id": ids.person_id})
    ).json()["grants"]
    ids = _own(builder, stranger, ids)
    ids = _exam(builder, stranger, stranger, replace(ids, grant=grants[0]["id"]), "exam-of-south")
    ids = _erase(builder, stranger, _ledger(builder, stranger, ids), people["victim"])
    revoke = "assessment POST /api/v1/assessment/"
    builder.do(stranger, revoke + "assignments/{assignment_id}/revoke", ids)
    builder.do(stranger, revoke + "certificates/{certificate_id}/revoke", ids)
    return {"south": ids}


def service_token(house: House, service: str) -> str:
    """Return a token that a service gets with its own secret."""
    answer = httpx.post(
        f"{house.urls['identity']}/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(service, secret_files.secret(house.layout, f"client-{service}")),
        verify=house.tls,
        timeout=30.0,
    )
    assert answer.is_success, answer.text
    return str(answer.json()["access_token"])
