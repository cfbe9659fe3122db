"""Who takes part and what they are asked: read from files, the project's demo set or one that is named."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tallystick_cli.cluster.steps import StepFailed

OWN_DATA = Path(__file__).resolve().parents[2] / "data"


@dataclass(frozen=True, slots=True)
class Participant:
    """One row of a people file: a candidate or a member of staff. ``org_unit`` is a path such as ``north/blue``."""

    tenant: str
    org_unit: str
    email: str
    display_name: str
    role: str


@dataclass(frozen=True, slots=True)
class Cohort:
    """The evaluation (as its file says it), the candidates, and the staff of their tenants."""

    evaluation: dict[str, Any]
    candidates: tuple[Participant, ...]
    staff: tuple[Participant, ...]

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants' slugs, in the order of the file."""
        return tuple(dict.fromkeys(candidate.tenant for candidate in self.candidates))

    def candidates_of(self, tenant: str) -> list[Participant]:
        """Return one tenant's candidates."""
        return [candidate for candidate in self.candidates if candidate.tenant == tenant]

    def staff_of(self, tenant: str) -> list[Participant]:
        """Return one tenant's staff, its administrator among them."""
        return [member for member in self.staff if member.tenant == tenant]


def load(folder: Path) -> Cohort:
    """Read ``evaluation.yaml`` and ``candidates.csv`` from ``folder``, and staff from it or from the project's own set.

    Raises:
        StepFailed: naming the file that is missing or unreadable.
    """
    try:
        evaluation = yaml.safe_load((folder / "evaluation.yaml").read_text(encoding="utf-8"))
        candidates = _people(folder / "candidates.csv")
        staff_file = folder / "staff.csv"
        patterns = _people(staff_file if staff_file.exists() else OWN_DATA / "staff.csv")
    except (OSError, yaml.YAMLError, KeyError, csv.Error, UnicodeDecodeError) as error:
        msg = f"cannot read the demo's input in {folder}: {error}"
        raise StepFailed(msg) from error
    tenants = dict.fromkeys(candidate.tenant for candidate in candidates)
    # The staff file is a pattern: `*` stands for each tenant that has candidates.
    staff = tuple(
        Participant(
            tenant, each.org_unit, each.email.replace("*", tenant), each.display_name.replace("*", tenant), each.role
        )
        for tenant in tenants
        for each in patterns
        if each.tenant in {"*", tenant}
    )
    return Cohort(as_document(evaluation), candidates, staff)


def _people(path: Path) -> tuple[Participant, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Participant(row["tenant"], row["org_unit"], row["email"], row["display_name"], row["role"])
            for row in csv.DictReader(file)
        )


def as_document(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """Return the evaluation as JSON has it: every name in an object is a string (YAML reads ``1:`` as a number).

    A plain comma within ``{a: this, or that, b: those}`` splits a text, and YAML then sees a name without a value; the
    author meant the comma, so the pieces are joined again.
    """
    if isinstance(value, list):
        return [as_document(each) for each in value]
    if not isinstance(value, dict):
        return value
    document: dict[str, Any] = {}
    last = ""
    for name, each in value.items():
        if each is None and isinstance(document.get(last), str):
            document[last] += f", {name}"
        else:
            last = str(name)
            document[last] = as_document(each)
    return document


def answer(item: dict[str, Any], *, right: bool) -> Any:  # noqa: ANN401, PLR0911 - as many forms as there are item types
    """Return the answer to an item in the form that the API takes: what its key says, or something else."""
    kind = item["type"]
    if kind == "essay":
        return "Risk: nobody sees a mistake. Control: review. Risk: nobody can undo it. Control: staged roll-out."
    if kind == "short_text":
        return item["accept"][0] if right else "I do not know"
    key = item["key"]
    if kind == "numeric":
        return key["value"] if right else key["value"] + 7
    if kind == "matching":
        return key if right else dict(zip(key, [*list(key.values())[1:], next(iter(key.values()))], strict=True))
    if kind == "true_false":
        return key[0] if right else not key[0]
    if kind == "ordering":
        return key if right else key[::-1]
    if kind == "multiple_choice":
        return key if right else key[:1]
    return key[0] if right else next(option for option in item["options"] if option not in key)
