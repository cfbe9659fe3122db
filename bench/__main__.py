"""Take the measures, print them as a table, and write bench/results/latest.json."""

import argparse
import sys
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.documented import number, write_table
from bench.measure import Measure, Result

MODULES: Final = (
    "bench.append_one_log",
    "bench.append_vs_eventsourcing",
    "bench.append_growth",
    "bench.chart_render",
    "bench.cold_start",
    "bench.image_size",
    "bench.ingest",
    "bench.login",
    "bench.proofs",
    "bench.replay",
    "bench.revocation",
    "bench.rolling_restart",
    "bench.session_check",
    "bench.telemetry_cost",
)
"""The modules of measures; each has its ``Measure`` or several."""

LATEST: Final = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    """Run from the command line; the exit status is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    measures = _measures()
    parser.add_argument("--only", choices=sorted(measures), help="take one measure and keep the others' last results")
    parser.add_argument("--table", action="store_true", help="write the last results into the docs, measuring nothing")
    arguments = parser.parse_args()
    if arguments.table:
        write_table(_latest())
        return 0
    only = arguments.only
    console = Console()
    last = {row.name: row for row in _latest()}
    results = {} if only is None else dict(last)
    for name, measure in measures.items():
        if only in {None, name}:
            console.print(f"measuring {name} …")
            taken = measure.take() or last.get(name)
            if taken is not None:
                results[name] = taken
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(list(results.values())), indent=2) + b"\n")
    write_table(results.values())
    console.print(_table(results.values()))
    return 0 if all(row.met for row in results.values()) else 1


def _measures() -> dict[str, Measure]:
    modules = [import_module(name) for name in MODULES if find_spec(name)]
    found: list[Measure] = [
        value for module in modules for value in vars(module).values() if isinstance(value, Measure)
    ]
    return {measure.name: measure for measure in found}


def _latest() -> list[Result]:
    return msgspec.json.decode(LATEST.read_bytes(), type=list[Result]) if LATEST.exists() else []


def _table(results: Iterable[Result]) -> Table:
    table = Table("measure", "value", "unit", "reference", "its value", "ratio", "goal", "met")
    for row in results:
        colour = "green" if row.met else "red"
        table.add_row(
            row.name,
            number(row.value),
            row.unit,
            row.reference,
            number(row.reference_value),
            f"{row.ratio:.2f}",
            f"{row.goal:.2f}",
            f"[{colour}]{'yes' if row.met else 'no'}[/]",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
