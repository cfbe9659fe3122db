"""Certificates: who passes gets one, the public entry tells nothing, and a revoked one is withdrawn."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from tallystick_assessment.certificates.store import Action, Publication, plan_publication
from tallystick_chassis.tables import events


@pytest.fixture
async def passed(world: Any, make_exam: Callable[..., Any], right: dict[str, Any]) -> Any:
    """Two who passed and one who did not."""
    exam = await make_exam("north", "south", "north")
    await exam.sit(exam.candidates[0], right)
    await exam.sit(exam.candidates[1], right)
    await exam.sit(exam.candidates[2], {"q3": False})
    await world.work()
    return exam


async def issue(world: Any, exam: Any, key: str | None = None) -> Any:
    grader = await world.person("grader")
    body = {"evaluation_id": exam.evaluation_id, "version": 1}
    return await grader.post("/certificates/issue", body, key)


async def test_those_who_pass_get_one_certificate(world: Any, passed: Any) -> None:
    key = uuid4().hex
    first = (await issue(world, passed, key)).json()
    second = (await issue(world, passed)).json()
    assert (first["issued"], len(first["certificate_ids"]), second["issued"]) == (2, 2, 0)
    assert [event.type for event in await world.events(key=key)] == ["assessment.certificate.issued"] * 2
    assert (await passed.candidates[2].get("/my/certificates")).json() == {"certificates": []}


@pytest.mark.control("EV-64")
async def test_every_public_entry_waits_a_time_of_its_own(world: Any, superuser: Any) -> None:
    planned_at = world.clock()
    async with world.runtime.database.transaction(world.duty(world.borealis)) as tx:
        for _ in range(40):
            await plan_publication(
                tx, Publication(uuid4().hex, Action.PUBLISH, "00" * 32, "Exam", "Borealis", "2026-11-22T08:00:00Z")
            )
    planned = "select not_before from assessment.publications where tenant_id = $1"
    waits_s = [(row[0] - planned_at).total_seconds() for row in await superuser.fetch(planned, world.borealis.id)]
    assert len(waits_s) == 40
    assert all(0.5 <= wait_s < 5.0 for wait_s in waits_s)
    assert len(set(waits_s)) > 20  # of 3,500 possible ones


@pytest.mark.control("EV-64")
async def test_the_holder_has_the_link_and_the_token_is_nowhere_else(world: Any, passed: Any, superuser: Any) -> None:
    await issue(world, passed)
    await world.publish()
    answer = await passed.candidates[0].get("/my/certificates")
    assert answer.headers["cache-control"] == "no-store"
    (mine,) = answer.json()["certificates"]
    base, token = mine["verification_url"].rsplit("/", 1)
    assert base == f"{world.runtime.settings.url_verification}/certs/verify"
    assert len(token) >= 22
    grader = await world.person("grader")
    listed = await grader.get("/certificates")
    assert token not in listed.text
    assert "reference" not in listed.json()["certificates"][0]
    reference = urlsafe_b64encode(sha256(token.encode()).digest()).decode().rstrip("=")
    assert reference in [event.data.reference for event in await world.events("assessment.credential.published")]
    for row in await superuser.fetch("select body from assessment.events"):
        assert token.encode() not in row["body"]
    stored = await superuser.fetch("select content, reference from assessment.certificates")
    assert all(token.encode() not in row["content"] for row in stored)


async def test_the_public_entry_shares_nothing_with_the_person(world: Any, passed: Any) -> None:
    await issue(world, passed)
    assert await world.events("assessment.credential.published") == []
    await world.publish()
    private = await world.events("assessment.certificate.issued")
    public = await world.events("assessment.credential.published")
    assert {event.data.commitment for event in public} == {event.data.commitment for event in private}
    for event in public:
        assert (event.actor, event.subject, event.org_unit, event.correlation, event.causation) == (
            "assessment",
            None,
            None,
            None,
            None,
        )
        assert event.data.issuer == "Aurora"
        assert event.data.issued_at.endswith("T00:00:00Z")
    query = select(events.c.body).where(events.c.type == "assessment.credential.published")
    async with world.runtime.database.transaction(world.duty(world.aurora)) as tx:
        bodies = [bytes(body) for body in (await tx.execute(query)).scalars()]
    private_ids = [certificate for event in private for certificate in (event.data.certificate_id, event.data.person)]
    assert not any(private_id.encode() in body for private_id in private_ids for body in bodies)


async def test_a_revoked_certificate_is_withdrawn_in_public_after_it_was_published(world: Any, passed: Any) -> None:
    issued = (await issue(world, passed)).json()
    certificate = issued["certificate_ids"][0]
    grader = await world.person("grader")
    key = uuid4().hex
    first = await grader.post(f"/certificates/{certificate}/revoke", {"reason": "Another sat in their place."}, key)
    again = await grader.post(f"/certificates/{certificate}/revoke", {"reason": "Once more."})
    assert (first.status_code, first.json()) == (200, {"certificate_id": certificate, "revoked": True})
    assert again.json() == first.json()
    (event,) = await world.events("assessment.certificate.revoked")
    assert "Another" not in str(event.data)
    assert [one.id for one in await world.events(key=key)] == [event.id]
    await world.publish()
    published = await world.events("assessment.credential.published")
    (withdrawn,) = await world.events("assessment.credential.withdrawn")
    assert len(published) == 2
    assert withdrawn.data.reference in {one.data.reference for one in published}
    assert withdrawn.stream_version == 2
    listed = (await grader.get("/certificates")).json()["certificates"]
    assert [
        bool(one["revoked_at"]) for one in sorted(listed, key=lambda one: one["certificate_id"] != certificate)
    ] == [
        True,
        False,
    ]
    assert (await issue(world, passed)).json()["issued"] == 0


async def test_a_dry_run_names_certificates_at_risk_and_touches_none(world: Any, passed: Any) -> None:
    await issue(world, passed)
    for item, key in (("q2", ["b"]), ("q6", ["a", "b", "c"]), ("q7", {"1": "a", "2": "c"})):
        answer = await passed.author.post(
            "/remediations",
            {"evaluation_id": passed.evaluation_id, "version": 1, "item_id": item, "new_key": key, "reason": "x"},
        )
        path = f"/remediations/{answer.json()['remediation_id']}"
        view = (await passed.author.get(path)).json()
        assert (await passed.author.post(f"{path}/apply")).status_code == 200
    assert [change["certificate_at_risk"] for change in view["changes"]] == [True, True]
    assert await world.events("assessment.certificate.revoked") == []


async def test_erasure_destroys_what_can_be_read_and_gives_one_receipt(world: Any, passed: Any, superuser: Any) -> None:
    await issue(world, passed)
    person, job = passed.candidates[0], uuid4()
    await world.erase(person, job)
    await world.erase(person, job)
    (receipt,) = await world.events("assessment.erasure_receipt.given")
    assert {store.name: (store.items, store.outcome.value) for store in receipt.data.stores} == {
        "data-key": (1, "ERASURE_OUTCOME_ERASED"),
        "answers": (9, "ERASURE_OUTCOME_ERASED"),
        "certificate-links": (1, "ERASURE_OUTCOME_ERASED"),
        "directory": (1, "ERASURE_OUTCOME_ERASED"),
    }
    assert (await person.get("/my/certificates")).json() == {"certificates": []}
    left = await superuser.fetchval(
        "select count(*) from assessment.answers where person = $1 and content is not null", person.ref
    )
    assert left == 0
    # The others' answers and links are untouched, and the rest of the job still works.
    assert len((await passed.candidates[1].get("/my/certificates")).json()["certificates"]) == 1
    answer = await passed.author.post(
        "/remediations",
        {"evaluation_id": passed.evaluation_id, "version": 1, "item_id": "q1", "new_key": ["b"], "reason": "x"},
    )
    assert (answer.json()["considered"], answer.json()["affected"]) == (3, 1)


async def test_who_was_erased_before_the_worker_came_gets_no_score_and_no_error(
    world: Any, make_exam: Callable[..., Any], right: dict[str, Any]
) -> None:
    exam = await make_exam("north")
    await exam.sit(exam.candidates[0], right)
    await world.erase(exam.candidates[0], uuid4())
    await world.work()
    assert await world.events("assessment.score.recorded") == []


async def test_who_was_erased_in_the_middle_of_an_attempt_can_save_nothing_more(
    world: Any, make_exam: Callable[..., Any]
) -> None:
    exam = await make_exam("north", "north")
    started, late = exam.candidates
    attempt = (await started.post("/attempts", {"assignment_id": exam.assignments[started.ref]})).json()["attempt_id"]
    for person in exam.candidates:
        await world.erase(person, uuid4())
    answer = await started.put(f"/attempts/{attempt}/answers/q1", {"response": "a"})
    assert (answer.status_code, answer.json()["code"]) == (409, "person_erased")
    answer = await late.post("/attempts", {"assignment_id": exam.assignments[late.ref]})
    assert (answer.status_code, answer.json()["code"]) == (409, "person_erased")


async def test_a_person_of_whom_nothing_is_held_gets_a_receipt_that_says_so(world: Any) -> None:
    person = await world.person("candidate", unit="north")
    await world.erase(person, uuid4())
    (receipt,) = await world.events("assessment.erasure_receipt.given")
    assert [store.items for store in receipt.data.stores] == [0, 0, 0, 1]
