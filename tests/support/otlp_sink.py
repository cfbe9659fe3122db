"""An OTLP/HTTP collector for tests: it takes what a process exports, and shows it decoded. It can also hang."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_BATCH_KINDS = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


@dataclass(frozen=True)
class SeenSpan:
    """One span as it arrived; ids in hexadecimal, ``parent`` empty for a root."""

    service: str
    process: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    start_ns: int
    end_ns: int

    @property
    def correlation(self) -> str | None:
        """The correlation id that it bears."""
        return self.attributes.get("tallystick.correlation_id")


@dataclass(frozen=True)
class SeenLine:
    """One log line as it arrived."""

    service: str
    process: str
    body: str
    severity: str
    trace: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class SeenPoint:
    """One data point of a metric; ``exemplars`` are trace ids, ``value`` a histogram's count."""

    service: str
    process: str
    metric: str
    unit: str
    kind: str
    attributes: dict[str, Any]
    value: float
    exemplars: tuple[str, ...] = ()


@dataclass
class OtlpSink:
    """What has arrived at ``endpoint``; the bodies are kept as files in ``folder`` and decoded when asked for."""

    folder: Path
    endpoint: str = ""
    hangs: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _decoded: dict[str, list[Any]] = field(default_factory=lambda: {"traces": [], "logs": [], "metrics": []})
    _read: dict[str, int] = field(default_factory=lambda: {"traces": 0, "logs": 0, "metrics": 0})
    _written: dict[str, int] = field(default_factory=lambda: {"traces": 0, "logs": 0, "metrics": 0})

    def take(self, kind: str, body: bytes) -> None:
        """Keep one export."""
        with self._lock:
            number = self._written[kind]
            (self.folder / f"{kind}-{number:06}.pb").write_bytes(body)
            self._written[kind] = number + 1

    def spans(self) -> list[SeenSpan]:
        """Return every span so far."""
        return self._all("traces")

    def lines(self) -> list[SeenLine]:
        """Return every log line so far."""
        return self._all("logs")

    def points(self) -> list[SeenPoint]:
        """Return every data point so far, those of the same series one after the other."""
        return self._all("metrics")

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Return the bodies as they came, by file name."""
        for file in sorted(self.folder.glob("*.pb")):
            yield file.name, file.read_bytes()

    def _all(self, kind: str) -> list[Any]:
        with self._lock:
            for number in range(self._read[kind], self._written[kind]):
                request = _BATCH_KINDS[kind].FromString((self.folder / f"{kind}-{number:06}.pb").read_bytes())
                self._decoded[kind] += _DECODERS[kind](request)
            self._read[kind] = self._written[kind]
            return list(self._decoded[kind])


@contextlib.contextmanager
def open_sink(folder: Path) -> Iterator[OtlpSink]:
    """Listen on a free port of this machine while the block runs."""
    sink = OtlpSink(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        kinds: ClassVar = {f"/v1/{kind}": kind for kind in _BATCH_KINDS}

        def do_POST(self) -> None:
            sink.requests += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if sink.hangs.is_set():
                sink.release.wait()
                self.close_connection = True
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sink.take(self.kinds[self.path], body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A process that was killed in the middle of an export is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    sink.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


def _who(resource: Any) -> tuple[str, str]:
    about = _attributes(resource.attributes)
    return about["service.name"].removeprefix("tallystick-"), about["tallystick.process"]


def _spans(request: Any) -> Iterator[SeenSpan]:
    for group in request.resource_spans:
        for scope in group.scope_spans:
            for one in scope.spans:
                yield SeenSpan(
                    *_who(group.resource),
                    name=one.name,
                    kind=one.kind,
                    trace=one.trace_id.hex(),
                    id=one.span_id.hex(),
                    parent=one.parent_span_id.hex(),
                    attributes=_attributes(one.attributes),
                    links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in one.links),
                    start_ns=one.start_time_unix_nano,
                    end_ns=one.end_time_unix_nano,
                )


def _lines(request: Any) -> Iterator[SeenLine]:
    for group in request.resource_logs:
        for scope in group.scope_logs:
            for one in scope.log_records:
                yield SeenLine(
                    *_who(group.resource),
                    body=one.body.string_value,
                    severity=one.severity_text,
                    trace=one.trace_id.hex(),
                    attributes=_attributes(one.attributes),
                )


def _points(request: Any) -> Iterator[SeenPoint]:
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points:
                    value = point.count if kind == "histogram" else getattr(point, point.WhichOneof("value"))
                    yield SeenPoint(
                        *_who(group.resource),
                        metric=metric.name,
                        unit=metric.unit,
                        kind=kind,
                        attributes=_attributes(point.attributes),
                        value=value,
                        exemplars=tuple(one.trace_id.hex() for one in point.exemplars),
                    )


_DECODERS = {"traces": _spans, "logs": _lines, "metrics": _points}
