"""Exporting traces, metrics and logs by OTLP over HTTP, from threads of their own.

A collector that is down, slow or hangs costs what does not fit in the queues, and nothing else: a request only puts
into a bounded queue, which drops. Each send has a time limit, and the end of the process waits two seconds for all.
"""

from __future__ import annotations

import os
import resource as rusage
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from tallystick_chassis import metrics
from tallystick_chassis.metric_catalogue import CPU_TIME, MEMORY
from tallystick_chassis.spans import use_tracer
from tallystick_chassis.telemetry import use_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.resources import Resource

SEND_TIMEOUT_S: Final = 3.0
CLOSE_TIMEOUT_S: Final = 2.0
QUEUE: Final = 4_096
"""Spans, and as many log lines, that wait to be sent; at about 1 kB each."""
BATCH: Final = 512
_DELAY_MS: Final = 1_000
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Where to, how often metrics (``interval_s``), and which part of the traces that begin here (``trace_ratio``)."""

    endpoint: str
    interval_s: float = 15.0
    trace_ratio: float = 1.0


class Exporting:
    """What is being exported; ``close`` sends the rest."""

    def __init__(self, shutdowns: Sequence[Callable[[], None]]) -> None:
        self._shutdowns = shutdowns

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send what is queued, for ``timeout_s`` at most; what is not sent then is lost."""
        metrics.use(None)
        use_tracer(None)
        use_logger(None)
        threads = [Thread(target=shutdown, daemon=True) for shutdown in self._shutdowns]
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def start_exporting(settings: OtlpSettings | None, *, service: str, process: str, version: str) -> Exporting:
    """Export what the process measures, spans and logs from now on; without settings nothing is made, at no cost."""
    if settings is None:
        return Exporting(())
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415 - slow to import
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - slow to import
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - slow to import
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415 - slow to import
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415 - slow to import
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - slow to import
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415 - slow to import
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - slow to import
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - slow to import
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415 - slow to import

    base = settings.endpoint.rstrip("/")
    about = _resource(service, process, version)

    tracers = TracerProvider(
        resource=about, sampler=ParentBasedTraceIdRatio(settings.trace_ratio), shutdown_on_exit=False
    )
    spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=SEND_TIMEOUT_S)
    tracers.add_span_processor(BatchSpanProcessor(spans, QUEUE, _DELAY_MS, BATCH))

    loggers = LoggerProvider(resource=about, shutdown_on_exit=False)
    lines = OTLPLogExporter(endpoint=f"{base}/v1/logs", timeout=SEND_TIMEOUT_S)
    loggers.add_log_record_processor(BatchLogRecordProcessor(lines, _DELAY_MS, BATCH, max_queue_size=QUEUE))

    figures = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=SEND_TIMEOUT_S)
    reader = PeriodicExportingMetricReader(figures, settings.interval_s * 1000, SEND_TIMEOUT_S * 1000)
    meters = MeterProvider([reader], resource=about, shutdown_on_exit=False)

    metrics.use(metrics.Meters(meters.get_meter("tallystick", version)))
    use_tracer(tracers.get_tracer("tallystick", version))
    use_logger(loggers.get_logger("tallystick", version))
    _watch_process()
    return Exporting((tracers.shutdown, loggers.shutdown, meters.shutdown))


def _resource(service: str, process: str, version: str) -> Resource:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above

    # An operator's OTEL_RESOURCE_ATTRIBUTES may name another namespace, so that two installations stay apart.
    return Resource({"service.namespace": "tallystick"}).merge(
        Resource.create(
            {
                "service.name": f"tallystick-{service}",
                "service.version": version,
                "service.instance.id": f"{socket.gethostname()}/{process}",
                "tallystick.process": process,
            }
        )
    )


def _watch_process() -> None:
    def used(index: int) -> Callable[[], float]:
        return lambda: float(rusage.getrusage(rusage.RUSAGE_SELF)[index])

    def resident() -> float | None:
        try:
            return float(int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES)
        except (OSError, ValueError, IndexError):
            return None  # no Linux

    metrics.watch(MEMORY, resident)
    metrics.watch(CPU_TIME, used(0), {"cpu.mode": "user"})
    metrics.watch(CPU_TIME, used(1), {"cpu.mode": "system"})
