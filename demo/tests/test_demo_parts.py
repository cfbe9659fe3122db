"""The demo's own judgement: what it counts as lost or done twice, and how it reads its input and its mail."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tallystick_cli.cluster.person import Accepted
from tallystick_cli.cluster.steps import StepFailed, require
from tallystick_demo.accounts import reckon
from tallystick_demo.cohort import OWN_DATA, answer, as_document, load
from tallystick_demo.journal import Journal
from tallystick_demo.mailbox import Mailbox
from tallystick_demo.operator import Stored
from tallystick_demo.report import first_reason


def _accepted(*keys: str) -> list[Accepted]:
    return [
        Accepted(key=key, route="POST x /y", who="a@b.example", status=201, correlation="c", replayed=False)
        for key in keys
    ]


NOTHING: frozenset[str] = frozenset()


def test_all_is_well_when_each_command_has_its_events_once() -> None:
    stored = [Stored("e1", "k1", "c1"), Stored("e2", "k1", "c1"), Stored("e3", "k2", "c2"), Stored("e4", None, "c3")]
    found = reckon(_accepted("k1", "k2"), stored, Counter(["e1", "e2", "e3", "e4"]), not_yet_exported=NOTHING)
    assert (found.lost, found.duplicates, found.commands, found.events, found.entries) == ((), (), 2, 4, 4)


def test_an_accepted_command_without_an_event_is_lost() -> None:
    found = reckon(_accepted("k1", "k2"), [Stored("e1", "k1", "c1")], Counter(["e1"]), not_yet_exported=NOTHING)
    assert found.lost == ("k2",)


def test_an_event_that_no_export_has_makes_its_command_lost_unless_it_asked_for_the_export() -> None:
    stored = [Stored("e1", "k1", "c1"), Stored("e2", "k1", "c1")]
    assert reckon(_accepted("k1"), stored, Counter(["e1"]), not_yet_exported=NOTHING).lost == ("k1",)
    assert reckon(_accepted("k1"), stored, Counter(["e1"]), not_yet_exported=frozenset({"k1"})).lost == ()


def test_a_key_in_two_transactions_was_done_twice_and_so_was_an_event_that_stands_twice() -> None:
    stored = [Stored("e1", "k1", "c1"), Stored("e2", "k1", "c2")]
    found = reckon(_accepted("k1"), stored, Counter(["e1", "e2", "e2"]), not_yet_exported=NOTHING)
    assert found.duplicates == ("k1", "e2")


def test_the_journal_is_on_disk_line_by_line(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.ndjson") as journal:
        for accepted in _accepted("k1", "k2"):
            journal.note(accepted)
        assert (tmp_path / "journal.ndjson").read_text().count("\n") == 2
    assert [one.key for one in journal.accepted] == ["k1", "k2"]


def test_the_own_input_has_two_tenants_sixty_candidates_and_staff_for_each() -> None:
    cohort = load(OWN_DATA)
    assert (len(cohort.tenants), len(cohort.candidates)) == (2, 60)
    for tenant in cohort.tenants:
        assert {member.role for member in cohort.staff_of(tenant)} == {
            "administrator",
            "author",
            "grader",
            "auditor",
            "privacy_officer",
        }


@pytest.mark.parametrize("item", load(OWN_DATA).evaluation["items"], ids=lambda item: item["type"])
def test_a_right_answer_is_the_key_and_a_wrong_one_is_not(item: dict[str, object]) -> None:
    if item["type"] == "essay":
        assert answer(item, right=True)
    else:
        assert answer(item, right=True) != answer(item, right=False)


def test_a_comma_that_yaml_took_for_a_separator_is_put_back() -> None:
    broken = {"a": "one", "b": "exactly the rights", "that it needs": None, 3: [True, {1: "x"}]}
    assert as_document(broken) == {"a": "one", "b": "exactly the rights, that it needs", "3": [True, {"1": "x"}]}


def test_input_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"evaluation\.yaml"):
        load(tmp_path)


async def test_the_newest_link_of_an_address_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for number, token in enumerate(("a" * 30, "b" * 30)):
        link = f"https://127.0.0.1:1/sign-in/aurora/verify#request-{number}.{token}"
        (tmp_path / "new" / f"{number}").write_text(f"To: Ada@Example.org\nSubject: x\n\nOpen\n\n{link}\n")
    mailbox = Mailbox(tmp_path)
    link = await mailbox.next_link("ada@example.org", timeout_s=1)
    assert (link.request_id, link.token) == ("request-1", "b" * 30)
    with pytest.raises(StepFailed, match="no sign-in mail"):
        await mailbox.next_link("ada@example.org", timeout_s=0.1)


def test_a_failure_in_a_group_is_told_by_its_first_reason() -> None:
    with pytest.raises(StepFailed) as caught:
        require(condition=False, otherwise="it did not hold")
    assert first_reason(ExceptionGroup("tasks", [ExceptionGroup("inner", [caught.value])])) == "it did not hold"
    assert first_reason(ValueError("x")) == "ValueError: x"
