"""Logs are JSON events with fields from an allow-list; nothing personal passes, whichever way it tries."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tallystick_chassis import spans as spans_module
from tallystick_chassis.http.correlation import current_correlation
from tallystick_chassis.spans import current_traceparent, span, traced
from tallystick_chassis.telemetry import configure_logging, get_log

CANARIES = ("ada@canary.example", "p_abcdefghijklmnopqrstuv", "Lovelace", "192.0.2.77", "tok-canary")


@pytest.fixture
def lines(capsys):
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configure_logging(service="ledger", process="api", level="DEBUG")

    def read() -> list[dict]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    yield read
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_a_log_that_takes_no_more_lines_does_not_stop_what_it_tells_of(lines, monkeypatch):
    get_log().info("before")
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as full:
        monkeypatch.setattr("sys.stdout", full)
        for _ in range(100):
            get_log().info("request", count=1)
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # so that it can be closed
    get_log().info("after")
    assert [line["event"] for line in lines()] == ["before", "after"]


@pytest.mark.control("EV-25c")
@pytest.mark.parametrize("canary", CANARIES)
def test_personal_data_never_reaches_the_log_whichever_way_it_tries(lines, canary):
    log = get_log(email=canary)
    log.info("request", name_of_person=canary, body={"x": canary}, ip=canary, token=canary)
    log.info(f"user {canary} signed in")  # noqa: G004 - the mistake under test
    log.info("request", route=f"GET /x/{canary}" if "@" in canary or canary.startswith("p_") else "GET /x/{id}")
    logging.getLogger("some.library").warning(f"cannot deliver to {canary}")  # noqa: G004
    logging.getLogger("some.library").error("cannot deliver to %s", canary)
    try:
        raise ValueError(canary)  # noqa: TRY301 - as a domain function would
    except ValueError:
        log.exception("request_failed")
        logging.getLogger("some.library").exception("failed for %s", canary)
    written = lines()
    assert len(written) == 7
    assert canary not in json.dumps(written)


def test_a_line_is_an_event_with_service_time_and_correlation(lines):
    reset = current_correlation.set("corr-1")
    get_log().info("request", route="GET /x", status=200)
    current_correlation.reset(reset)
    (line,) = lines()
    assert line["event"] == "request"
    assert (line["service"], line["process"], line["level"], line["correlation_id"]) == (
        "ledger",
        "api",
        "info",
        "corr-1",
    )
    assert line["time"].endswith("Z")
    assert (line["route"], line["status"]) == ("GET /x", 200)


def test_an_exception_is_logged_by_type_and_place(lines):
    def place() -> None:
        raise KeyError(CANARIES[0])

    try:
        place()
    except KeyError:
        get_log().exception("request_failed")
    (line,) = lines()
    assert line["error"] == "KeyError"
    assert line["frames"][-1].endswith("place")


def test_an_event_without_a_proper_name_is_called_unnamed(lines):
    get_log().info("Something happened!")
    assert lines()[0]["event"] == "unnamed"


def test_a_librarys_line_keeps_its_template_and_not_its_arguments(lines):
    logging.getLogger("lib").warning("lost %s of %d", "canary", 3)
    (line,) = lines()
    assert (line["library"], line["template"], line["level"]) == ("lib", "lost %s of %d", "warning")


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans_module, "_tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


@pytest.mark.control("EV-25b")
def test_spans_and_log_lines_carry_the_same_correlation_and_trace(spans, lines):
    reset = current_correlation.set("corr-1")
    with span("work", attributes={"http.route": "/x", "user.email": "ada@canary.example"}):
        get_log().info("request")
        traceparent = current_traceparent()
    current_correlation.reset(reset)
    (finished,) = spans.get_finished_spans()
    (line,) = lines()
    assert dict(finished.attributes) == {"http.route": "/x", "tallystick.correlation_id": "corr-1"}
    assert line["trace_id"] == trace.format_trace_id(finished.context.trace_id)
    assert traceparent.startswith(f"00-{line['trace_id']}-{line['span_id']}-")


@pytest.mark.control("EV-25c")
def test_a_span_names_the_type_of_an_error_and_not_its_message(spans):
    with pytest.raises(ValueError, match="canary"), span("work"):
        raise ValueError(CANARIES[0])
    (finished,) = spans.get_finished_spans()
    assert finished.status.description == "ValueError"
    assert not finished.events


def test_a_parent_is_followed_also_where_no_spans_are_made():
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    with span("work", parent=parent):
        assert current_traceparent() == parent
    with span("work", parent="rubbish"):
        assert current_traceparent() is None


@pytest.mark.control("EV-25b")
async def test_a_handler_works_under_its_events_correlation_and_trace(spans):
    seen = []

    async def handle(_tx, _event) -> None:
        seen.append(current_correlation.get())

    event = SimpleNamespace(id="e-1", type="a.b.c", correlation="corr-2", trace=f"00-{'a' * 32}-{'b' * 16}-01")
    await traced(handle)(None, event)
    (finished,) = spans.get_finished_spans()
    assert seen == ["corr-2"]
    assert trace.format_trace_id(finished.context.trace_id) == "a" * 32
    (link,) = finished.links
    assert trace.format_span_id(link.context.span_id) == "b" * 16
    assert current_correlation.get() is None
