"""A wrongly keyed question: dry run, apply, revert, apply; each once, all or nothing, nothing lost."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from tallystick_assessment.remediation import commands as remediation_commands

BORDERLINE = {"q1": "b", "q2": ["a", "c"], "q3": False, "q6": ["b", "a", "c"], "q9": ["a", "b"]}  # 6 of 12 points
WRONG_KEY = BORDERLINE | {"q1": "a"}  # 8 of 12 points, 2 of them for the wrong key


async def proposed(exam: Any, **changes: Any) -> Any:
    body = {
        "evaluation_id": exam.evaluation_id,
        "version": 1,
        "item_id": "q1",
        "new_key": ["b"],
        "reason": "b is right; a was keyed by mistake",
    }
    return await exam.author.post("/remediations", body | changes)


async def points(exam: Any, submission: str) -> list[tuple[int, bool, str]]:
    history = (await exam.author.get(f"/submissions/{submission}/scores")).json()["versions"]
    return [(one["points_milli"], one["passed"], one["cause"]) for one in history]


@pytest.fixture
async def sat(world: Any, make_exam: Callable[..., Any]) -> tuple[Any, str, str, str]:
    """Three have sat: one who gains by the right key, one who loses, one whom it does not touch."""
    exam = await make_exam("north", "south", "south")
    gains = await exam.sit(exam.candidates[0], BORDERLINE)
    loses = await exam.sit(exam.candidates[1], WRONG_KEY)
    same = await exam.sit(exam.candidates[2], {"q3": False})
    await world.work()
    return exam, gains, loses, same


@pytest.mark.control("EV-14c")
async def test_dry_run_apply_revert_apply(sat: tuple[Any, str, str, str]) -> None:
    exam, gains, loses, same = sat
    answer = await proposed(exam)
    assert answer.status_code == 201, answer.text
    state = answer.json()
    assert (state["status"], state["considered"], state["affected"], state["changed_pass"]) == ("proposed", 3, 2, 2)
    path = f"/remediations/{state['remediation_id']}"
    view = (await exam.author.get(path)).json()
    before_after = {
        change["submission_id"]: (change["points_before_milli"], change["points_after_milli"])
        for change in view["changes"]
    }
    assert before_after == {gains: (6000, 8000), loses: (8000, 6000)}
    assert await points(exam, gains) == [(6000, False, "automatic")]

    applied = (await exam.author.post(f"{path}/apply")).json()
    reverted = (await exam.author.post(f"{path}/revert")).json()
    again = (await exam.author.post(f"{path}/apply")).json()
    assert [one["application"] for one in (applied, reverted, again)] == [1, 1, 2]
    assert await points(exam, gains) == [
        (6000, False, "automatic"),
        (8000, True, "remediation_applied"),
        (6000, False, "remediation_reverted"),
        (8000, True, "remediation_applied"),
    ]
    assert len(await points(exam, loses)) == 4
    assert await points(exam, same) == [(1000, False, "automatic")]
    history = (await exam.author.get(f"/submissions/{gains}/scores")).json()["versions"]
    assert history[2]["items"] == history[0]["items"]
    steps = (await exam.author.get(path)).json()["steps"]
    assert [(one["kind"], one["application"], one["affected"]) for one in steps] == [
        ("applied", 1, 2),
        ("reverted", 1, 2),
        ("applied", 2, 2),
    ]


@pytest.mark.control("EV-14c")
async def test_apply_and_revert_have_one_effect_each(world: Any, sat: tuple[Any, str, str, str]) -> None:
    exam, gains, _, _ = sat
    path = f"/remediations/{(await proposed(exam)).json()['remediation_id']}"
    early = await exam.author.post(f"{path}/revert")
    assert (early.status_code, early.json()["code"]) == (409, "remediation_not_applied")
    key = uuid4().hex
    first = await exam.author.post(f"{path}/apply", key=key)
    replay = await exam.author.post(f"{path}/apply", key=key)
    other = await exam.author.post(f"{path}/apply")
    assert first.content == replay.content == other.content
    events = await world.events(key=key)
    assert sorted(event.type for event in events) == [
        "assessment.remediation.applied",
        "assessment.score.recorded",
        "assessment.score.recorded",
    ]
    for _ in range(2):
        assert (await exam.author.post(f"{path}/revert")).json()["status"] == "reverted"
    assert len(await points(exam, gains)) == 3
    assert len(await world.events("assessment.remediation.reverted")) == 1


@pytest.mark.control("EV-14c")
async def test_a_crash_in_the_middle_leaves_nothing_behind(
    sat: tuple[Any, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exam, gains, loses, _ = sat
    path = f"/remediations/{(await proposed(exam)).json()['remediation_id']}"

    async def crash(*_: Any, **__: Any) -> None:
        message = "killed"
        raise OSError(message)

    with monkeypatch.context() as patched:
        # After every score version was written, before the step was.
        patched.setattr(remediation_commands.store, "insert_step", crash)
        assert (await exam.author.post(f"{path}/apply")).status_code == 500
    assert len(await points(exam, gains)) == len(await points(exam, loses)) == 1
    assert (await exam.author.get(path)).json()["status"] == "proposed"
    assert (await exam.author.post(f"{path}/apply")).json()["status"] == "applied"


async def test_two_at_once_apply_it_once(world: Any, sat: tuple[Any, str, str, str]) -> None:
    exam, gains, _, _ = sat
    path = f"/remediations/{(await proposed(exam)).json()['remediation_id']}"
    both = await asyncio.gather(*(exam.author.post(f"{path}/apply") for _ in range(2)))
    assert [one.status_code for one in both] == [200, 200]
    assert len(await points(exam, gains)) == 2
    assert len(await world.events("assessment.remediation.applied")) == 1


async def test_scores_that_moved_since_the_dry_run_make_it_stale(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north", "north")
    await exam.sit(exam.candidates[0], BORDERLINE)
    await world.work()
    path = f"/remediations/{(await proposed(exam)).json()['remediation_id']}"
    await exam.sit(exam.candidates[1], BORDERLINE)
    await world.work()
    stale = await exam.author.post(f"{path}/apply")
    assert (stale.status_code, stale.json()["code"]) == (409, "remediation_stale")


async def test_who_submits_later_is_scored_with_the_key_in_force(world: Any, make_exam: Callable[..., Any]) -> None:
    exam = await make_exam("north", "north")
    await exam.sit(exam.candidates[0], BORDERLINE)
    await world.work()
    path = f"/remediations/{(await proposed(exam)).json()['remediation_id']}"
    await exam.author.post(f"{path}/apply")
    late = await exam.sit(exam.candidates[1], BORDERLINE)
    await world.work()
    assert await points(exam, late) == [(6000, False, "automatic"), (8000, True, "remediation_applied")]
    await exam.author.post(f"{path}/revert")
    assert (await points(exam, late))[-1] == (6000, False, "remediation_reverted")


async def test_the_later_remediation_of_an_item_comes_off_first(sat: tuple[Any, str, str, str]) -> None:
    exam, gains, _, _ = sat
    first = f"/remediations/{(await proposed(exam)).json()['remediation_id']}"
    await exam.author.post(f"{first}/apply")
    second = f"/remediations/{(await proposed(exam, new_key=['a', 'b'])).json()['remediation_id']}"
    await exam.author.post(f"{second}/apply")
    refused = await exam.author.post(f"{first}/revert")
    assert refused.json()["code"] == "remediation_superseded"
    await exam.author.post(f"{second}/revert")
    await exam.author.post(f"{first}/revert")
    assert (await points(exam, gains))[-1][0] == 6000


async def test_a_proposal_that_makes_no_sense_is_refused(world: Any, sat: tuple[Any, str, str, str]) -> None:
    exam = sat[0]
    for changes, status, code in (
        ({"new_key": ["a"]}, 422, "key_unchanged"),
        ({"new_key": ["z"]}, 422, "key_invalid"),
        ({"new_key": "b"}, 422, "key_invalid"),
        ({"item_id": "q99"}, 422, "item_unknown"),
        ({"item_id": "q8"}, 422, "key_invalid"),
        ({"version": 2}, 404, "not_found"),
        ({"reason": ""}, 400, "validation_failed"),
    ):
        answer = await proposed(exam, **changes)
        assert (answer.status_code, answer.json()["code"]) == (status, code), changes
    assert await world.events("assessment.remediation.proposed") == []


async def test_a_remediation_needs_every_unit_and_a_recent_sign_in(world: Any, sat: tuple[Any, str, str, str]) -> None:
    exam = sat[0]
    partial = await world.person("author", units=[world.aurora.id, world.aurora.units["north"]])
    body = {"evaluation_id": exam.evaluation_id, "version": 1, "item_id": "q1", "new_key": ["b"], "reason": "x"}
    refused = await partial.post("/remediations", body)
    assert (refused.status_code, refused.json()["code"]) == (403, "units_not_covered")
    path = f"/remediations/{(await proposed(exam)).json()['remediation_id']}"
    stale = await world.person("author", auth_age_s=3600)
    answer = await stale.post(f"{path}/apply")
    assert (answer.status_code, answer.json()["code"]) == (401, "step_up_required")


async def test_the_reason_and_the_key_stay_out_of_the_event(world: Any, sat: tuple[Any, str, str, str]) -> None:
    exam = sat[0]
    await proposed(exam)
    (event,) = await world.events("assessment.remediation.proposed")
    assert event.data.reason.box
    assert "mistake" not in str(event.data)
    assert len(event.data.new_key_hash) == 64
