"""The figures in the docs are those of the last measurement."""

import importlib
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]


def test_the_documented_figures_are_those_in_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    documented = importlib.import_module("bench.documented")
    measure = importlib.import_module("bench.measure")
    results = msgspec.json.decode((ROOT / "bench/results/latest.json").read_bytes(), type=list[measure.Result])
    assert documented.written() == documented.table(results), "run `python -m bench --table`"
