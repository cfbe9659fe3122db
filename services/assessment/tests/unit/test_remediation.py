"""Remediation: a state machine over two competing changes of one item and one of another."""

from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import sampled_from
from tallystick_assessment.refusals import RemediationNotApplied, RemediationStale, RemediationSuperseded
from tallystick_assessment.remediation import domain
from tallystick_assessment.remediation.domain import Diff, Remediation, RemediationId, Sitting, Status, SubmissionId
from tallystick_assessment.scoring.domain import Score, scored
from tallystick_contracts.generated.assessment import RemediationApplied, RemediationProposed, RemediationReverted

PASS = 60
SUBMISSIONS = [UUID(int=number) for number in range(1, 4)]


def sitting(number: int, score: Score, after: int, *, certificate: bool = False) -> Sitting:
    return Sitting(SUBMISSIONS[number], f"p_{number}", UUID(int=50), score, after, certificate)


def test_a_dry_run_lists_only_those_who_change_and_who_passes_otherwise() -> None:
    low, high = scored({"q1": 0, "q2": 1000}, 2000, PASS), scored({"q1": 1000, "q2": 1000}, 2000, PASS)
    diff = domain.dry_run(
        [sitting(2, low, 1000), sitting(0, high, 1000), sitting(1, high, 0, certificate=True)],
        item_id="q1",
        pass_mark_percent=PASS,
    )
    assert [change.submission_id for change in diff.changes] == [SUBMISSIONS[1], SUBMISSIONS[2]]
    assert [change.certificate_at_risk for change in diff.changes] == [True, False]
    assert (diff.considered, diff.changed_pass) == (3, 2)


@pytest.mark.control("EV-14c")
def test_what_was_not_applied_cannot_be_reverted() -> None:
    with pytest.raises(RemediationNotApplied):
        domain.revert(Remediation(), remediation_id=RemediationId(UUID(int=1)), in_force=None)


def test_a_submission_scored_after_the_dry_run_makes_it_stale() -> None:
    with pytest.raises(RemediationStale):
        domain.apply(
            Remediation(),
            diff=Diff(0, ()),
            item_id="q1",
            base=None,
            in_force=None,
            scores={SubmissionId(SUBMISSIONS[0]): scored({"q1": 0}, 1000, PASS)},
        )


@dataclass
class Proposed:
    """A remediation as the store keeps it: what was reviewed, its events, and what each application replaced."""

    item: str
    base: RemediationId | None
    diff: Diff
    state: Remediation
    replaced: dict[UUID, int] = field(default_factory=dict)


class Remediations(RuleBasedStateMachine):
    """Score versions are a plain list for each submission; the model is the stack of remediations in force."""

    def __init__(self) -> None:
        super().__init__()
        start = scored({"q1": 0, "q2": 0}, 2000, PASS)
        self.versions: dict[UUID, list[Score]] = {submission: [start] for submission in SUBMISSIONS}
        self.proposals: dict[RemediationId, Proposed] = {}
        self.stack: list[tuple[RemediationId, dict[UUID, Score]]] = []

    def in_force(self, item: str) -> RemediationId | None:
        return next((one for one, _ in reversed(self.stack) if self.proposals[one].item == item), None)

    def newest(self) -> dict[SubmissionId, Score]:
        return {SubmissionId(submission): versions[-1] for submission, versions in self.versions.items()}

    @precondition(lambda self: len(self.proposals) < 6)
    @rule(item=sampled_from(["q1", "q2"]), after=sampled_from([0, 400, 1000]), spared=sampled_from(SUBMISSIONS))
    def propose(self, item: str, after: int, spared: UUID) -> None:
        sittings = [
            Sitting(
                submission,
                "p",
                UUID(int=50),
                score,
                score.items[item] if submission == spared else after,
                holds_certificate=False,
            )
            for submission, score in self.newest().items()
        ]
        diff = domain.dry_run(sittings, item_id=item, pass_mark_percent=PASS)
        state = domain.fold([RemediationProposed()])
        self.proposals[RemediationId(UUID(int=100 + len(self.proposals)))] = Proposed(
            item, self.in_force(item), diff, state
        )

    @precondition(lambda self: self.proposals)
    @rule(number=sampled_from(range(6)))
    def apply(self, number: int) -> None:
        chosen = list(self.proposals)[number % len(self.proposals)]
        proposed = self.proposals[chosen]
        try:
            effect = domain.apply(
                proposed.state,
                diff=proposed.diff,
                item_id=proposed.item,
                base=proposed.base,
                in_force=self.in_force(proposed.item),
                scores=self.newest(),
            )
        except RemediationStale:
            assert proposed.state.status is not Status.APPLIED
            return
        assert effect is (proposed.state.status is not Status.APPLIED)
        if not effect:
            return
        proposed.replaced = {}
        for change in proposed.diff.changes:
            versions = self.versions[change.submission_id]
            proposed.replaced[change.submission_id] = versions[-1].items[proposed.item]
            versions.append(domain.with_item(versions[-1], proposed.item, change.item_after_milli, PASS))
        self.stack.append((chosen, {}))
        proposed.state = domain.evolve(proposed.state, RemediationApplied(application=proposed.state.application + 1))

    @precondition(lambda self: self.proposals)
    @rule(number=sampled_from(range(6)))
    def revert(self, number: int) -> None:
        chosen = list(self.proposals)[number % len(self.proposals)]
        proposed = self.proposals[chosen]
        try:
            effect = domain.revert(proposed.state, remediation_id=chosen, in_force=self.in_force(proposed.item))
        except RemediationNotApplied:
            assert proposed.state.status is Status.PROPOSED
            return
        except RemediationSuperseded:
            assert self.in_force(proposed.item) != chosen
            return
        if not effect:
            return
        for submission, before in proposed.replaced.items():
            versions = self.versions[submission]
            versions.append(domain.with_item(versions[-1], proposed.item, before, PASS))
        self.stack = [entry for entry in self.stack if entry[0] != chosen]
        proposed.state = domain.evolve(proposed.state, RemediationReverted())

    @invariant()
    def scores_are_what_the_remediations_in_force_say(self) -> None:
        for submission, versions in self.versions.items():
            expected = {"q1": 0, "q2": 0}
            for chosen, _ in self.stack:
                proposed = self.proposals[chosen]
                for change in proposed.diff.changes:
                    if change.submission_id == submission:
                        expected[proposed.item] = change.item_after_milli
            assert versions[-1] == scored(expected, 2000, PASS)


Remediations.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestRemediations = pytest.mark.control("EV-14c")(Remediations.TestCase)
