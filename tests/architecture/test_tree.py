"""Rules of the tree that no import linter knows; each reads the source, so a breach names its file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = sorted(path for member in ("libs/*", "services/*", "cli", "demo") for path in ROOT.glob(f"{member}/src"))
MAX_LINES = 400
PURE_IMPORTS = {
    *("__future__", "base64", "binascii", "bisect", "collections", "dataclasses", "datetime", "enum", "functools"),
    *("hashlib", "hmac", "itertools", "json", "re", "struct", "types", "typing"),
    *("nacl", "tallystick_tlog"),
}
CLOCK_CALLS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter"}
RANDOM_MODULES = {"random", "secrets"}


def _modules(pattern: str = "**/*.py") -> Iterator[Path]:
    for root in SOURCE_ROOTS:
        for path in root.glob(pattern):
            if "generated" not in path.parts:
                yield path


def _imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def _calls(tree: ast.AST) -> set[str]:
    return {
        f"{ast.unparse(node.func.value)}.{node.func.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def _without_main(tree: ast.Module) -> ast.Module:
    body = [node for node in tree.body if not (isinstance(node, ast.If) and "__name__" in ast.unparse(node.test))]
    return ast.Module(body, type_ignores=[])


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _shown(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_there_is_something_to_look_at():
    assert len(SOURCE_ROOTS) == 10
    assert len(list(_modules())) > 50


def test_tlog_imports_pynacl_and_pure_modules_only():
    for path in _modules("tallystick_tlog/**/*.py"):
        assert _imports(_parsed(path)) <= PURE_IMPORTS, path


@pytest.mark.parametrize("pattern", ["tallystick_tlog/**/*.py", "tallystick_*/*/domain.py"])
def test_pure_code_reads_no_clock_and_draws_no_random_number(pattern):
    for path in _modules(pattern):
        tree = _parsed(path)
        clocks = {call for call in _calls(tree) if re.fullmatch(r"(datetime|dt|date|time)(\.\w+)*\.\w+", call)}
        assert not {call for call in clocks if call.rsplit(".", 1)[1] in CLOCK_CALLS}, path
        assert not _imports(tree) & RANDOM_MODULES, path
        assert not {"uuid4", "urandom"} & set(re.findall(r"\w+", ast.unparse(tree))), path


def test_no_module_is_longer_than_400_lines():
    long = [path for path in _modules() if len(path.read_text().splitlines()) > MAX_LINES]
    assert _shown(long) == []


def test_no_module_is_named_after_nothing():
    vague = [
        path for path in _modules() if {"util", "utils", "helpers", "manager", "common"} & {*path.parts, path.stem}
    ]
    assert _shown(vague) == []


def test_imports_are_absolute():
    relative = [
        path
        for path in _modules()
        if any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(_parsed(path)))
    ]
    assert _shown(relative) == []


def test_a_package_face_only_re_exports():
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    busy = [path for path in _modules("**/__init__.py") if not all(isinstance(n, allowed) for n in _parsed(path).body)]
    assert _shown(busy) == []


def test_libraries_never_end_the_process():
    ending = [
        path
        for path in _modules()
        if path.name not in {"__main__.py", "process.py", "main.py"}
        and "tallystick_cli" not in path.parts
        and "sys.exit" in _calls(_without_main(_parsed(path)))
    ]
    assert _shown(ending) == []


def test_every_lint_exception_in_the_code_says_why():
    exception = re.compile(r"#\s*(?:noqa(?:: [A-Z0-9, ]+)?|type: ignore(?:\[[^]]*\])?)(?P<reason>.*)")
    silent = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := exception.search(line)) and not found["reason"].strip(" -#()")
    ]
    assert silent == []


def test_control_marks_name_requirements_that_exist():
    requirements = ROOT.parent / "shared" / "REQUIREMENTS.md"
    if not requirements.exists():
        pytest.skip("the requirements lie beside the project, not in it")
    text = requirements.read_text()
    marked = {
        name
        for path in ROOT.glob("**/tests/**/*.py")
        if ".venv" not in path.parts
        for name in re.findall(r'\.control\("([^"]+)"\)', path.read_text())
    }
    assert {name for name in marked if not re.search(rf"\b{re.escape(name.rstrip('abcdefgh'))}", text)} == set()
