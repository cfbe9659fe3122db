"""Telemetry: JSON logs with fields from an allow-list, and OpenTelemetry spans where an endpoint is set.

A log line is an event with fields, never a sentence with values in it. What is not on the list is dropped; what looks
like an address is masked even so; of an exception only type and places are kept, since its message may quote a row.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tallystick_chassis.http.correlation import current_correlation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, MutableMapping

    from opentelemetry.trace import Span
    from tallystick_contracts.envelope import Event

    from tallystick_chassis.service import Handler
    from tallystick_chassis.transaction import Transaction

Log = Any  # structlog's bound logger: its methods come from its configuration

ALLOWED_FIELDS: Final = frozenset(
    """
    aggregate aggregates application attempt attempts bytes capability check client_correlation_id code command
    confirmed consumer correlation_id count delay_s duration_ms entries epoch error event event_id event_type events
    exit_code failing frames gap head interval_s job job_id key_id kind lag last level library limit log log_id logger
    method outcome pending port process reason receipts revision role root route rows seq service signal size source
    source_seq span_id state status store stream stream_version subject_service table template tenant time
    timeout_s trace_id tries type version
    """.split()  # noqa: SIM905 - a list of 80 lines would be no clearer
)
"""The fields a log line may have. None of them holds a person, an address, a name or a text that someone typed."""

MAX_VALUE_CHARS: Final = 300
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,79}")
_ADDRESS = re.compile(r"[^\s@\"'<>]{1,64}@[^\s@\"'<>]{1,255}")
_PERSON = re.compile(r"\bp_[A-Za-z0-9_-]{22}\b")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_tracer = trace.get_tracer("tallystick")


def get_log(**fields: object) -> Log:
    """Return a logger that adds ``fields`` to each line."""
    return structlog.get_logger().bind(**fields)


def configure_logging(*, service: str, process: str, level: str = "INFO") -> None:
    """Send our own and the libraries' log lines to standard output as JSON, one object a line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _identity(service, process),
            _add_correlation,
            keep_allowed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=lambda *_: LineWriter(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_LibraryHandler()]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "litestar"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def keep_allowed(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Drop what is not on the list, mask what must not be there, and turn an exception into its type and places."""
    name = fields.get("event")
    error = fields.pop("exc_info", None)
    if error:
        found = sys.exc_info()[1] if error is True else error[1] if isinstance(error, tuple) else error
        if isinstance(found, BaseException):
            fields["error"] = type(found).__name__
            fields["frames"] = _places(found)
    kept = {key: _masked(value) for key, value in fields.items() if key in ALLOWED_FIELDS}
    kept["event"] = name if isinstance(name, str) and _EVENT_NAME.fullmatch(name) else "unnamed"
    return kept


def _masked(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(one) for one in list(value)[:50]]
    text = str(value)[:MAX_VALUE_CHARS]
    return _PERSON.sub("[person]", _ADDRESS.sub("[address]", text))


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return [f"{frame.filename.rsplit('site-packages/', 1)[-1][-80:]}:{frame.lineno} {frame.name}" for frame in frames]


def _identity(service: str, process: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        fields.update(service=service, process=process)
        return fields

    return add


def _add_correlation(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    correlation = current_correlation.get()
    if correlation is not None:
        fields.setdefault("correlation_id", correlation)
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        fields["trace_id"] = trace.format_trace_id(context.trace_id)
        fields["span_id"] = trace.format_span_id(context.span_id)
    return fields


class LineWriter:
    """Writes each line whole, so that threads do not mix theirs."""

    def msg(self, line: str) -> None:
        """Write one line to standard output, unless it takes none: a full disk below it must not stop the work."""
        with suppress(OSError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    debug = info = warning = error = critical = exception = msg


class _LibraryHandler(logging.Handler):
    """Takes what libraries log. Only the template is kept, where there is one: the arguments may hold anything."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        template = str(record.msg) if record.args else None
        write = getattr(get_log(), level if level in {"warning", "error", "critical"} else "info")
        write("library", library=record.name, template=template, exc_info=record.exc_info)


def configure_tracing(*, service: str, process: str, endpoint: str | None) -> None:
    """Export spans over OTLP/HTTP to ``endpoint``; without one, spans are made nowhere and cost nothing."""
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - slow to import

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"tallystick-{service}", "service.instance.id": process})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)


@contextmanager
def span(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, parent: str | None = None, **attributes: str | int
) -> Iterator[Span]:
    """Open a span, below the ``traceparent`` ``parent`` if one is given. Attributes are subject to the same allow-list.

    An error marks the span with its type alone: a message may quote a row.
    """
    context = _context_of(parent) if parent else None
    allowed = {key: value for key, value in attributes.items() if key in ALLOWED_FIELDS}
    with _tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=allowed, record_exception=False, set_status_on_exception=False
    ) as opened:
        if (correlation := current_correlation.get()) is not None:
            opened.set_attribute("correlation_id", correlation)
        try:
            yield opened
        except Exception as error:
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def traced(handler: Handler) -> Handler:
    """Return ``handler`` with the event's correlation in its logs and calls, in a span below the event's own trace."""

    async def handle(tx: Transaction, event: Event) -> None:
        reset = current_correlation.set(event.correlation)
        try:
            with span(f"handle {event.type}", kind=SpanKind.CONSUMER, parent=event.trace, event_type=event.type):
                await handler(tx, event)
        finally:
            current_correlation.reset(reset)

    return handle


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


def _context_of(parent: str) -> Any:  # noqa: ANN401 - OpenTelemetry's Context
    found = _TRACEPARENT.fullmatch(parent)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    remote = SpanContext(trace_id=trace_id, span_id=span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return trace.set_span_in_context(NonRecordingSpan(remote))
