"""Every level 1 and 2 row of ASVS 5.0 is accounted for, and what proves a row exists, runs and must pass in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from asvs.gate import function_of
from asvs.map import MAP, ROOT, STANDARD, Row, all_tests, faults_of, read_map, required_ids
from asvs.page import PAGE, completed

ROWS = read_map()


@pytest.fixture(scope="module")
def tests():
    return all_tests()


@pytest.mark.control("EV-01")
def test_every_row_of_levels_1_and_2_is_in_the_map_once_and_no_other():
    if not STANDARD.exists():
        pytest.skip("the standard lies beside the project, not in it")
    assert [row.id for row in ROWS] == required_ids()


@pytest.mark.control("EV-01")
def test_the_map_has_as_many_rows_as_the_standard():
    assert len({row.id for row in ROWS}) == len(ROWS) == 253


@pytest.mark.control("EV-01")
def test_every_row_has_what_its_status_needs_and_its_tests_exist_and_run(tests):
    assert [fault for row in ROWS for fault in faults_of(row, tests)] == []


def test_the_page_has_the_maps_counts_and_open_rows():
    page = PAGE.read_text()
    assert completed(page, ROWS) == page, "run `python -m asvs.page` in tests/support"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (Row("V0", "implemented", "We do."), "implemented, and no test"),
        (Row("V0", "implemented", " ", ("a::test_good",)), "says not why"),
        (Row("V0", "open", "Not yet."), "`until` belongs to open rows"),
        (Row("V0", "not_applicable", "None.", until="never"), "`until` belongs to open rows"),
        (Row("V0", "implemented", "We do.", ("a::test_gone",)), "there is no test a::test_gone"),
        (Row("V0", "open", "Half.", ("a::test_gone",), "whole"), "there is no test a::test_gone"),
        (Row("V0", "implemented", "We do.", ("a::test_skipped",)), "is marked skipif"),
        (Row("V0", "implemented", "We do.", ("a::test_good", "a::test_good")), "names a test twice"),
    ],
)
def test_a_row_that_lacks_something_is_named(row, fault):
    found = list(faults_of(row, {"a::test_good": {"control"}, "a::test_skipped": {"skipif"}}))
    assert len(found) == 1
    assert found[0].startswith("V0: ")
    assert fault in found[0]


def test_marks_of_a_function_and_of_its_module_are_seen(tmp_path):
    folder = tmp_path / "member/tests"
    folder.mkdir(parents=True)
    marked = "@pytest.mark.skipif(True, reason='')\nasync def test_it(): ..."
    source = f"import pytest\npytestmark = [pytest.mark.xfail]\n{marked}"
    (folder / "test_one.py").write_text(source)
    (marks,) = all_tests(tmp_path).values()
    assert {"skipif", "xfail"} <= marks
    assert set(all_tests(tmp_path)) == {"member/tests/test_one.py::test_it"}


def test_a_node_is_its_function_whatever_case_and_group():
    for end in ("", "[a-b]", "@system", "[x[1]]@system"):
        assert function_of(f"tests/test_a.py::test_it{end}") == "tests/test_a.py::test_it"


SUITE = """
import pytest
pytestmark = pytest.mark.xdist_group("one")
def test_passes(): ...
@pytest.mark.parametrize("case", [1, 2])
def test_passes_in_one_case(case):
    if case == 2:
        pytest.skip("not here")
def test_skips(): pytest.skip("not here")
@pytest.mark.xfail(reason="known")
def test_is_expected_to_fail(): raise ValueError
@pytest.mark.xfail(reason="known", strict=False)
def test_passes_against_expectation(): ...
"""


@dataclass
class Ran:
    status: int
    output: str


def _run(folder: Path, *, names: list[str], arguments: list[str]) -> Ran:
    lines = "".join(
        f"- {{id: V1, status: implemented, why: it is, tests: ['test_all.py::{name}']}}\n" for name in names
    )
    (folder / "map.yaml").write_text(lines)
    (folder / "test_all.py").write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = xdist_group(name): runs together\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "asvs.gate", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests/support"), "TALLY_ASVS": str(folder / "map.yaml")},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout + done.stderr)


@pytest.mark.control("EV-01")
def test_a_whole_run_fails_where_a_named_test_did_not_pass_in_every_case(tmp_path):
    names = ["passes", "passes_in_one_case", "skips", "is_expected_to_fail", "passes_against_expectation", "is_gone"]
    ran = _run(tmp_path, names=[f"test_{name}" for name in names], arguments=["-n", "1", "--dist", "loadgroup"])
    assert ran.status == 1, ran.output
    unproven = [line for line in ran.output.splitlines() if line.startswith("V1: ")]
    assert unproven == [
        "V1: test_all.py::test_is_expected_to_fail (expected to fail)",
        "V1: test_all.py::test_is_gone (not run)",
        "V1: test_all.py::test_passes_against_expectation (expected to fail)",
        "V1: test_all.py::test_passes_in_one_case (skipped)",
        "V1: test_all.py::test_skips (skipped)",
    ]


def test_a_deselected_test_proves_nothing_and_one_that_passed_does(tmp_path):
    assert _run(tmp_path, names=["test_passes"], arguments=["-p", "no:xdist"]).status == 0
    left_out = _run(tmp_path, names=["test_passes"], arguments=["-p", "no:xdist", "-k", "skips"])
    assert left_out.status == 1
    assert "V1: test_all.py::test_passes (not run)" in left_out.output


def test_ci_asks_for_it():
    assert "export TALLY_ASVS=required" in (ROOT / ".ci/run").read_text()
    assert MAP.is_file()
