"""The main job in small, against an installation's public APIs: from a sign-in mail to a certificate and an erasure.

Everybody in it is made up, in an organisation of this run's own. What is asked is what anybody could ask: no database,
no service's credentials. The mails are read through the trial's window (`tallystick_cli.stack.mail_window`).
"""

import asyncio
import base64
import contextlib
import hashlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
from tallystick_contracts.topology import ServiceName
from tallystick_tlog import TlogError, VerifierKey

from tallystick_cli.audit.proof_file import check_proof
from tallystick_cli.cluster.mails import Window
from tallystick_cli.cluster.person import Accepted, Person, Traffic, World
from tallystick_cli.cluster.steps import StepFailed, eventually, require

MAIL_DOMAIN = "helm-test.example"
"""Where everybody made up has their address: below it, in a domain of their organisation's own."""
ADMINISTRATOR = "administrator"
PUBLISHED = "assessment.credential.published"
_FIELDS = {"status", "credential_type", "issuer", "issued_at", "expires_at", "integrity"}
_STAFF = ("author", "grader", "privacy_officer")
_CANDIDATE = "candidate"
_RIGHT = "b"
_EXAM = {
    "slug": "helm-test",
    "title": "Helm test",
    "language": "en",
    "pass_mark_percent": 60,
    "time_limit_minutes": 10,
    "items": [
        {
            "id": "q01",
            "type": "single_choice",
            "points": 1,
            "stem": "What does a tally stick that was split in two protect against?",
            "options": {"a": "Rain", _RIGHT: "A count that one side changes alone", "c": "Forgetting"},
            "key": [_RIGHT],
        }
    ],
}
_IDENTITY, _ASSESSMENT = "/api/v1/identity", "/api/v1/assessment"
_ERASURES = "/api/v1/compliance/erasures"
_POLL_S = 0.5
_PAGE_POLL_S = 2.0
"""A stranger who asks for a certificate's page more often is told to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is asked: each service's base, whom to trust, the ledger's pinned key (base64), the window, whose tenant."""

    urls: Mapping[str, str]
    ca_file: Path
    ledger_key: str
    ledger_origin: str
    mails: str
    tenant: str


@dataclass(slots=True)
class _Memory:
    accepted: list[Accepted] = field(default_factory=list)

    def note(self, accepted: Accepted) -> None:
        self.accepted.append(accepted)


def address_of(tenant: str, name: str) -> str:
    """Return the mail address of somebody made up."""
    return f"{name}@{tenant}.{MAIL_DOMAIN}"


def do(installation: Installation, tell: Callable[[str], None]) -> None:
    """Do the main job; `tell` hears of each step that held.

    Raises:
        StepFailed: a step did not; the text names it and what was answered.
    """
    asyncio.run(_MainJob(installation, tell).run())


