"""Events are those of the paper that the project began with; what was added stands here, one by one."""

import re
from pathlib import Path

import pytest
from tallystick_contracts.message import LogKind
from tallystick_contracts.registry import REGISTRY, log_of

PAPER = Path(__file__).resolve().parents[4] / "shared" / "EVENTS.md"
ADDED = {
    "assessment": {"attempt.answered", "content_key.rotated", "erasure_receipt.given", "evaluation.released"},
    "identity": {
        "credential_key.rotated",
        "erasure_receipt.given",
        "org_unit.created",
        "sign_in_policy.changed",
        "sso_provider.changed",
        "tenant.created",
        "user.address_changed",
        "user.disabled",
        "user.enabled",
    },
    "ledger": {
        "audit_key.rotated",
        "audit_log.dropped",
        "erasure_receipt.given",
        "hold.placed",
        "hold.released",
        "period.succeeded",
        "publication.started",
        "publication.stopped",
        "siem_destination.added",
        "siem_destination.changed",
        "siem_destination.removed",
        "siem_destination.replayed",
        "siem_key.rotated",
    },
    "ops": {"dead_letter.discarded"},
    "privacy": {"erasure.ordered", "erasure_receipt.given", "key.minted", "opening_key.rotated", "tenant_key.minted"},
    "verification": {"erasure_receipt.given"},
}
_ROW = re.compile(r"^\| \d+a? \| (?P<types>.+?) \| (?P<log>[AL+]+) \| (?P<must_record>yes)? ?\|", re.MULTILINE)


@pytest.fixture(scope="module")
def paper() -> dict[str, tuple[str, bool]]:
    """Return the paper's types with their logs (`A`, `L`, `A+L`) and whether they must be recorded."""
    if not PAPER.exists():
        pytest.skip("the paper lies beside the project, not in it")
    found = {}
    for row in _ROW.finditer(PAPER.read_text(encoding="utf-8")):
        for group in re.sub(r"\([^)]*\)", "", row["types"]).split(","):
            name: list[str] = []
            for part in group.split("/"):  # `a.b.made / dropped`: the later ones replace the first one's end
                end = part.strip().split(".")
                name = [*name[: -len(end)], *end]
                found[".".join(name)] = (row["log"], row["must_record"] is not None)
    return found


def test_what_the_paper_does_not_have_is_listed_here(paper: dict[str, tuple[str, bool]]) -> None:
    added = {f"{service}.{each}" for service, types in ADDED.items() for each in types}
    assert {entry.type for entry in REGISTRY} - set(paper) == added


def test_what_the_paper_has_goes_to_its_log_and_is_recorded_where_it_must_be(
    paper: dict[str, tuple[str, bool]],
) -> None:
    shared = [entry for entry in REGISTRY if entry.type in paper]
    assert len(shared) > 40
    for entry in shared:
        log, must_record = paper[entry.type]
        assert entry.must_record == must_record, entry.type
        # An aggregate goes whole to the compliance log as soon as one of its types does.
        if "L" in log:
            assert log_of(entry.service or "identity", entry.aggregate) is LogKind.COMPLIANCE, entry.type
        elif entry.log is LogKind.COMPLIANCE:
            siblings = {paper[one.type][0] for one in shared if one.type.startswith(f"{entry.type.rsplit('.', 1)[0]}.")}
            assert any("L" in one for one in siblings), entry.type
