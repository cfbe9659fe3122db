"""The table of figures in docs/reference/performance.md, made from bench/results/latest.json."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.measure import Result

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "performance.md"
BEGIN: Final = "<!-- the table is written by `python -m bench --table` -->"
END: Final = "<!-- end of the table -->"
_WHOLE_FROM: Final = 10


def table(results: Iterable[Result]) -> str:
    """Return the table as Markdown."""
    columns = ("measure", "value", "reference", "its value", "ratio", "goal", "met", "command")
    rows: list[tuple[str, ...]] = [columns, ("---",) * len(columns)]
    for row in sorted(results, key=lambda row: row.name):
        value, bound = f"{number(row.value)} {row.unit}", number(row.reference_value)
        met = "yes" if row.met else "no"
        found = (f"`{row.name}`", value, row.reference, bound, f"{row.ratio:.2f}", f"{row.goal:.2f}", met)
        rows.append((*found, f"`{row.command}`"))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def number(value: float) -> str:
    """Return a figure with as many places as it is worth."""
    return f"{value:,.0f}" if value >= _WHOLE_FROM or value == int(value) else f"{value:.2f}"


def written() -> str:
    """Return the table that stands in the page."""
    return PAGE.read_text().split(BEGIN)[1].split(END)[0].strip()


def write_table(results: Iterable[Result]) -> None:
    """Put the table into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{rest.split(END)[1]}")