class _MainJob:
    def __init__(self, installation: Installation, tell: Callable[[str], None]) -> None:
        self._installation = installation
        self._tell = tell
        tls = ssl.create_default_context(cafile=str(installation.ca_file))
        world = World(installation.urls, tls, Window(installation.mails, tls), _Memory(), Traffic())
        tenant = installation.tenant
        self._people = {
            name: Person(world, tenant=tenant, email=address_of(tenant, name))
            for name in (ADMINISTRATOR, *_STAFF, _CANDIDATE)
        }
        self._stranger = httpx.AsyncClient(verify=tls, timeout=10.0, headers={"Accept": "application/json"})
        self._person_id = ""
        self._evaluation: dict[str, Any] = {}
        self._submission_id = ""
        self._page = ""

    async def run(self) -> None:
        try:
            for name, step in (
                ("the administrator signs in by a mailed link and a second factor", self._administrator_signs_in),
                ("people are imported and sign in", self._people_arrive),
                ("an exam is published and assigned", self._exam_is_published),
                ("the candidate takes it and hands it in", self._exam_is_taken),
                ("it is scored", self._it_is_scored),
                ("a certificate is issued, and anybody sees that it is valid", self._certificate_is_valid),
                ("its proof holds offline under the pinned ledger key", self._proof_holds),
                ("the candidate is erased by every service", self._candidate_is_erased),
                ("the certificate is still valid and names nobody", self._certificate_stays),
            ):
                with _named(name):
                    await step()
                self._tell(name)
        finally:
            for person in self._people.values():
                await person.leave()
            await self._stranger.aclose()

    async def _administrator_signs_in(self) -> None:
        await self._people[ADMINISTRATOR].sign_in()

    async def _people_arrive(self) -> None:
        roles = (*_STAFF, _CANDIDATE)
        rows = [
            {"org_unit": "", "email": self._people[role].email, "display_name": f"Made up {role}", "role": role}
            for role in roles
        ]
        imported = await self._people[ADMINISTRATOR].do("POST", "identity", f"{_IDENTITY}/imports", {"rows": rows})
        self._person_id = imported["people"][-1]["id"]
        await asyncio.gather(*(self._people[role].sign_in() for role in roles))
        for role in (ADMINISTRATOR, *_STAFF):
            require(self._people[role].was_stopped, f"the {role} came in by a link alone")

    async def _exam_is_published(self) -> None:
        author = self._people["author"]
        published = await author.do("POST", "assessment", f"{_ASSESSMENT}/evaluations", _EXAM)
        self._evaluation = {"evaluation_id": published["evaluation_id"], "version": published["version"]}
        body = self._evaluation | {"people": [self._people[_CANDIDATE].ref]}

        async def assigned() -> bool | None:
            # The assessment service hears of new people by events: a moment after identity has them.
            try:
                await author.do("POST", "assessment", f"{_ASSESSMENT}/assignments", body)
            except StepFailed as error:
                if f" {httpx.codes.UNPROCESSABLE_ENTITY.value}" in str(error):
                    return None
                raise
            return True

        await eventually(assigned, "assigning it", every_s=_POLL_S)

    async def _exam_is_taken(self) -> None:
        candidate = self._people[_CANDIDATE]
        (mine,) = (await candidate.read("assessment", f"{_ASSESSMENT}/my/assignments"))["assignments"]
        body = {"assignment_id": mine["assignment_id"]}
        attempt = await candidate.do("POST", "assessment", f"{_ASSESSMENT}/attempts", body)
        base = f"{_ASSESSMENT}/attempts/{attempt['attempt_id']}"
        await candidate.do("PUT", "assessment", f"{base}/answers/q01", {"response": _RIGHT})
        handed_in = await candidate.do("POST", "assessment", f"{base}/submission")
        self._submission_id = handed_in["submission_id"]

    async def _it_is_scored(self) -> None:
        path = f"{_ASSESSMENT}/submissions/{self._submission_id}/scores"

        async def scored() -> dict[str, Any] | None:
            answer = await self._people["author"].get("assessment", path)
            return answer.json()["versions"][-1] if answer.is_success else None

        score = await eventually(scored, "scoring", every_s=_POLL_S)
        require(score["passed"], "the only answer was right, and the candidate did not pass")

    async def _certificate_is_valid(self) -> None:
        path = f"{_ASSESSMENT}/certificates/issue"
        issued = await self._people["grader"].do("POST", "assessment", path, self._evaluation)
        require(issued["issued"] == 1, f"one certificate should be issued, {issued['issued']} were")
        (mine,) = (await self._people[_CANDIDATE].read("assessment", f"{_ASSESSMENT}/my/certificates"))["certificates"]
        self._page = urlsplit(mine["verification_url"]).path
        last = "nothing"

        async def valid() -> bool | None:
            nonlocal last
            shown = await self._shown()
            proof = (shown["integrity"] or {}).get("proof")
            last = f"{shown['status']}, the ledger's proof {proof or 'missing'}"
            return (shown["status"], proof) == ("valid", "verified") or None

        try:
            await eventually(valid, "showing it as valid with a verified proof", every_s=_PAGE_POLL_S)
        except StepFailed as error:
            msg = f"{error}; its page said: {last}"
            raise StepFailed(msg) from None

    async def _proof_holds(self) -> None:
        proof, line = await self._download("proof"), await self._download("entry")
        tenant = (await self._people[ADMINISTRATOR].read("identity", f"{_IDENTITY}/me"))["tenant"]
        pinned = self._installation.ledger_key.encode()
        log = f"{self._installation.ledger_origin}/{tenant}/compliance"
        key = VerifierKey.ed25519(log, base64.b64decode(pinned, validate=True))
        entry, checkpoint = check_proof(proof, line, (key,))
        require(entry.event.type == PUBLISHED, f"the entry is a {entry.event.type}, not a {PUBLISHED}")
        integrity = (await self._shown())["integrity"]
        told, proved = (integrity["log"], integrity["entry"]), (checkpoint.origin, entry.seq)
        require(told == proved, f"the page names entry {told[1]} of {told[0]}, the proof {proved[1]} of {proved[0]}")
        token = self._page.rpartition("/")[2]
        reference = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=")
        require(reference in line, "the entry is not this certificate's")

    async def _candidate_is_erased(self) -> None:
        officer, path = self._people["privacy_officer"], f"{_IDENTITY}/people/{self._person_id}"
        await officer.do("DELETE", "identity", path, {"reason": "A test has come to its end."})
        who = self._people[_CANDIDATE].ref

        async def complete() -> dict[str, Any] | None:
            jobs = (await officer.read("privacy-worker", _ERASURES))["items"]
            return next((job for job in jobs if job["person"] == who and job["state"] == "complete"), None)

        job = await eventually(complete, "erasing somebody everywhere", every_s=_POLL_S)
        detail = await officer.read("privacy-worker", f"{_ERASURES}/{job['job_id']}")
        told = {receipt["service"] for receipt in detail["receipts"]}
        require(len(told) == len(ServiceName), f"every service must report, {', '.join(sorted(told))} did")
        after = await self._people[ADMINISTRATOR].get("identity", path)
        require(after.status_code == httpx.codes.NOT_FOUND, f"whoever is erased is shown: HTTP {after.status_code}")

    async def _certificate_stays(self) -> None:
        shown = await self._shown()
        require(shown["status"] == "valid", f"its page says {shown['status']}")
        require(set(shown) == _FIELDS, f"its page shows {', '.join(sorted(set(shown) ^ _FIELDS))} too, or lacks it")
        public = msgspec.json.encode(shown) + await self._download("entry") + await self._download("proof")
        candidate = self._people[_CANDIDATE]
        for name in (candidate.email, candidate.ref, self._person_id):
            require(name.encode() not in public, "what is public of it names its holder")

    async def _shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.json.decode(await self._public(""))
        return shown

    async def _download(self, what: str) -> bytes:
        return await self._public(f"/{what}")

    async def _public(self, below: str) -> bytes:
        answer = await self._stranger.get(f"{self._installation.urls['verification']}{self._page}{below}")
        # The address has the holder's token in it: it is not told.
        require(answer.is_success, f"the certificate's page{below} answered HTTP {answer.status_code}")
        return answer.content


@contextlib.contextmanager
def _named(step: str) -> Iterator[None]:
    try:
        yield
    except (StepFailed, TlogError) as error:
        msg = f"{step}: {error}"
        raise StepFailed(msg) from error
    except httpx.TransportError as error:
        msg = f"{step}: verification does not answer ({type(error).__name__})"
        raise StepFailed(msg) from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        msg = f"{step}: an answer is not what it should be ({type(error).__name__})"
        raise StepFailed(msg) from error
