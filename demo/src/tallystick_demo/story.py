"""The main job, step by step, with real services, real mail and real kills."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
from tallystick_cli.cluster.person import Person
from tallystick_cli.cluster.steps import StepFailed, eventually, require

from tallystick_demo.chaos import Chaos
from tallystick_demo.cohort import answer
from tallystick_demo.operator import platform_entry_types

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tallystick_cli.cluster.person import World
    from tallystick_cli.stack.layout import Layout

    from tallystick_demo.cohort import Cohort
    from tallystick_demo.report import Running

WRONG_ITEM = "q07"
RIGHT_KEY = ["b"]
OTHER_ANSWER = "c"
TREE_UNITS = 7
"""The root, two units, and two in each of them."""
SCORE_VERSIONS = 4
_CONCURRENT = 12
_THINKING_S = 0.3
_PAUSE_BETWEEN_KILLS_S = 0.6
_IDENTITY, _ASSESSMENT = "/api/v1/identity", "/api/v1/assessment"


@dataclass(slots=True)
class Tenant:
    """One tenant on stage: its staff by role, its candidates, and what the story makes for it."""

    slug: str
    staff: dict[str, Person] = field(default_factory=dict)
    candidates: list[Person] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    evaluation_id: str = ""
    version: int = 0
    assignments: dict[str, str] = field(default_factory=dict)
    remediation_id: str = ""
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Stage:
    """Everything the steps share."""

    world: World
    layout: Layout
    cohort: Cohort
    tenants: dict[str, Tenant]
    kills: int = 0

    def everyone(self) -> Iterable[Person]:
        """Give every person on stage."""
        for tenant in self.tenants.values():
            yield from tenant.staff.values()
            yield from tenant.candidates


async def all_of(people: Iterable[Person], what: Callable[[Person], Awaitable[None]]) -> None:
    """Let everybody do something, a dozen at a time; the first failure ends it."""
    gate = asyncio.Semaphore(_CONCURRENT)

    async def one(person: Person) -> None:
        async with gate:
            await what(person)

    async with asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(one(person))


async def people_arrive(stage: Stage, step: Running) -> None:
    """The administrators sign in and import staff and candidates; units come into being with them."""
    for tenant in stage.tenants.values():
        staff, candidates = stage.cohort.staff_of(tenant.slug), stage.cohort.candidates_of(tenant.slug)
        administrator = tenant.staff["administrator"]
        await administrator.sign_in()
        rows = [
            {"org_unit": who.org_unit, "email": who.email, "display_name": who.display_name, "role": who.role}
            for who in (*staff, *candidates)
            if who.role != "administrator"
        ]
        imported = await administrator.do("POST", "identity", f"{_IDENTITY}/imports", {"rows": rows})
        tenant.ids = {row["email"]: imported["people"][number]["id"] for number, row in enumerate(rows)}
        tenant.staff |= {
            who.role: Person(stage.world, tenant=tenant.slug, email=who.email)
            for who in staff
            if who.role != "administrator"
        }
        tenant.candidates = [Person(stage.world, tenant=tenant.slug, email=who.email) for who in candidates]
        await all_of((p for role, p in tenant.staff.items() if role != "administrator"), Person.sign_in)
        units = await administrator.read("identity", f"{_IDENTITY}/org-units")
        require(
            len(units["org_units"]) >= TREE_UNITS,
            f"{tenant.slug} should have {TREE_UNITS} units, has {units}",
        )
        for role, person in tenant.staff.items():
            shown = await person.read("identity", "/api/v1/auth/second-factor")
            require(
                person.was_stopped and shown["needed"] is None and shown["factors"],
                f"{role} of {tenant.slug} came in by a link alone",
            )
    count = sum(len(tenant.ids) for tenant in stage.tenants.values())
    step.detail = (
        f"{len(stage.tenants)} tenants, {count} people imported into a two-level tree of units; "
        "staff signed in by single-use links from real mail, were refused with that alone, "
        "and came in by a second factor"
    )


async def exam_is_published(stage: Stage, step: Running) -> None:
    """Authors publish the evaluation and assign it to every candidate of their tenant."""
    for tenant in stage.tenants.values():
        author = tenant.staff["author"]
        published = await author.do("POST", "assessment", f"{_ASSESSMENT}/evaluations", stage.cohort.evaluation)
        tenant.evaluation_id, tenant.version = published["evaluation_id"], published["version"]
        people = await _references(tenant)
        body = {"evaluation_id": tenant.evaluation_id, "version": tenant.version, "people": people}

        async def known(tenant: Tenant = tenant, body: dict[str, Any] = body) -> bool | None:
            # The assessment service hears of new people by events: a moment after identity has them.
            try:
                await tenant.staff["author"].do("POST", "assessment", f"{_ASSESSMENT}/assignments", body)
            except StepFailed as error:
                if " 422" in str(error):
                    return None
                raise
            return True

        await eventually(known, f"assigning the evaluation in {tenant.slug}")
    items = len(stage.cohort.evaluation["items"])
    step.detail = f"{items} items as immutable question versions; assigned to {len(stage.cohort.candidates)} candidates"


async def _references(tenant: Tenant) -> list[str]:
    """Return the pseudonyms of the tenant's candidates."""
    wanted = {candidate.email for candidate in tenant.candidates}
    found: dict[str, str] = {}
    after = ""
    while True:
        page = await tenant.staff["administrator"].read("identity", f"{_IDENTITY}/people?limit=100{after}")
        found |= {person["email"]: person["person"] for person in page["people"] if person["email"] in wanted}
        if not page["next"]:
            break
        after = f"&after={page['next']}"
    require(len(found) == len(wanted), f"{tenant.slug}: {len(found)} of {len(wanted)} candidates are listed")
    return [found[candidate.email] for candidate in tenant.candidates]


