"""Reads ``docs/security/asvs.yaml`` and the tests that there are, without importing any."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import yaml

ROOT = Path(__file__).parents[3]
MAP = ROOT / "docs/security/asvs.yaml"
STANDARD = ROOT.parent / "shared/asvs/OWASP_Application_Security_Verification_Standard_5.0.0_en.csv"
"""The standard's own table. It lies beside the project, not in it."""
LEVELS = {"1", "2"}
NEVER_RUN = {"skip", "skipif", "xfail"}

Status = Literal["implemented", "not_applicable", "open"]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement. ``tests`` are ``file::function``; ``until`` says what must happen before the row closes."""

    id: str
    status: Status
    why: str
    tests: tuple[str, ...] = ()
    until: str = ""


def read_map(path: Path = MAP) -> list[Row]:
    """Return the rows of the map, in the file's order.

    Raises:
        msgspec.ValidationError: if a row has another shape.
    """
    return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), list[Row])


def required_ids(standard: Path = STANDARD) -> list[str]:
    """Return the ids of levels 1 and 2, in the standard's order."""
    with standard.open(encoding="utf-8-sig", newline="") as table:
        return [row["req_id"] for row in csv.DictReader(table) if row["L"] in LEVELS]


def faults_of(row: Row, tests: dict[str, set[str]]) -> Iterator[str]:
    """Say what is wrong with a row, given all tests there are and the marks that may keep each from running."""
    if not row.why.strip():
        yield f"{row.id}: says not why"
    if row.status == "implemented" and not row.tests:
        yield f"{row.id}: implemented, and no test"
    if (row.status == "open") != bool(row.until.strip()):
        yield f"{row.id}: `until` belongs to open rows, and to each of them"
    if len(set(row.tests)) < len(row.tests):
        yield f"{row.id}: names a test twice"
    for name in row.tests:
        if name not in tests:
            yield f"{row.id}: there is no test {name}"
        elif tests[name] & NEVER_RUN:
            yield f"{row.id}: {name} is marked {', '.join(sorted(tests[name] & NEVER_RUN))}"


def all_tests(root: Path = ROOT) -> dict[str, set[str]]:
    """Return every test as ``file::function``, with the names of its marks and of its module's."""
    found: dict[str, set[str]] = {}
    for path in sorted(root.glob("**/tests/**/test_*.py")):
        if not {".venv", ".tally", "node_modules"} & set(path.relative_to(root).parts):
            found |= dict(_tests_in(path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))))
    return found


def _tests_in(name: str, module: ast.Module) -> Iterator[tuple[str, set[str]]]:
    shared: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.Assign) and "pytestmark" in {ast.unparse(target) for target in node.targets}:
            shared = _marks(node.value)
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            own = [_marks(decorator) for decorator in node.decorator_list]
            yield f"{name}::{node.name}", shared.union(*own)


def _marks(node: ast.AST) -> set[str]:
    return {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
