"""The main job of assessment through its own API, from a document to a certificate."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest


async def test_a_candidate_is_assigned_answers_submits_and_is_scored(
    world: Any, make_exam: Callable[..., Any], right: dict[str, Any]
) -> None:
    exam = await make_exam("north")
    (candidate,) = exam.candidates
    mine = (await candidate.get("/my/assignments")).json()["assignments"]
    assert [one["title"] for one in mine] == ["Secure Development"]

    submission = await exam.sit(candidate, right)
    assert (await candidate.get("/my/results")).json() == {"results": []}
    await world.work()

    (result,) = (await candidate.get("/my/results")).json()["results"]
    # q1 is keyed wrongly: 2 of 12 points are missing.
    assert (result["points_milli"], result["max_points_milli"], result["passed"]) == (10_000, 12_000, True)
    (version,) = (await exam.author.get(f"/submissions/{submission}/scores")).json()["versions"]
    assert version["cause"] == "automatic"
    assert version["items"]["q1"] == 0
    assert "q8" not in version["items"]


async def test_the_worker_scores_a_submission_once(
    world: Any, make_exam: Callable[..., Any], right: dict[str, Any]
) -> None:
    exam = await make_exam("north")
    submission = await exam.sit(exam.candidates[0], right)
    await world.work()
    await world.work()
    assert len((await exam.author.get(f"/submissions/{submission}/scores")).json()["versions"]) == 1
    assert len(await world.events("assessment.score.recorded")) == 1


async def test_a_candidate_never_sees_a_key_and_an_author_does(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north")
    (candidate,) = exam.candidates
    attempt = (await candidate.post("/attempts", {"assignment_id": exam.assignments[candidate.ref]})).json()
    paper = await candidate.get(f"/attempts/{attempt['attempt_id']}")
    assert paper.headers["content-type"].startswith("application/json")
    for taboo in ("key", "accept", "rubric", "tolerance", "normalise"):
        assert f'"{taboo}"' not in paper.text
    view = (await exam.author.get(f"/evaluations/{exam.evaluation_id}/versions/1")).json()
    assert view["items"][0]["key"] == ["a"]
    assert view["released_to"] == [str(world.aurora.units["north"])]
    question = await exam.author.get(f"/questions/{uuid4()}/versions/1")
    assert question.status_code == 404


async def test_a_saved_answer_is_shown_again_and_replaced(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north")
    (candidate,) = exam.candidates
    attempt = (await candidate.post("/attempts", {"assignment_id": exam.assignments[candidate.ref]})).json()[
        "attempt_id"
    ]
    first = await candidate.put(f"/attempts/{attempt}/answers/q1", {"response": "a"})
    second = await candidate.put(f"/attempts/{attempt}/answers/q1", {"response": "b"})
    assert (first.json()["revision"], second.json()["revision"]) == (1, 2)
    view = (await candidate.get(f"/attempts/{attempt}")).json()
    assert view["responses"] == {"q1": "b"}
    (one, two) = await world.events("assessment.attempt.answered")
    assert one.data.answer_hash != two.data.answer_hash


@pytest.mark.parametrize(
    ("item", "response", "status", "code", "pointer"),
    [
        ("q1", "z", 422, "response_invalid", "/response"),
        ("q2", ["a", 7], 422, "response_invalid", "/response/1"),
        ("q99", "a", 404, "not_found", None),
    ],
)
async def test_a_bad_answer_gets_a_problem_and_changes_nothing(
    world: Any,
    make_exam: Callable[..., Any],
    *,
    item: str,
    response: object,
    status: int,
    code: str,
    pointer: str | None,
) -> None:
    exam = await make_exam("north")
    (candidate,) = exam.candidates
    attempt = (await candidate.post("/attempts", {"assignment_id": exam.assignments[candidate.ref]})).json()[
        "attempt_id"
    ]
    answer = await candidate.put(f"/attempts/{attempt}/answers/{item}", {"response": response})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert [error["pointer"] for error in answer.json().get("errors", [])] == ([pointer] if pointer else [])
    assert await world.events("assessment.attempt.answered") == []


async def test_late_answers_are_refused_and_what_was_saved_can_be_handed_in(
    world: Any, make_exam: Callable[..., Any]
) -> None:
    exam = await make_exam("north")
    (candidate,) = exam.candidates
    attempt = (await candidate.post("/attempts", {"assignment_id": exam.assignments[candidate.ref]})).json()[
        "attempt_id"
    ]
    await candidate.put(f"/attempts/{attempt}/answers/q3", {"response": False})
    world.clock.advance(minutes=40)
    fresh = world.sign_in(candidate.ref, world.aurora, candidate.unit, ["candidate"], (candidate.unit,))
    late = await fresh.put(f"/attempts/{attempt}/answers/q3", {"response": True})
    assert (late.status_code, late.json()["code"]) == (409, "attempt_expired")
    assert (await fresh.post(f"/attempts/{attempt}/submission")).status_code == 201
    again = await fresh.post(f"/attempts/{attempt}/submission")
    assert (again.status_code, again.json()["code"]) == (409, "attempt_submitted")
    await world.work()
    assert (await fresh.get("/my/results")).json()["results"][0]["points_milli"] == 1000


async def test_an_assignment_gives_one_attempt(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north")
    (candidate,) = exam.candidates
    body = {"assignment_id": exam.assignments[candidate.ref]}
    key = uuid4().hex
    first = await candidate.post("/attempts", body, key)
    replay = await candidate.post("/attempts", body, key)
    second = await candidate.post("/attempts", body)
    assert (first.status_code, first.content) == (replay.status_code, replay.content)
    assert replay.headers["idempotency-replayed"] == "true"
    assert second.json()["code"] == "attempt_already_started"
    assert len(await world.events("assessment.attempt.started")) == 1


async def test_an_assignment_can_be_taken_back_until_it_is_started(make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north", "south")
    early, late = exam.candidates
    assert (await exam.author.post(f"/assignments/{exam.assignments[early.ref]}/revoke")).status_code == 200
    refused = await early.post("/attempts", {"assignment_id": exam.assignments[early.ref]})
    assert refused.json()["code"] == "assignment_revoked"
    await late.post("/attempts", {"assignment_id": exam.assignments[late.ref]})
    kept = await exam.author.post(f"/assignments/{exam.assignments[late.ref]}/revoke")
    assert kept.json()["code"] == "assignment_started"


async def test_unknown_people_are_named_by_pointer_and_nobody_is_assigned(
    world: Any, make_exam: Callable[..., Any]
) -> None:
    exam = await make_exam()
    known = await world.person("candidate", unit="north")
    foreign = await world.person("candidate", tenant=world.borealis, unit="north")
    answer = await exam.author.post(
        "/assignments",
        {"evaluation_id": exam.evaluation_id, "version": 1, "people": [known.ref, foreign.ref, known.ref]},
    )
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/people/1", "/people/2"]
    assert await world.events("assessment.assignment.issued") == []


async def test_an_evaluation_that_contradicts_itself_is_refused(world: Any, document: dict[str, Any]) -> None:
    author = await world.person("author")
    document["items"][0]["key"] = ["z"]
    answer = await author.post("/evaluations", document)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/items/0/key/0")
    document["items"][0]["surprise"] = 1
    assert (await author.post("/evaluations", document)).status_code == 400
    assert await world.events() == []


async def test_every_event_of_a_command_carries_its_idempotency_key(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam()
    candidate = await world.person("candidate", unit="north")
    key = uuid4().hex
    await exam.author.post(
        "/assignments", {"evaluation_id": exam.evaluation_id, "version": 1, "people": [candidate.ref]}, key
    )
    assert sorted(event.type for event in await world.events(key=key)) == [
        "assessment.assignment.issued",
        "assessment.evaluation.released",
    ]
