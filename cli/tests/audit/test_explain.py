"""`tally audit explain` and `state`: what an entry is and what was true then, in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.audit.event_types import event_kinds
from tallystick_contracts.auditor_table import render
from tallystick_contracts.registry import REGISTRY
from tallystick_tlog.samples import SIGNER, event, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]
Chain = Callable[..., list[bytes]]
SCORE = "assessment.score.recorded"


def score(number: int, **changes: object) -> bytes:
    """A score version of one submission."""
    data = {"passed": True, "pointsMilli": 1000 * number, "submissionId": "s1"}
    base = {"data": data, "stream": "score-s1", "stream_version": number + 1, "type": SCORE}
    return event(number, **(base | {"time": f"2026-11-2{number + 1}T10:00:00Z"} | changes))


@pytest.fixture
def scores(export: Export, chain: Chain) -> Path:
    """Four score versions; the last one is not a pass, which ProtoJSON leaves out."""
    parts = [score(number) for number in range(3)]
    parts.append(score(3, data={"pointsMilli": 1, "submissionId": "s1"}, causation=json.loads(parts[1])["id"]))
    return export(chain((part, {"recorded": f"2026-11-2{at + 1}T10:00:01.000000Z"}) for at, part in enumerate(parts)))


def test_the_tables_that_are_shipped_are_the_registrys() -> None:
    assert {path: path.read_bytes() for path in render()} == render()
    assert len(event_kinds()) == len(REGISTRY)
    assert event_kinds()["identity.user.created", 1].sealed == ("name", "email")


def test_an_entry_is_explained_in_words(scores: Path, run: Run) -> None:
    result = run("audit", "explain", scores, 3, "--key", KEY)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "What:    A score version was recorded for a submission." in result.stdout
    assert "Request: c0ffee, which left 3 more entries here" in result.stdout
    assert "Because: entry 1 of" in result.stdout
    assert "passed: false" in result.stdout
    assert "1.000 s later" in result.stdout


@pytest.mark.parametrize("odd", ['quoted "so"', "back\\slash", "line\nfeed", "Zoë"])
def test_what_belongs_together_is_found_however_it_is_written_in_json(
    odd: str, export: Export, chain: Chain, run: Run
) -> None:
    cause = event(0, correlation=odd, id=odd)
    folder = export(chain((part, {}) for part in (cause, event(1, correlation=odd, causation=odd))))
    found = json.loads(run("audit", "explain", folder, 1, "--json").stdout)
    assert (found["same_request_count"], [one["id"] for one in found["causes"]]) == (1, [odd])
    found = json.loads(run("audit", "explain", folder, odd, "--json").stdout)
    assert (found["seq"], len(found["effects"])) == (0, 1)


def test_an_entry_is_found_by_its_event_id_in_any_log(scores: Path, run: Run, export: Export) -> None:
    ident = "00000000-0000-7000-8000-000000000001"
    result = run("audit", "explain", scores, ident, "--json")
    found = json.loads(result.stdout)
    assert (found["seq"], found["id"]) == (1, ident)
    assert [item["seq"] for item in found["effects"]] == [3]
    assert run("audit", "explain", scores, "00000000-nowhere").exit_code == 2
    assert run("audit", "explain", scores, 99).exit_code == 2
    export(2, name="all/a")
    assert run("audit", "explain", export(2, name="all/b").parent, 1).exit_code == 2


def test_causes_are_followed_through_other_requests_and_a_missing_one_is_named(
    export: Export, chain: Chain, run: Run
) -> None:
    ids = [f"00000000-0000-7000-8000-{at:012}" for at in range(5)]
    parts = [event(at, correlation=f"request-{at}", causation=ids[at - 1] if at else "elsewhere-1") for at in range(4)]
    folder = export(chain((part, {}) for part in parts))
    found = json.loads(run("audit", "explain", folder, 3, "--json").stdout)
    assert [item["seq"] for item in found["causes"]] == [2, 1, 0]
    assert found["cause_missing"] == "elsewhere-1"
    assert found["same_request_count"] == 0


def test_an_unknown_type_sealed_values_and_control_characters_are_told_safely(
    export: Export, chain: Chain, run: Run
) -> None:
    data = {"email": {"box": "AAAA", "keyId": "k_1"}, "note": "\u001b[31mred\u202e"}
    folder = export(chain([(event(0, type="x.thing.happened", data=data, subject="[red]s[/red]"), {})]))
    result = run("audit", "explain", folder, 0)
    assert "Thing happened" in result.stdout
    assert "can be read with key k_1 alone" in result.stdout
    assert "About:   [red]s[/red]" in result.stdout
    assert "\x1b[31m" not in result.stdout
    assert "\u202e" not in result.stdout
    assert run("audit", "explain", folder, 0, "--json").stdout.isascii()


def test_a_damaged_log_is_explained_as_far_as_it_holds(export: Export, run: Run, tmp_path: Path) -> None:
    lines, tree = log(5)
    lines[3] = lines[3].replace(b'"done"', b'"gone"')
    result = run("audit", "explain", export(lines, tree=tree), 0)
    assert result.exit_code == 1
    assert "Entry 0 of" in result.stdout
    assert "damaged: entry 3" in result.stderr
    beyond = run("audit", "explain", tmp_path / "log", 4)
    assert (beyond.exit_code, beyond.stdout.split(":")[0]) == (1, "not proved")


def state(run: Run, folder: Path, at: str, *arguments: object) -> dict[str, Any]:
    result = run("audit", "state", folder, "--stream", "score-s1", "--at", at, "--json", "--key", KEY, *arguments)
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)["states"]
    return dict(found)


def test_the_state_is_the_fold_of_what_had_happened_by_then(scores: Path, run: Run) -> None:
    found = state(run, scores, "2026-11-22T10:00:00Z")
    assert [step["stream_version"] for step in found["steps"]] == [1, 2]
    assert found["fields"]["pointsMilli"]["value"] == "1000"
    assert found["fields"]["passed"]["value"] == "true"
    assert (found["later"], found["missing"]) == (2, [])
    assert state(run, scores, "2026-11-20")["fields"] == {}


def test_a_field_that_an_event_leaves_out_is_at_its_default_again(scores: Path, run: Run) -> None:
    found = state(run, scores, "2026-11-24")
    assert found["fields"]["passed"]["value"] == "false"
    assert found["fields"]["passed"]["stream_version"] == 4


def test_the_moment_can_be_of_happening_or_of_recording(scores: Path, run: Run) -> None:
    at = "2026-11-21T10:00:00.500000+00:00"
    assert len(state(run, scores, at)["steps"]) == 1
    assert len(state(run, scores, at, "--by", "recorded")["steps"]) == 0


def test_a_version_that_is_not_here_is_named(export: Export, chain: Chain, run: Run) -> None:
    folder = export(chain([(score(0), {}), (score(2), {})]))
    assert state(run, folder, "2026-11-24")["missing"] == [2]
    words = run("audit", "state", folder, "--stream", "score-s1", "--at", "2026-11-24").stdout
    assert "not in these logs: event 2 of this stream" in words


def test_a_wrong_time_or_stream_is_one_line_and_status_2(scores: Path, run: Run) -> None:
    for stream, at in (
        ("score-s1", "yesterday"),
        ("nothing", "2026-11-24"),
        ("score-s1", ""),
        ("score-s1", "9999-12-31T23:59:59-12:00"),
        ("score-s1", "0001-01-01T00:00:00+14:00"),
    ):
        result = run("audit", "state", scores, "--stream", stream, "--at", at)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
