"""The documents say what is there: links lead somewhere, commands exist, generated pages are up to date."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tallystick_assessment
import tallystick_chassis
import tallystick_identity
import tallystick_ledger
import tallystick_privacy_worker
import tallystick_verification
import typer.main
from tallystick_assessment.refusals import Refusal
from tallystick_chassis import telemetry_reference
from tallystick_chassis.configuration_reference import REFERENCE, render, services_settings
from tallystick_chassis.http.problems import Problem
from tallystick_cli.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")),
)
PACKAGES = (
    tallystick_assessment,
    tallystick_chassis,
    tallystick_identity,
    tallystick_ledger,
    tallystick_privacy_worker,
    tallystick_verification,
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
TALLY = re.compile(r"(?<![\w/.-])(?:\.venv/bin/)?tally ((?:[a-z]+(?:-[a-z]+)*)(?: [a-z]+(?:-[a-z]+)*)?)")
MAKE = re.compile(r"(?:`|^)make ([a-z0-9.]+(?:-[a-z0-9]+)*)", re.MULTILINE)
OTHERS = re.compile(r"^ *(?:helm|kubectl) (?:.*\\\n)*.*$", re.MULTILINE)
"""Other programs' commands, in which a release may be called tally."""
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`((?:libs|services|cli|demo|docs|tests|bench|proto)/[\w./-]+)`")


def _by_name(documents: list[Path]) -> list:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in documents]


def _anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(group: object, prefix: str = "") -> Iterator[str]:
    for name, command in getattr(group, "commands", {}).items():
        yield f"{prefix}{name}"
        yield from _commands(command, f"{prefix}{name} ")


def _subclasses(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


@pytest.mark.parametrize("document", _by_name(DOCUMENTS))
def test_every_relative_link_leads_somewhere(document):
    broken = []
    for target in (found[0] or found[1] for found in LINK.findall(document.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", _by_name(DOCUMENTS))
def test_every_command_and_path_it_names_is_there(document):
    code = OTHERS.sub("", "\n".join(CODE.findall(document.read_text())))
    commands = set(_commands(typer.main.get_command(app)))
    targets = set(re.findall(r"^([a-z0-9.-]+(?: [a-z0-9-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {name for line in targets for name in line.split()} | {".venv"}
    groups = {command.split()[0] for command in commands if " " in command}
    unknown = []
    for found in TALLY.findall(code):
        first = found.split()[0]
        if found not in commands and (first not in commands or first in groups):
            unknown.append(f"tally {found}")
    unknown += [f"make {name}" for name in MAKE.findall(code) if name not in targets]
    unknown += [path for path in PATH.findall(document.read_text()) if not (ROOT / path).exists()]
    assert unknown == []


def test_the_overview_of_the_command_line_has_every_command():
    overview = (ROOT / "docs/reference/cli.md").read_text()
    commands = set(_commands(typer.main.get_command(app)))
    groups = {command.rpartition(" ")[0] for command in commands}
    assert [name for name in sorted(commands - groups) if f"tally {name}" not in overview] == []


def test_the_configuration_reference_is_what_the_settings_say():
    stale = "run `python -m tallystick_chassis.configuration_reference`"
    assert render(services_settings()) == REFERENCE.read_text(), stale


def test_the_telemetry_reference_is_what_the_catalogue_says():
    stale = "run `python -m tallystick_chassis.telemetry_reference`"
    assert telemetry_reference.render() == telemetry_reference.REFERENCE.read_text(), stale


def test_every_problem_code_is_explained_and_none_is_made_up():
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "migrations" not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    ours = [one for kind in (Problem, Refusal) for one in _subclasses(kind) if one.__module__.startswith("tallystick_")]
    codes = {one.code for one in ours}
    page = (ROOT / "docs/reference/http-problems.md").read_text()
    explained = {
        code
        for cell in re.findall(r"^\| \d{3} \| (.+?) \|", page, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", cell)
    }
    assert explained == codes


@pytest.mark.control("EV-11e")
def test_the_pull_request_template_asks_for_the_checklist():
    template = (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").read_text()
    assert "docs/howto/rls-checklist.md" in template
    checklist = (ROOT / "docs/howto/rls-checklist.md").read_text()
    for word in ("transaction(scope)", "tenant_id", "silo(", "SET SESSION", "Capability"):
        assert word in checklist


@pytest.mark.control("EV-11f")
def test_the_changelog_says_what_enforces_isolation():
    assert "Row-level security is the primary enforcer" in (ROOT / "CHANGELOG.md").read_text()


def test_decision_records_are_numbered_once_fit_a_screen_and_stand_in_the_index():
    index = (ROOT / "docs/adr/README.md").read_text()
    records = sorted(path for path in (ROOT / "docs/adr").glob("*.md") if path.name != "README.md")
    numbers = [path.name[:4] for path in records]
    assert len(numbers) == len(set(numbers))  # those who write at the same time have numbers kept for them
    assert [path.name for path in records if f"({path.name})" not in index] == []
    assert [path.name for path in records if len(path.read_text().splitlines()) > 45] == []
    for path in records:
        assert re.search(r"^Status: ", path.read_text(), re.MULTILINE), path.name
        assert "**Context.**" in path.read_text(), path.name
        assert "**Decision.**" in path.read_text(), path.name
