"""Telemetry: JSON logs with fields from an allow-list, on standard output and, where an endpoint is set, by OTLP.

A log line is an event with fields, never a sentence with values in it. What is not on the list is dropped; what looks
like an address is masked even so; of an exception only type and places are kept, since its message may quote a row.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber

from tallystick_chassis.http.correlation import current_correlation

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from opentelemetry._logs import Logger

Log = Any  # structlog's bound logger: its methods come from its configuration

ALLOWED_FIELDS: Final = frozenset(
    """
    aggregate aggregates application attempt attempts bytes capability check client_correlation_id code command
    confirmed consumer correlation_id count delay_s destination duration_ms entries epoch error event event_id
    event_type events exit_code failing frames gap head interval_s job job_id key_id kind lag last level library
    limit log log_id log_name logger method outcome pending port process reason receipts revision role root route
    rows seq service signal size source source_seq span_id state status store stream stream_version subject_service
    table template tenant time timeout_s trace_id tries type version
    """.split()  # noqa: SIM905 - a list of 80 lines would be no clearer
)
"""The fields a log line may have. None of them holds a person, an address, a name or a text that someone typed."""

MAX_VALUE_CHARS: Final = 300
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,79}")
_ADDRESS = re.compile(r"[^\s@\"'<>]{1,64}@[^\s@\"'<>]{1,255}")
_PERSON = re.compile(r"\bp_[A-Za-z0-9_-]{22}\b")
_NAMES: Final = {"error": "error.type", "method": "http.request.method", "status": "http.response.status_code"}
_NOT_ATTRIBUTES: Final = frozenset({"event", "level", "time", "service", "process", "trace_id", "span_id"})
_SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_exported: list[Logger] = []


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
            export_line,
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


def use_logger(logger: Logger | None) -> None:
    """Send log lines to ``logger`` as well; ``None``: to standard output only (`otlp.py`)."""
    _exported[:] = [] if logger is None else [logger]


def export_line(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hand a finished log line to the exporter, if there is one; it takes it into a queue that drops."""
    # What the exporter itself complains of stays here: sent, it would cause what it tells of.
    if _exported and not str(fields.get("library", "")).startswith(("opentelemetry", "urllib3", "requests")):
        level = str(fields.get("level", "info"))
        attributes = {
            _NAMES.get(name, f"tallystick.{name}"): value
            if not isinstance(value, list)
            else [str(one) for one in value]
            for name, value in fields.items()
            if name not in _NOT_ATTRIBUTES and value is not None
        }
        for logger in _exported:
            logger.emit(
                timestamp=time.time_ns(),
                severity_text=level.upper(),
                severity_number=_SEVERITIES.get(level, SeverityNumber.INFO),
                body=str(fields.get("event", "")),
                event_name=f"tallystick.{fields.get('event', '')}",
                attributes=attributes,
            )
    return fields
