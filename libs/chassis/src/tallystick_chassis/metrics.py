"""Measuring: counters, histograms and gauges of the catalogue, into memory; where no endpoint is set, nowhere.

Nothing here waits, allocates without a bound or raises. A thread of the exporter reads what is kept (`otlp.py`).
Attributes that the catalogue does not name are dropped, and a metric has at most ``MAX_SERIES`` combinations of values:
what comes after them is counted together, under ``otel.metric.overflow``.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import Observation

from tallystick_chassis.metric_catalogue import HTTP_SERVER_ACTIVE, METRICS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter

    from tallystick_chassis.metric_catalogue import Metric

MAX_SERIES: Final = 2_000
FORGET_AFTER_S: Final = 90.0
"""A gauge that nobody has set for so long is not reported, ages excepted: silence can be seen, an old value cannot."""
BOUNDARIES_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_OVERFLOW: Final = (("otel.metric.overflow", True),)

_Key = tuple[tuple[str, Any], ...]


class Meters:
    """The instruments of one process. ``meter`` is where they report."""

    def __init__(self, meter: Meter) -> None:
        self._series: defaultdict[str, set[_Key]] = defaultdict(set)
        self._kept: defaultdict[str, dict[_Key, tuple[float, bool, float]]] = defaultdict(dict)
        self._watched: defaultdict[str, dict[_Key, Callable[[], float | None]]] = defaultdict(dict)
        self._totals: defaultdict[str, dict[_Key, float]] = defaultdict(dict)
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS.values():
            self._make(meter, metric)

    def add(self, metric: Metric, amount: float, attributes: Mapping[str, str | int]) -> None:
        """Count, in memory: the SDK's own counters cost a request twenty times as much."""
        totals, key = self._totals[metric.name], self._key(metric, attributes)
        totals[key] = totals.get(key, 0) + amount

    def record(self, metric: Metric, value: float, attributes: Mapping[str, str | int]) -> None:
        """Add one value to a distribution; the current span becomes its exemplar."""
        self._histograms[metric.name].record(value, dict(self._key(metric, attributes)))

    def keep(self, metric: Metric, value: float, attributes: Mapping[str, str | int], *, is_moment: bool) -> None:
        """Keep a gauge's value, or the moment (seconds since 1970) whose age it is, until it is set again."""
        self._kept[metric.name][self._key(metric, attributes)] = (value, is_moment, time.monotonic())

    def watch(self, metric: Metric, attributes: Mapping[str, str | int], read: Callable[[], float | None]) -> None:
        """Read a value whenever metrics are collected; ``read`` runs in another thread and must not wait."""
        self._watched[metric.name][self._key(metric, attributes)] = read

    def _key(self, metric: Metric, attributes: Mapping[str, str | int]) -> _Key:
        key = tuple((name, attributes[name]) for name in metric.attributes if name in attributes)
        known = self._series[metric.name]
        if key in known:
            return key
        if len(known) >= MAX_SERIES:
            return _OVERFLOW
        known.add(key)
        return key

    def _make(self, meter: Meter, metric: Metric) -> None:
        if metric.kind is Kind.HISTOGRAM:
            self._histograms[metric.name] = meter.create_histogram(
                metric.name,
                unit=metric.unit,
                description=metric.meaning,
                explicit_bucket_boundaries_advisory=BOUNDARIES_S,
            )
            return

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            return self._observe(metric.name)

        make = {
            Kind.GAUGE: meter.create_observable_gauge,
            Kind.UP_DOWN_COUNTER: meter.create_observable_up_down_counter,
            Kind.COUNTER: meter.create_observable_counter,
        }[metric.kind]
        make(metric.name, callbacks=[observe], unit=metric.unit, description=metric.meaning)

    def _observe(self, name: str) -> Iterator[Observation]:
        now, monotonic = time.time(), time.monotonic()
        for key, (value, is_moment, kept_at) in list(self._kept[name].items()):
            # An age that nobody sets any more goes on growing: that is what it is for.
            if is_moment or monotonic - kept_at < FORGET_AFTER_S:
                yield Observation(max(0.0, now - value) if is_moment else value, dict(key))
        for key, total in list(self._totals[name].items()):
            yield Observation(total, dict(key))
        for key, read in list(self._watched[name].items()):
            if (seen := read()) is not None:
                yield Observation(seen, dict(key))


_current: list[Meters] = []


def use(meters: Meters | None) -> None:
    """Measure with ``meters`` from now on; ``None``: not at all."""
    _current[:] = [] if meters is None else [meters]


def is_on() -> bool:
    """Say whether anything is measured: what costs a query need not be asked otherwise."""
    return bool(_current)


def count(metric: Metric, amount: float = 1, attributes: Mapping[str, str | int] | None = None) -> None:
    """Add ``amount`` to a counter. 0 makes its series exist, so that its first event is an increase."""
    for meters in _current:
        meters.add(metric, amount, attributes or {})


def record(metric: Metric, value: float, attributes: Mapping[str, str | int]) -> None:
    """Add ``value`` to a histogram."""
    for meters in _current:
        meters.record(metric, value, attributes)


def gauge(metric: Metric, value: float, attributes: Mapping[str, str | int] | None = None) -> None:
    """Set a gauge."""
    for meters in _current:
        meters.keep(metric, value, attributes or {}, is_moment=False)


def age(metric: Metric, moment_s: float, attributes: Mapping[str, str | int] | None = None) -> None:
    """Set a gauge that grows: the time since ``moment_s`` (seconds since 1970)."""
    for meters in _current:
        meters.keep(metric, moment_s, attributes or {}, is_moment=True)


def watch(metric: Metric, read: Callable[[], float | None], attributes: Mapping[str, str | int] | None = None) -> None:
    """Have ``read`` asked at each collection, in another thread."""
    for meters in _current:
        meters.watch(metric, attributes or {}, read)


@contextmanager
def active_request(method: str) -> Iterator[None]:
    """Count a request as under way while the block runs."""
    attributes: dict[str, str | int] = {"http.request.method": method, "url.scheme": "https"}
    count(HTTP_SERVER_ACTIVE, 1, attributes)
    try:
        yield
    finally:
        count(HTTP_SERVER_ACTIVE, -1, attributes)
