"""Versions never change: an edit is a new one, and what was handed in stays under the old."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest


@pytest.mark.control("EV-14a")
async def test_an_edit_makes_version_two_and_leaves_version_one(
    world: Any, make_exam: Callable[..., Any], document: dict[str, Any]
) -> None:
    exam = await make_exam()
    before = (await exam.author.get(f"/evaluations/{exam.evaluation_id}/versions/1")).content
    document["items"][0]["key"] = ["b"]
    edited = (await exam.author.post("/evaluations", document)).json()
    assert (edited["evaluation_id"], edited["version"]) == (exam.evaluation_id, 2)
    assert [one["version"] for one in edited["questions"]] == [2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert (await exam.author.get(f"/evaluations/{exam.evaluation_id}/versions/1")).content == before
    same = await exam.author.post("/evaluations", document)
    assert (same.status_code, same.json()["code"]) == (409, "evaluation_unchanged")
    published = await world.events("assessment.evaluation.version_published")
    assert [event.data.version for event in published] == [1, 2]
    assert len(await world.events("assessment.question.version_published")) == 10


@pytest.mark.control("EV-14b")
async def test_a_submission_keeps_the_snapshot_and_the_score_it_was_taken_under(
    world: Any, make_exam: Callable[..., Any], document: dict[str, Any], right: dict[str, Any]
) -> None:
    exam = await make_exam("north")
    submission = await exam.sit(exam.candidates[0], right)
    before = (await exam.author.get(f"/submissions/{submission}")).json()
    document["items"][0]["key"] = ["b"]
    document["pass_mark_percent"] = 100
    assert (await exam.author.post("/evaluations", document)).status_code == 201
    await world.work()
    after = (await exam.author.get(f"/submissions/{submission}")).json()
    assert after == before
    assert (after["snapshot"]["version"], after["snapshot"]["pass_mark_percent"]) == (1, 60)
    (score,) = (await exam.author.get(f"/submissions/{submission}/scores")).json()["versions"]
    assert (score["points_milli"], score["passed"]) == (10_000, True)
    (finalised,) = await world.events("assessment.submission.finalised")
    (published,) = (await world.events("assessment.evaluation.version_published"))[:1]
    assert finalised.data.snapshot_hash == after["snapshot_hash"] == published.data.content_hash


@pytest.mark.control("EV-14b")
async def test_the_snapshot_hash_is_of_the_bytes_that_are_stored(make_exam: Callable[..., Any], superuser: Any) -> None:
    exam = await make_exam("north")
    await exam.sit(exam.candidates[0], {"q1": "a"})
    row = await superuser.fetchrow("select snapshot, snapshot_hash from assessment.submissions")
    assert sha256(row["snapshot"]).hexdigest() == row["snapshot_hash"]


async def test_releasing_again_makes_no_second_event(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam()
    units = [str(unit) for unit in world.aurora.units.values()]
    path = f"/evaluations/{exam.evaluation_id}/versions/1/releases"
    first = await exam.author.post(path, {"unit_ids": units})
    second = await exam.author.post(path, {"unit_ids": units})
    assert (first.json()["released"], second.json()["released"]) == (units, [])
    foreign = await exam.author.post(path, {"unit_ids": [str(world.borealis.units["north"])]})
    assert (foreign.status_code, foreign.json()["code"]) == (422, "units_unknown")
    assert len(await world.events("assessment.evaluation.released")) == 2
