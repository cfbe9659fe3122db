"""Every metric there is: name, kind, unit, meaning and attributes. What is not here cannot be measured.

Names and units follow OpenTelemetry's semantic conventions; what is ours alone begins with ``tallystick.``. No
attribute is a tenant, a person or anything that a caller can invent.
``docs/reference/telemetry.md`` is made from this list.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(enum.Enum):
    """How a metric behaves over time."""

    COUNTER = "counter"
    UP_DOWN_COUNTER = "up-down counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``unit`` is UCUM (``s``, ``By``, ``{event}``, ``1``); ``roles`` are the processes that have it."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    attributes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("api", "worker")


def _counter(name: str, unit: str, meaning: str, *attributes: str, roles: tuple[str, ...] = ("worker",)) -> Metric:
    return Metric(name, Kind.COUNTER, unit, meaning, attributes, roles)


def _gauge(name: str, unit: str, meaning: str, *attributes: str, roles: tuple[str, ...] = ("worker",)) -> Metric:
    return Metric(name, Kind.GAUGE, unit, meaning, attributes, roles)


def _histogram(name: str, meaning: str, *attributes: str, roles: tuple[str, ...]) -> Metric:
    return Metric(name, Kind.HISTOGRAM, "s", meaning, attributes, roles)


HTTP_SERVER_DURATION: Final = _histogram(
    "http.server.request.duration",
    "How long requests took, by route template and status",
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "error.type",
    "url.scheme",
    roles=("api",),
)
HTTP_SERVER_ACTIVE: Final = Metric(
    "http.server.active_requests",
    Kind.UP_DOWN_COUNTER,
    "{request}",
    "Requests under way",
    ("http.request.method", "url.scheme"),
    ("api",),
)
HTTP_CLIENT_DURATION: Final = _histogram(
    "http.client.request.duration",
    "How long calls to our other services took",
    "http.request.method",
    "http.response.status_code",
    "error.type",
    "server.address",
    "tallystick.peer",
    roles=("api", "worker"),
)
PROCESS_DURATION: Final = _histogram(
    "messaging.process.duration",
    "How long handling one event took",
    "messaging.system",
    "messaging.operation.name",
    "tallystick.event.type",
    "error.type",
    roles=("worker",),
)
SENT: Final = _counter(
    "messaging.client.sent.messages", "{message}", "Events that JetStream confirmed", "messaging.system", "error.type"
)
POOL_USED: Final = _gauge(
    "db.client.connection.count",
    "{connection}",
    "Connections of a pool, by state (`used`, `idle`)",
    "db.client.connection.pool.name",
    "db.client.connection.state",
    roles=("api", "worker"),
)
POOL_MAX: Final = _gauge(
    "db.client.connection.max",
    "{connection}",
    "Connections that a pool may open",
    "db.client.connection.pool.name",
    roles=("api", "worker"),
)
MEMORY: Final = _gauge("process.memory.usage", "By", "Resident memory of the process", roles=("api", "worker"))
CPU_TIME: Final = Metric(
    "process.cpu.time", Kind.COUNTER, "s", "Processor time that the process has used", ("cpu.mode",)
)
JOB_FAILURES: Final = _counter("tallystick.job.failures", "{failure}", "Steps of a duty that failed", "tallystick.job")
JOB_IDLE: Final = _gauge("tallystick.job.age", "s", "Time since a duty's last step that succeeded", "tallystick.job")
OUTBOX_AGE: Final = _gauge("tallystick.outbox.age", "s", "Age of the oldest event that the ledger has not confirmed")
OUTBOX_UNPUBLISHED: Final = _gauge("tallystick.outbox.unpublished", "{event}", "Committed events not yet in JetStream")
RECEIPTS_OUTSTANDING: Final = _gauge(
    "tallystick.receipts.outstanding", "{event}", "Published events without the ledger's receipt"
)
CONSUMER_LAG: Final = _gauge(
    "tallystick.consumer.lag",
    "{message}",
    "Messages that a durable has not been given yet",
    "messaging.destination.name",
    "messaging.consumer.group.name",
)
DEAD_LETTERS: Final = _gauge(
    "tallystick.dead_letters", "{event}", "Dead letters that wait for an operator", "messaging.consumer.group.name"
)
RECEIPTS_REFUSED: Final = _counter("tallystick.receipts.refused", "{receipt}", "Receipts that do not hold")
EPOCH_AGE: Final = _gauge(
    "tallystick.session.epoch.age",
    "s",
    "How long nothing was heard of revoked sessions; beyond 2 s identity is asked for each request",
    roles=("api",),
)
RATE_LIMITED: Final = _counter(
    "tallystick.rate_limit.exceeded",
    "{request}",
    "Requests over a budget",
    "tallystick.budget",
    roles=("api",),
)
CHECK_FAILING: Final = _gauge(
    "tallystick.readiness.failing",
    "{check}",
    "1 where a readiness check fails, else 0; `row_level_security` is the self-test",
    "tallystick.check",
    roles=("api", "worker"),
)
LEDGER_RECORDED: Final = _counter(
    "tallystick.ledger.recorded",
    "{event}",
    "Events that became entries, by type. Security alerts count these",
    "tallystick.event.type",
    roles=("api", "worker"),
)
LEDGER_SIZE: Final = _gauge(
    "tallystick.ledger.size", "{entry}", "Entries of all open logs of a kind: the chains' height", "tallystick.log.kind"
)
LEDGER_LOGS: Final = _gauge("tallystick.ledger.logs", "{log}", "Open logs of a kind", "tallystick.log.kind")
CHECKPOINT_AGE: Final = _gauge(
    "tallystick.ledger.checkpoint.age", "s", "Time since the newest checkpoint of any log was signed"
)
VERIFICATION_AGE: Final = _gauge(
    "tallystick.ledger.verification.age", "s", "Time since every log was last held against its high-water mark"
)
LEDGER_FROZEN: Final = _gauge("tallystick.ledger.frozen", "{log}", "Logs that do not continue what was signed")
LEDGER_QUARANTINED: Final = _gauge("tallystick.ledger.quarantined", "{event}", "Events that cannot be recorded")
SIEM_BATCHES: Final = _counter(
    "tallystick.siem.batches", "{batch}", "Batches sent to SIEMs: `taken`, `refused`, `failed`", "tallystick.outcome"
)
SIEM_ENTRIES: Final = _counter("tallystick.siem.entries", "{entry}", "Entries that SIEMs took")
SIEM_DEAD_LETTERS: Final = _counter("tallystick.siem.dead_letters", "{entry}", "Entries that a SIEM refused for good")
SIEM_WAITING: Final = _gauge(
    "tallystick.siem.waiting", "{entry}", "Entries that the SIEM which is behind most has yet to take"
)
ERASURES_OPEN: Final = _gauge("tallystick.erasure.open", "{job}", "Erasures that are not complete")
ERASURE_AGE: Final = _gauge("tallystick.erasure.age", "s", "Age of the oldest erasure that is not complete")
PROOFS_PENDING: Final = _gauge("tallystick.proofs.pending", "{certificate}", "Public certificates without their proof")
MAIL_SENT: Final = _counter(
    "tallystick.mail.sent", "{mail}", "Mails that the mail server took or refused", "tallystick.outcome"
)

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {one.name: one for one in list(globals().values()) if isinstance(one, Metric)}
)
"""Every metric by its name."""
