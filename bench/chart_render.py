"""`chart_render`: the Helm chart with every part on, loaded, checked by its schema and rendered, by Helm's library.

The reference is the second that an operator would wait without noticing; the best of several rounds counts, since what
else runs on the machine is not the chart's.
"""

from pathlib import Path
from time import perf_counter
from typing import Final

from bench.measure import Measure, Result, result

_CHART: Final = Path(__file__).parents[1] / "deploy" / "helm" / "tallystick"
_ROUNDS: Final = 10
_REFERENCE_S: Final = 1.0


def take() -> Result:
    """Render and compare with a second."""
    from helm_python.chart import Chart, values_from_yaml  # noqa: PLC0415 - comes with `make chart-tools`

    values = values_from_yaml((_CHART / "ci" / "everything-values.yaml").read_text(encoding="utf-8"))
    times_s = []
    for _ in range(_ROUNDS):
        begun = perf_counter()
        with Chart.load(_CHART) as chart:
            chart.validate_schema(values)
            chart.render(values, name="tally", namespace="exams")
        times_s.append(perf_counter() - begun)
    return result(
        name="chart_render",
        value=min(times_s),
        unit="s",
        reference="a second",
        reference_value=_REFERENCE_S,
        goal=1.0,
        better="lower",
    )


MEASURE: Final = Measure("chart_render", take)
