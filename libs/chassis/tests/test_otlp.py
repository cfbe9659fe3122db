"""Traces, metrics and logs leave by OTLP, from bounded queues: a collector that is down or hangs slows nobody."""

from __future__ import annotations

import logging
import socket
import time

import pytest
import structlog
from opentelemetry.trace import SpanKind
from otlp_sink import open_sink
from tallystick_chassis import metrics, otlp
from tallystick_chassis.http.correlation import current_correlation
from tallystick_chassis.metric_catalogue import (
    DEAD_LETTERS,
    HTTP_SERVER_DURATION,
    METRICS,
    OUTBOX_AGE,
    RATE_LIMITED,
    Kind,
)
from tallystick_chassis.otlp import OtlpSettings, start_exporting
from tallystick_chassis.spans import batch_span, current_traceparent, span, working_for
from tallystick_chassis.telemetry import configure_logging, get_log


@pytest.fixture
def sink(tmp_path):
    with open_sink(tmp_path) as opened:
        yield opened


@pytest.fixture
def logs_as_in_production():
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configure_logging(service="ledger", process="api")
    yield
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def exporting_to(endpoint, *, ratio=1.0):
    return start_exporting(OtlpSettings(endpoint, 0.2, ratio), service="ledger", process="api", version="1.2.3")


@pytest.mark.control("EV-25b")
@pytest.mark.control("X-07")
@pytest.mark.usefixtures("logs_as_in_production")
def test_a_requests_span_its_duration_and_its_log_line_leave_with_one_trace_and_one_correlation(sink):
    exporting = exporting_to(sink.endpoint)
    about = {"http.request.method": "GET", "http.route": "/x/{id}", "http.response.status_code": 200}
    with working_for("corr-1"), span("GET /x/{id}", kind=SpanKind.SERVER, attributes=about):
        get_log().info("request", route="GET /x/{id}", status=200)
        metrics.record(HTTP_SERVER_DURATION, 0.03, about)
    exporting.close(timeout_s=10)

    (seen,) = sink.spans()
    (line,) = sink.lines()
    point = next(one for one in sink.points() if one.metric == HTTP_SERVER_DURATION.name)
    assert (seen.service, seen.process, seen.name, seen.correlation) == ("ledger", "api", "GET /x/{id}", "corr-1")
    assert (line.body, line.severity, line.trace) == ("request", "INFO", seen.trace)
    assert line.attributes["tallystick.correlation_id"] == "corr-1"
    assert (point.kind, point.unit, point.attributes) == ("histogram", "s", about)
    assert point.exemplars == (seen.trace,)


@pytest.mark.control("EV-25c")
@pytest.mark.usefixtures("logs_as_in_production")
def test_what_no_list_allows_is_neither_in_a_span_nor_in_a_line_nor_a_label(sink):
    exporting = exporting_to(sink.endpoint)
    canary = "ada@canary.example"
    with span("work", attributes={"user.email": canary, "http.route": "/x"}):
        get_log().info("request", email=canary, body=canary, reason=f"mail to {canary} refused")
        metrics.count(RATE_LIMITED, 1, {"tallystick.budget": "login.address", "tenant": canary, "person": canary})
    with pytest.raises(ValueError, match="canary"), span("fails"):
        raise ValueError(canary)
    exporting.close(timeout_s=10)
    assert {one.name for one in sink.spans()} == {"work", "fails"}
    assert [one.attributes for one in sink.points() if one.metric == RATE_LIMITED.name][-1] == {
        "tallystick.budget": "login.address"
    }
    assert not [name for name, body in sink.texts() if canary.encode() in body]


def test_a_batchs_span_links_to_every_events_trace_and_each_of_those_gets_a_span_that_links_back(sink):
    exporting = exporting_to(sink.endpoint)
    first, second = (f"00-{digit * 32}-{digit * 16}-01" for digit in "ab")
    causes = [(first, "corr-1"), (second, "corr-2"), (first, "corr-1"), (None, None)]
    with batch_span("record", kind=SpanKind.CONSUMER, causes=lambda: causes, attributes={}):
        pass
    exporting.close(timeout_s=10)
    (batch,) = [one for one in sink.spans() if len(one.links) == 2]
    others = [one for one in sink.spans() if one is not batch]
    assert set(batch.links) == {("a" * 32, "a" * 16), ("b" * 32, "b" * 16)}
    assert {(one.trace, one.parent, one.correlation) for one in others if one.correlation} == {
        ("a" * 32, "a" * 16, "corr-1"),
        ("b" * 32, "b" * 16, "corr-2"),
    }
    assert len(others) == 3
    assert {one.links for one in others} == {((batch.trace, batch.id),)}


