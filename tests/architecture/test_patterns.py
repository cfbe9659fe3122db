"""Prohibited patterns: what would get around scope, row-level security or sign-in, looked for in the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(ROOT.glob("services/*/src/tallystick_*"))
CHASSIS = ROOT / "libs/chassis/src/tallystick_chassis"
SOURCES = [*SERVICES, CHASSIS]

# Who may make an engine: the one way to the database, and migrations, which run as the schema's owner.
ENGINE_MAKERS = {"database.py", "migrate.py"}
# Who may open a transaction without a scope, and why.
UNSCOPED = {
    "tallystick_chassis/self_test.py": "looks at the catalog only",
    "tallystick_chassis/http/health.py": "asks whether the database answers",
    "tallystick_chassis/process.py": "waits for the database at start",
    "tallystick_chassis/doctor.py": "asks for the schema's revision and the database's clock",
    "tallystick_ledger/tiles/api.py": "finds a published log's tenant through one narrow function, for anybody",
    "tallystick_verification/credentials/api.py": "finds a certificate through one narrow function, for anybody",
}
# Words that a way around sign-in would have.
BYPASSES = re.compile(
    r"skip_?auth|no_?auth|auth_?disabled|disable_?auth|bypass_?auth|fake_?user|dev_?login|TALLY_DEBUG"
)


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            yield path, ast.parse(path.read_text(), str(path))


def _called(tree: ast.AST) -> set[str]:
    calls = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {ast.unparse(call).rsplit(".", 1)[-1] for call in calls}


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.control("EV-11a")
def test_only_the_transaction_manager_makes_connections() -> None:
    makers = {"create_async_engine", "create_engine", "create_pool", "async_sessionmaker", "sessionmaker"}
    breaking = [str(path) for path, tree in _modules() if _called(tree) & makers and path.name not in ENGINE_MAKERS]
    assert breaking == []


@pytest.mark.control("EV-11a")
def test_only_named_places_open_a_transaction_without_a_scope() -> None:
    opening = [str(path) for path, tree in _modules() if "unscoped" in _called(tree)]
    assert [path for path in opening if not path.endswith(tuple(UNSCOPED))] == []


@pytest.mark.control("EV-11a")
def test_handlers_never_commit_or_roll_back() -> None:
    breaking = [
        str(path)
        for path, tree in _modules()
        if _called(tree) & {"commit", "rollback"} and path.name not in ENGINE_MAKERS | {"transaction.py"}
    ]
    assert breaking == []


@pytest.mark.control("EV-11b")
def test_a_setting_is_made_for_the_transaction_alone() -> None:
    lasting = re.compile(r"\bset\s+session\b|\breset\s+role\b|set_config\([^)]*,\s*false\s*\)", re.IGNORECASE)
    plain = re.compile(r"^\s*set\s+(?!local\b|transaction\b|constraints\b)\w+(\.\w+)?\s*(=|to)\s", re.IGNORECASE)
    breaking = [
        f"{path}: {found}"
        for path, tree in _modules()
        for found in _texts(tree)
        if lasting.search(found) or plain.search(found)
    ]
    assert breaking == []


@pytest.mark.control("EV-12c")
def test_there_is_no_way_around_sign_in() -> None:
    breaking = [
        f"{path}: {word.group()}"
        for path, tree in _modules()
        for name in (node.id if isinstance(node, ast.Name) else "" for node in ast.walk(tree))
        for word in [BYPASSES.search(name)]
        if word
    ]
    breaking += [f"{path}: {found}" for path, tree in _modules() for found in _texts(tree) if BYPASSES.search(found)]
    assert breaking == []


@pytest.mark.control("X-09")
def test_no_secret_is_a_uuid() -> None:
    secret = re.compile(r"token|secret|nonce|password|salt|cookie")
    breaking = []
    for path, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                pairs = [(target, node.value) for target in targets]
                if isinstance(targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(targets[0].elts, node.value.elts, strict=True))
                breaking += [
                    f"{path}:{node.lineno}"
                    for target, value in pairs
                    if secret.search(ast.unparse(target)) and _called(value) & {"uuid4", "uuid1", "new_id"}
                ]
    assert breaking == []


@pytest.mark.control("EV-11e")
def test_the_checklist_for_tables_and_transactions_is_where_contributors_meet_it() -> None:
    checklist = ROOT / "docs/howto/rls-checklist.md"
    template = ROOT / ".github/PULL_REQUEST_TEMPLATE.md"
    assert "row-level security" in checklist.read_text().lower()
    assert checklist.name in template.read_text()


@pytest.mark.control("EV-11f")
def test_no_store_counts_on_filters_of_its_own_for_other_units() -> None:
    # Units are the scope's business: a statement that compares org units with a list of its own would be a second,
    # weaker boundary that people come to trust.
    own_filter = re.compile(r"org_unit_id\s*(=\s*any|in)\s*\(\s*:", re.IGNORECASE)
    breaking = [
        f"{path}: {found[:60]}" for path, tree in _modules() for found in _texts(tree) if own_filter.search(found)
    ]
    assert breaking == []
