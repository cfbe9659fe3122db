"""The workpaper of a sample: what was drawn and how, with columns left for the auditor to fill in."""

from tallystick_cli.audit.console import printable
from tallystick_cli.audit.sample import Sample
from tallystick_cli.audit.tabular import csv_rows

_COLUMNS = ("seq", "type", "recorded", "actor", "subject", "event id", "leaf hash")
_TO_FILL_IN = ("evidence seen", "result (ok, exception, n/a)", "remarks", "checked by", "date")


def as_csv(sample: Sample) -> bytes:
    """Write the workpaper as CSV."""
    empty = ("",) * len(_TO_FILL_IN)
    return csv_rows([(*_COLUMNS, *_TO_FILL_IN), *((*row, *empty) for row in _rows(sample))])


def as_markdown(sample: Sample) -> bytes:
    """Write the workpaper as Markdown."""
    trust = "authenticated by the pinned key" if sample.authenticated else "self-consistent, not authenticated"
    kind = f" of type {_cell(sample.type)}" if sample.type else ""
    head = f"""# Workpaper: sample of {_cell(sample.log)}

| | |
|---|---|
| Log | {_cell(sample.log)} |
| Entries | {sample.size} |
| Root | {sample.root} |
| Verified | all entries replayed; {trust} |
| Seed | {_cell(sample.seed)} |
| Drawn | {sample.count} of {sample.population} entries{kind} |
| Drawn again with | `tally audit sample` on an export with this root and this seed: it gives these entries |
| Prepared by, on | |
| Reviewed by, on | |

## Entries

| {" | ".join((*_COLUMNS, *_TO_FILL_IN))} |
|{"---|" * (len(_COLUMNS) + len(_TO_FILL_IN))}
"""
    blank = " |" * len(_TO_FILL_IN)
    rows = "".join(f"| {' | '.join(_cell(cell) for cell in row)} |{blank}\n" for row in _rows(sample))
    return (head + rows + "\n## Conclusion\n\n\n## Exceptions\n\n").encode()


def _rows(sample: Sample) -> list[tuple[object, ...]]:
    return [
        (item.seq, item.type, item.recorded, item.actor, item.subject, item.id, item.leaf_hash)
        for item in sample.entries
    ]


def _cell(value: object) -> str:
    """Write text into a Markdown table so that it is only text."""
    shown = "" if value is None else printable(str(value))
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#!&" else char for char in shown)