async def exam_under_kills(stage: Stage, step: Running) -> None:
    """All candidates sign in, answer and submit, while every process is killed once."""
    chaos = Chaos(stage.layout, stage.world.traffic, pause_s=_PAUSE_BETWEEN_KILLS_S, tell=step.happened)
    luck = random.Random(20261122)  # noqa: S311 - the same answers in every run
    plans = {
        person.email: {
            item["id"]: luck.random() < (0.92, 0.75, 0.62, 0.4)[number % 4] for item in stage.cohort.evaluation["items"]
        }
        for tenant in stage.tenants.values()
        for number, person in enumerate(tenant.candidates)
    }
    over = asyncio.Event()
    handed_in: list[str] = []

    async def take(person: Person) -> None:
        plan = plans[person.email]
        await person.sign_in()
        mine = await person.read("assessment", f"{_ASSESSMENT}/my/assignments")
        require(len(mine["assignments"]) == 1, f"{person.email} should have one assignment, has {mine}")
        assignment = mine["assignments"][0]["assignment_id"]
        attempt = await person.do("POST", "assessment", f"{_ASSESSMENT}/attempts", {"assignment_id": assignment})
        base = f"{_ASSESSMENT}/attempts/{attempt['attempt_id']}"
        for item in stage.cohort.evaluation["items"]:
            response = answer(item, right=plan[item["id"]])
            if item["id"] == WRONG_ITEM:
                # Whoever knows the subject answers rightly, which the key calls wrong.
                response = RIGHT_KEY[0] if plan[item["id"]] else OTHER_ANSWER
            await person.do("PUT", "assessment", f"{base}/answers/{item['id']}", {"response": response})
            if not over.is_set():
                await asyncio.sleep(_THINKING_S * luck.uniform(0.5, 1.5))
        await person.do("POST", "assessment", f"{base}/submission")
        handed_in.append(person.email)
        step.progress(f"{len(handed_in)} of {len(plans)} handed in")

    async def kill_everything() -> None:
        try:
            await chaos.run()
        finally:
            over.set()

    candidates = [person for tenant in stage.tenants.values() for person in tenant.candidates]
    async with asyncio.TaskGroup() as group:
        group.create_task(kill_everything())
        group.create_task(all_of(candidates, take))
    stage.kills = len(chaos.kills)
    slowest = max(chaos.kills, key=lambda kill: kill.back_after_s)
    step.detail = (
        f"{len(candidates)} candidates signed in, answered and submitted over HTTPS while {len(chaos.kills)} processes "
        f"got SIGKILL under load (slowest restart: {slowest.program}, {slowest.back_after_s:.1f} s); "
        f"{stage.world.traffic.repeated} requests were sent again"
    )


async def scores_are_there(stage: Stage, step: Running) -> None:
    """Every submission is scored by itself; the essay stays out of the total."""
    told = []
    for tenant in stage.tenants.values():

        async def scored(tenant: Tenant = tenant) -> list[dict[str, Any]] | None:
            scores = await _scores(tenant)
            return scores if len(scores) == len(tenant.candidates) else None

        scores = await eventually(scored, f"scoring in {tenant.slug}")
        points = {item["id"]: item["points"] for item in stage.cohort.evaluation["items"] if item["type"] != "essay"}
        require(
            {score["max_points_milli"] for score in scores} == {sum(points.values()) * 1000},
            f"the total should be {sum(points.values())} points, the essay left out",
        )
        told.append(f"{tenant.slug}: {sum(score['passed'] for score in scores)} of {len(scores)} pass")
    step.detail = "; ".join(told) + " (the essay waits for a grader and is not in the total)"


async def _scores(tenant: Tenant) -> list[dict[str, Any]]:
    query = f"evaluation_id={tenant.evaluation_id}&version={tenant.version}&limit=100"
    page = await tenant.staff["author"].read("assessment", f"{_ASSESSMENT}/scores?{query}")
    return list(page["scores"])


