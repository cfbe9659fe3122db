"""A pytest plugin: after a whole run, every test that the ASVS map names must have run and passed.

It does nothing unless ``TALLY_ASVS`` is set, as CI does: to ``required``, or to another map's path. A test that was
skipped, deselected, not collected or expected to fail proves nothing, and fails the run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asvs.map import MAP, Row, read_map

VARIABLE = "TALLY_ASVS"


class Gate:
    """Hears every report, also those that xdist's workers send, and judges at the end."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = {name: [row.id for row in rows if name in row.tests] for row in rows for name in row.tests}
        self._passed: set[str] = set()
        self._other: dict[str, str] = {}
        self.unproven: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a part of a test went: set-up, call or teardown."""
        name = function_of(report.nodeid)
        if name not in self._rows:
            return
        if report.outcome != "passed" or hasattr(report, "wasxfail"):
            self._other[name] = "expected to fail" if hasattr(report, "wasxfail") else report.outcome
        elif report.when == "call":
            self._passed.add(name)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if a row's test did not pass, in every one of its cases."""
        for name, ids in sorted(self._rows.items()):
            if name in self._other or name not in self._passed:
                self.unproven.append(f"{', '.join(ids)}: {name} ({self._other.get(name, 'not run')})")
        if self.unproven and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what is unproven."""
        if self.unproven:
            terminalreporter.section("the ASVS map names tests that did not pass")
            for line in self.unproven:
                terminalreporter.write_line(line)


def function_of(nodeid: str) -> str:
    """Return ``file::function`` of a node id, which may go on with ``[case]`` and with xdist's ``@group``."""
    return nodeid.split("[", 1)[0].split("@", 1)[0]


def pytest_configure(config: pytest.Config) -> None:
    """Put the gate up, in the process that hears all reports."""
    asked = os.environ.get(VARIABLE)
    if asked and not hasattr(config, "workerinput"):
        rows = read_map(MAP if asked == "required" else Path(asked))
        config.pluginmanager.register(Gate(rows), "asvs-gate")
