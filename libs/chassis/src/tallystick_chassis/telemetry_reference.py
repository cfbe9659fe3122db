"""Writes ``docs/reference/telemetry.md`` from the lists that the code itself goes by.

``python -m tallystick_chassis.telemetry_reference``. A development tool.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tallystick_chassis.metric_catalogue import METRICS, Kind
from tallystick_chassis.metrics import BOUNDARIES_S, FORGET_AFTER_S, MAX_SERIES
from tallystick_chassis.otlp import BATCH, CLOSE_TIMEOUT_S, QUEUE, SEND_TIMEOUT_S
from tallystick_chassis.spans import MAX_LINKS, SPAN_ATTRIBUTES
from tallystick_chassis.telemetry import ALLOWED_FIELDS

if TYPE_CHECKING:
    from tallystick_chassis.metric_catalogue import Metric

REFERENCE: Final = Path(__file__).resolve().parents[4] / "docs" / "reference" / "telemetry.md"

_PAGE: Final = Path(__file__).with_name("telemetry_reference.md.in")
_UNITS: Final = {"s": "seconds", "By": "bytes"}


def prometheus_name(metric: Metric) -> str:
    """Return the name that Prometheus and OpenTelemetry's collector give a metric (a histogram's without `_bucket`).

    Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
    """
    name = re.sub(r"[^a-zA-Z0-9:]+", "_", metric.name)
    unit = _UNITS.get(metric.unit, "")
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    if metric.kind is Kind.COUNTER:
        name = f"{name}_total"
    return name


def render() -> str:
    """Return the page."""
    rows = "".join(
        f"| `{metric.name}`<br>`{prometheus_name(metric)}` | {metric.kind.value} | `{metric.unit}` | "
        f"{', '.join(metric.roles)} | {metric.meaning} | {', '.join(f'`{one}`' for one in metric.attributes)} |\n"
        for metric in METRICS.values()
    )
    boundaries = ", ".join(f"{one:g}" for one in BOUNDARIES_S)
    values = {
        "metrics": rows,
        "boundaries": boundaries,
        "series": MAX_SERIES,
        "forget": f"{FORGET_AFTER_S:g}",
        "queue": QUEUE,
        "batch": BATCH,
        "send": f"{SEND_TIMEOUT_S:g}",
        "close": f"{CLOSE_TIMEOUT_S:g}",
        "links": MAX_LINKS,
        "attributes": ", ".join(f"`{one}`" for one in sorted(SPAN_ATTRIBUTES)),
        "fields": ", ".join(f"`{one}`" for one in sorted(ALLOWED_FIELDS)),
    }
    page = _PAGE.read_text(encoding="utf-8")
    for name, value in values.items():
        page = page.replace(f"{{{name}}}", str(value))
    return page


def main() -> int:
    """Write the page."""
    REFERENCE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