async def key_is_mended(stage: Stage, step: Running) -> None:
    """The item turns out to be keyed wrongly: dry run, apply, revert, apply."""
    told = []
    for tenant in stage.tenants.values():
        author = tenant.staff["author"]
        before = _by_submission(await _scores(tenant))
        wish = {
            "evaluation_id": tenant.evaluation_id,
            "version": tenant.version,
            "item_id": WRONG_ITEM,
            "new_key": RIGHT_KEY,
            "reason": "The key named hashing leaves and nodes alike; different prefixes are what resists.",
        }
        dry = await author.do("POST", "assessment", f"{_ASSESSMENT}/remediations", wish)
        tenant.remediation_id = dry["remediation_id"]
        path = f"{_ASSESSMENT}/remediations/{tenant.remediation_id}"
        shown = await author.read("assessment", path)
        require(_by_submission(await _scores(tenant)) == before, "a dry run must change no score")
        await author.do("POST", "assessment", f"{path}/apply")
        applied = _by_submission(await _scores(tenant))
        changed = [one for one in before if applied[one][0] != before[one][0]]
        require(len(changed) == shown["affected"], f"dry run said {shown['affected']}, applying changed {len(changed)}")
        await author.do("POST", "assessment", f"{path}/revert")
        require(_by_submission(await _scores(tenant)) == before, "reverting must restore every score exactly")
        await author.do("POST", "assessment", f"{path}/apply")
        require(_by_submission(await _scores(tenant)) == applied, "applying again must give the same scores")
        one = next(score for score in await _scores(tenant) if score["submission_id"] in changed)
        history = await author.read("assessment", f"{_ASSESSMENT}/submissions/{one['submission_id']}/scores")
        require(
            len(history["versions"]) == SCORE_VERSIONS,
            "a changed score has a version each: first, applied, reverted, applied",
        )
        told.append(
            f"{tenant.slug}: {shown['affected']} scores change, {shown['changed_pass']} of them across the pass mark"
        )
    step.detail = (
        "; ".join(told) + "; dry run, apply, revert and apply again, each a new score version, none overwritten"
    )


def _by_submission(scores: list[dict[str, Any]]) -> dict[str, tuple[int, bool]]:
    return {score["submission_id"]: (score["points_milli"], score["passed"]) for score in scores}


async def certificates_are_issued(stage: Stage, step: Running) -> None:
    """Graders issue certificates to those who pass; holders get links; one certificate is revoked."""
    issued = 0
    for tenant in stage.tenants.values():
        body = {"evaluation_id": tenant.evaluation_id, "version": tenant.version}
        answered = await tenant.staff["grader"].do("POST", "assessment", f"{_ASSESSMENT}/certificates/issue", body)
        passes = sum(score["passed"] for score in await _scores(tenant))
        require(answered["issued"] == passes, f"{passes} pass in {tenant.slug}, {answered['issued']} were issued")
        issued += answered["issued"]

        async def own(person: Person, tenant: Tenant = tenant) -> None:
            mine = await person.read("assessment", f"{_ASSESSMENT}/my/certificates")
            for certificate in mine["certificates"]:
                tenant.certificates[person.email] = certificate

        await all_of(tenant.candidates, own)
        require(len(tenant.certificates) == passes, f"{len(tenant.certificates)} of {passes} holders see their own")
    first = next(iter(stage.tenants.values()))
    revoked = first.certificates[min(first.certificates)]
    path = f"{_ASSESSMENT}/certificates/{revoked['certificate_id']}/revoke"
    await first.staff["grader"].do("POST", "assessment", path, {"reason": "Issued to the wrong person."})
    step.detail = f"{issued} certificates issued to those who pass, one revoked"


async def tenants_stay_apart(stage: Stage, step: Running) -> None:
    """A person of one tenant asks for another's remediation: refused like one that does not exist, and recorded."""
    here, there = list(stage.tenants.values())[:2]
    author = there.staff["author"]
    path = f"{_ASSESSMENT}/remediations/"
    foreign = await author.get("assessment", path + here.remediation_id)
    missing = await author.get("assessment", path + "00000000-0000-4000-8000-000000000000")
    require(foreign.status_code == httpx.codes.NOT_FOUND, f"a foreign remediation answered {foreign.status_code}")
    require(_but_correlation(foreign) == _but_correlation(missing), "foreign and missing must be answered alike")
    correlation = foreign.headers["X-Correlation-ID"]

    async def recorded() -> bool | None:
        found = await asyncio.to_thread(platform_entry_types, stage.layout, correlation)
        return "authz.cross_tenant.attempted" in found or None

    await eventually(recorded, "recording the attempt across tenants")
    own = await entries_of(there, correlation)
    require(not own, f"the log of {there.slug} must not tell that another tenant has this id: {own}")
    step.detail = (
        f"{there.slug}'s author asked for {here.slug}'s remediation: 404, word for word the answer for one that does "
        "not exist; the attempt stands in the platform's own log, which no tenant can read"
    )


def _but_correlation(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.text.replace(answer.headers["X-Correlation-ID"], "")


async def entries_of(tenant: Tenant, correlation: str) -> list[dict[str, Any]]:
    """Return the ledger's lines with a correlation id, as the tenant's auditor sees them."""
    page = await tenant.staff["auditor"].read("ledger", f"/api/v1/ledger/entries?correlation={correlation}&limit=100")
    return [httpx.Response(200, text=entry["line"]).json() for entry in page["entries"]]