@pytest.mark.usefixtures("logs_as_in_production")
def test_a_collector_that_hangs_costs_what_the_queues_do_not_hold_and_neither_a_request_nor_the_end_waits(sink, capsys):
    sink.hangs.set()
    exporting = exporting_to(sink.endpoint)
    began = time.monotonic()
    for _ in range(3 * otlp.QUEUE):
        with span("work"):
            get_log().info("request")
            metrics.record(HTTP_SERVER_DURATION, 0.01, {"http.route": "/x"})
    while not sink.requests and time.monotonic() - began < 30:
        time.sleep(0.05)
    assert sink.requests  # it was tried, and is still hanging
    closing = time.monotonic()
    exporting.close()
    assert time.monotonic() - closing < 10 * otlp.CLOSE_TIMEOUT_S
    written = capsys.readouterr().out.splitlines()
    assert len([line for line in written if '"request"' in line]) == 3 * otlp.QUEUE


@pytest.mark.usefixtures("logs_as_in_production")
def test_without_a_collector_at_the_address_everything_goes_on():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        exporting = exporting_to(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with span("work"):
            traceparent = current_traceparent()
            get_log().info("request")
        exporting.close()
    assert traceparent is not None


def test_of_traces_that_begin_here_the_ratio_is_kept_and_a_callers_choice_is_followed(sink):
    exporting = exporting_to(sink.endpoint, ratio=0.0)
    with span("ours"):
        pass
    with span("theirs", parent=f"00-{'a' * 32}-{'b' * 16}-01"):
        pass
    exporting.close(timeout_s=10)
    assert [one.name for one in sink.spans()] == ["theirs"]


def test_a_metric_has_so_many_series_and_the_rest_is_counted_together(sink, monkeypatch):
    monkeypatch.setattr(metrics, "MAX_SERIES", 3)
    exporting = exporting_to(sink.endpoint)
    for number in range(10):
        metrics.count(RATE_LIMITED, 1, {"tallystick.budget": f"budget-{number}"})
    exporting.close(timeout_s=10)
    points = {str(one.attributes): one.value for one in sink.points() if one.metric == RATE_LIMITED.name}
    assert len(points) == 4
    assert points["{'otel.metric.overflow': True}"] == 7


def test_a_gauge_that_nobody_sets_any_more_is_silent_and_an_age_grows_by_itself(sink, monkeypatch):
    exporting = exporting_to(sink.endpoint)
    monkeypatch.setattr(metrics, "FORGET_AFTER_S", -1.0)
    metrics.age(OUTBOX_AGE, time.time() - 100)
    metrics.gauge(DEAD_LETTERS, 1, {"messaging.consumer.group.name": "privacy"})
    for _ in range(100):
        if sink.points():
            break
        time.sleep(0.1)
    exporting.close(timeout_s=10)
    assert DEAD_LETTERS.name not in {one.metric for one in sink.points()}
    ages = [one.value for one in sink.points() if one.metric == OUTBOX_AGE.name]
    assert ages
    assert all(value > 100 for value in ages)


def test_without_an_endpoint_nothing_is_made():
    exporting = start_exporting(None, service="ledger", process="api", version="1")
    with span("work"):
        assert current_traceparent() is None
    assert not metrics.is_on()
    exporting.close()
    assert current_correlation.get() is None


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_names_and_units_follow_the_conventions_and_no_attribute_names_a_tenant_or_a_person(metric):
    assert metric.name == metric.name.lower()
    assert metric.name.startswith(("http.", "messaging.", "db.client.", "process.", "tallystick."))
    assert metric.unit in {"s", "By"} or metric.unit.startswith("{")
    assert not metric.name.endswith(("_total", ".total", ".count")) or metric.name.startswith("db.client.")
    assert not [one for one in metric.attributes if "tenant" in one or "person" in one or "user" in one]
    assert metric.kind is not Kind.HISTOGRAM or metric.unit == "s"
