"""Helm comes as a library in a group of its own (`make chart-tools`); without it these tests say so and are skipped."""

import importlib.util
import os

import pytest

_MISSING = [name for name in ("helm_python", "kubernetes_validate") if importlib.util.find_spec(name) is None]
if _MISSING and os.environ.get("TALLY_CHART") != "required":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def releases():
    """Every scenario under `ci/`, rendered."""
    from chart.render import render, scenarios  # noqa: PLC0415 -- Helm may be missing

    return {name: render(values) for name, values in scenarios().items()}
