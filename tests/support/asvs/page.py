"""Writes the counts and the open rows into ``docs/security/README.md``: ``python -m asvs.page`` in this folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import get_args

from asvs.map import ROOT, Row, Status, read_map

PAGE = ROOT / "docs/security/README.md"
BEGIN, END = "<!-- from asvs.yaml -->\n", "<!-- end -->\n"
STATUSES: tuple[Status, ...] = get_args(Status)


def render(rows: Sequence[Row]) -> str:
    """Return the table of counts by chapter, and what is open until when."""
    chapters = sorted({_chapter(row) for row in rows})
    counts = Counter((_chapter(row), row.status) for row in rows)
    table = [
        "| chapter | " + " | ".join(status.replace("_", " ") for status in STATUSES) + " | rows |",
        "|---|---|---|---|---|",
    ]
    for chapter in chapters:
        cells = [counts[chapter, status] for status in STATUSES]
        table.append(f"| V{chapter} | {' | '.join(map(str, cells))} | {sum(cells)} |")
    totals = [sum(counts[chapter, status] for chapter in chapters) for status in STATUSES]
    table.append(f"| **all** | {' | '.join(f'**{total}**' for total in totals)} | **{sum(totals)}** |")
    still = ["", "Open:", "", "| row | today | until |", "|---|---|---|"]
    still += [f"| {row.id} | {row.why} | {row.until} |" for row in rows if row.status == "open"]
    return "\n".join([*table, *still]) + "\n"


def _chapter(row: Row) -> int:
    return int(row.id.split(".")[0].removeprefix("V"))


def completed(page: str, rows: Sequence[Row]) -> str:
    """Return the page with its generated part made anew."""
    return re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}{render(rows)}{END}", page, flags=re.DOTALL
    )


if __name__ == "__main__":
    PAGE.write_text(completed(PAGE.read_text(encoding="utf-8"), read_map()), encoding="utf-8")
