"""Spans: what a process does for a request or an event, in W3C trace context, where an endpoint is set (`otlp.py`).

Without one nothing is made; a ``traceparent`` of one of our services is passed on all the same. A trace crosses the
outbox and the broker in the event itself, and every span bears the correlation id.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from tallystick_chassis.http.correlation import current_correlation
from tallystick_chassis.metric_catalogue import PROCESS_DURATION
from tallystick_chassis.metrics import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opentelemetry.trace import Span, Tracer
    from tallystick_contracts.envelope import Event

    from tallystick_chassis.service import Handler
    from tallystick_chassis.transaction import Transaction

CORRELATION_ATTRIBUTE: Final = "tallystick.correlation_id"
SPAN_ATTRIBUTES: Final = frozenset(
    """
    error.type http.request.method http.response.status_code http.route messaging.batch.message_count
    messaging.destination.name messaging.message.id messaging.operation.name messaging.operation.type messaging.system
    server.address tallystick.client_correlation_id tallystick.correlation_id tallystick.event.type tallystick.job
    tallystick.log.kind tallystick.peer url.scheme
    """.split()  # noqa: SIM905 - a list of 20 lines would be no clearer
)
"""The attributes that a span may have; as with log fields, none holds a person, an address or a typed text."""
MAX_LINKS: Final = 128
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_tracer: Tracer = NoOpTracer()


def use_tracer(tracer: Tracer | None) -> None:
    """Make spans with ``tracer`` from now on; ``None``: make none."""
    global _tracer  # noqa: PLW0603 - one process has one tracer, and every module its functions
    _tracer = tracer or NoOpTracer()


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[Span]:
    """Open a span, below the ``traceparent`` ``parent`` if one is given, with links to those in ``links``.

    Attributes are subject to an allow-list of their own. An error marks the span with its type alone: a message may
    quote a row.
    """
    context = _context_of(parent) if parent else None
    with _tracer.start_as_current_span(
        name,
        context=context,
        kind=kind,
        links=_links(links),
        attributes=_allowed(attributes or {}),
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        if (correlation := current_correlation.get()) is not None:
            opened.set_attribute(CORRELATION_ATTRIBUTE, correlation)
        try:
            yield opened
        except Exception as error:
            opened.set_attribute("error.type", type(error).__name__)
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


@contextmanager
def working_for(correlation: str) -> Iterator[None]:
    """Let what the block logs, calls and spans bear ``correlation``."""
    reset = current_correlation.set(correlation)
    try:
        yield
    finally:
        current_correlation.reset(reset)


@contextmanager
def batch_span(
    name: str,
    *,
    kind: SpanKind,
    causes: Callable[[], Iterable[tuple[str | None, str | None]]],
    attributes: Mapping[str, str | int],
) -> Iterator[None]:
    """Open a span over work on many events, and at its end one of the same times in the trace of each of them.

    ``causes`` are the events' ``traceparent`` and correlation id, asked for only where spans are made. The batch's span
    links to the events' traces and theirs link to it, so both ways can be followed; of a batch with more than
    ``MAX_LINKS`` of them, the first.
    """
    distinct = list(dict.fromkeys(causes()))[:MAX_LINKS] if _tracer_is_on() else []
    started_ns = time.time_ns()
    with span(name, kind=kind, links=[trace for trace, _ in distinct if trace], attributes=attributes) as opened:
        batch = opened.get_span_context()
        try:
            yield
        finally:
            for parent, correlation in distinct:
                one = _tracer.start_span(
                    name,
                    context=_context_of(parent) if parent else Context(),
                    kind=kind,
                    links=[Link(batch)],
                    attributes=_allowed(attributes),
                    start_time=started_ns,
                )
                if correlation:
                    one.set_attribute(CORRELATION_ATTRIBUTE, correlation)
                one.end()


def traced(handler: Handler) -> Handler:
    """Return ``handler`` with the event's correlation in its logs and calls, in a span below the event's own trace."""

    async def handle(tx: Transaction, event: Event) -> None:
        about = {
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "tallystick.event.type": event.type,
        }
        also = {"messaging.operation.type": "process", "messaging.message.id": str(event.id)}
        producer = [event.trace] if event.trace else []
        started = time.perf_counter()
        error_type = {}
        correlation = working_for(event.correlation) if event.correlation else nullcontext()
        with (
            correlation,
            span(
                f"process {event.type}",
                kind=SpanKind.CONSUMER,
                parent=event.trace,
                links=producer,
                attributes=about | also,
            ),
        ):
            try:
                await handler(tx, event)
            except Exception as error:
                error_type = {"error.type": type(error).__name__}
                raise
            finally:
                record(PROCESS_DURATION, time.perf_counter() - started, about | error_type)

    return handle


def _tracer_is_on() -> bool:
    return not isinstance(_tracer, NoOpTracer)


def _allowed(attributes: Mapping[str, str | int]) -> dict[str, str | int]:
    return {key: value for key, value in attributes.items() if key in SPAN_ATTRIBUTES}


def _links(traceparents: Iterable[str]) -> list[Link]:
    contexts = (_span_context(one) for one in traceparents)
    return [Link(context) for context in contexts if context is not None]


def current_traceparent() -> str | None:
    """Return the W3C ``traceparent`` of the current span; ``None`` if there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    trace_id, span_id = trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
    return f"00-{trace_id}-{span_id}-{context.trace_flags:02x}"


def is_traceparent(text: str) -> bool:
    """Say whether ``text`` has the form of a ``traceparent`` (W3C Trace Context, version 00)."""
    return _TRACEPARENT.fullmatch(text) is not None


def _span_context(traceparent: str) -> SpanContext | None:
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return SpanContext(trace_id=trace_id, span_id=span_id, is_remote=True, trace_flags=TraceFlags(flags))


def _context_of(parent: str) -> Context | None:
    remote = _span_context(parent)
    return None if remote is None else trace.set_span_in_context(NonRecordingSpan(remote))
