"""Who publishes and reads what on NATS: services, streams, durable consumers, and each user's permissions."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from uuid import UUID

EVENT_STREAM = "EVT"
RECEIPT_STREAM = "RCPT"
STREAM_SUBJECTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {EVENT_STREAM: ("evt.>",), RECEIPT_STREAM: ("rcpt.*",)}
)
RECEIPT_MAX_AGE_S = 86_400
ACK_WAIT_S = 30
PULL_EXPIRES_S = 10
MAX_ACK_PENDING = 2_000
CLOUD_EVENT_TYPE_PREFIX = "dev.tallystick."


class ServiceName(enum.StrEnum):
    """The name a service goes by in events, on NATS and as a client."""

    IDENTITY = "identity"
    ASSESSMENT = "assessment"
    LEDGER = "ledger"
    VERIFICATION = "verification"
    PRIVACY = "privacy"


SERVICES: frozenset[str] = frozenset(ServiceName)
# Folder, image and Helm component names differ in one case.
SERVICE_FOLDERS: Mapping[ServiceName, str] = MappingProxyType(
    {name: "privacy-worker" if name is ServiceName.PRIVACY else str(name) for name in ServiceName}
)
SERVICE_PACKAGES: Mapping[ServiceName, str] = MappingProxyType(
    {name: f"tallystick_{folder.replace('-', '_')}" for name, folder in SERVICE_FOLDERS.items()}
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Events of one source and aggregate, of any tenant; "*" stands for any."""

    source: str = "*"
    aggregate: str = "*"

    @property
    def subject(self) -> str:
        """The NATS filter subject."""
        if self.source == self.aggregate == "*":
            return "evt.>"
        return f"evt.*.{self.source}.{self.aggregate}.*"

    def matches(self, source: str, aggregate: str) -> bool:
        """Whether events of `source` and `aggregate` pass."""
        return self.source in ("*", source) and self.aggregate in ("*", aggregate)


@dataclass(frozen=True, slots=True)
class Durable:
    """A durable pull consumer with explicit acknowledgement."""

    name: str
    service: ServiceName
    stream: str
    filter_subjects: tuple[str, ...]
    filters: tuple[Filter, ...] = ()
    ack_wait_s: int = ACK_WAIT_S
    max_ack_pending: int = MAX_ACK_PENDING

    @property
    def pull_subject(self) -> str:
        """The API subject that asks for messages; one request may get many answers."""
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.name}"

    def matches(self, source: str, aggregate: str) -> bool:
        """Whether this consumer gets events of `source` and `aggregate`."""
        return any(wanted.matches(source, aggregate) for wanted in self.filters)


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects a NATS user may publish and subscribe; everything else is denied.

    Reply subjects are not checked against them. So each service has an account of its own (ADR 0023), which reaches the
    broker's by these publish subjects and nothing else.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def event_subject(tenant: UUID, source: str, aggregate: str, verb: str) -> str:
    """Return the subject an event is published on."""
    return f"evt.{tenant}.{source}.{aggregate}.{verb}"


def receipt_subject(service: str) -> str:
    """Return the subject of the ledger's receipts for a service."""
    return f"rcpt.{service}"


def head_subject(service: str) -> str:
    """Return the core subject on which a source announces its heads."""
    return f"head.{service}"


EPOCH_SUBJECT = "epoch.identity"
"""The core subject on which identity says, twice a second and at each change, what others must forget (ADR 0039)."""

EPOCH_FOLLOWERS = frozenset(ServiceName) - {ServiceName.IDENTITY}
"""The services that check sessions by themselves; identity looks in its own tables."""


def inbox_prefix(service: str) -> str:
    """Return the prefix of the reply subjects that only this service may read."""
    return f"_INBOX_{service}"


def cloud_event_type(event_type: str, version: int) -> str:
    """Return the `ce-type` header."""
    return f"{CLOUD_EVENT_TYPE_PREFIX}{event_type}.v{version}"


def _events(name: str, service: ServiceName, *filters: Filter) -> Durable:
    return Durable(name, service, EVENT_STREAM, tuple(wanted.subject for wanted in filters), filters)


_TENANT = Filter("identity", "tenant")
_USER = Filter("identity", "user")
_TENANT_KEY = Filter("privacy", "tenant_key")
_ERASURE = Filter("privacy", "erasure")

DURABLES: tuple[Durable, ...] = (
    _events("identity", ServiceName.IDENTITY, Filter("privacy", "key"), _TENANT_KEY, _ERASURE),
    _events(
        "assessment",
        ServiceName.ASSESSMENT,
        _TENANT,
        _USER,
        _TENANT_KEY,
        _ERASURE,
        Filter("assessment", "submission"),  # its own: scoring follows the submission
    ),
    # The writer answers within 2 s; what a killed one had in hand must be with another within 5 s (docs/adr/0024).
    replace(_events("ledger", ServiceName.LEDGER, Filter()), ack_wait_s=3, max_ack_pending=10_000),
    _events("ledger-directory", ServiceName.LEDGER, _TENANT, _TENANT_KEY, _ERASURE),
    _events(
        "verification",
        ServiceName.VERIFICATION,
        _TENANT,
        _TENANT_KEY,
        _ERASURE,
        Filter("assessment", "credential"),
    ),
    _events("privacy", ServiceName.PRIVACY, _TENANT, _USER, Filter(aggregate="erasure_receipt")),
    *(Durable(f"rcpt-{name}", name, RECEIPT_STREAM, (receipt_subject(name),)) for name in ServiceName),
)


def durables_of(service: str) -> tuple[Durable, ...]:
    """Return the durable consumers that a service reads."""
    return tuple(durable for durable in DURABLES if durable.service == service)


def permissions_of(service: ServiceName) -> Permissions:
    """Return what a service's NATS user may do: its own subjects, its own durables, no stream management."""
    publish = [f"evt.*.{service}.>", head_subject(service)]
    subscribe = [f"{inbox_prefix(service)}.>", "head.*"]
    if service is ServiceName.IDENTITY:
        publish.append(EPOCH_SUBJECT)
    if service in EPOCH_FOLLOWERS:
        subscribe.append(EPOCH_SUBJECT)
    if service is ServiceName.LEDGER:
        publish.append("rcpt.*")
    for durable in durables_of(service):
        publish += [durable.pull_subject, f"$JS.ACK.{durable.stream}.{durable.name}.>"]
    return Permissions(tuple(publish), tuple(subscribe))


def core_exports_of(service: ServiceName) -> Mapping[str, frozenset[ServiceName]]:
    """Return the subjects that a service says to others without a stream between them, and who may hear each."""
    exports = {head_subject(service): frozenset(ServiceName) - {service}}
    if service is ServiceName.IDENTITY:
        exports[EPOCH_SUBJECT] = EPOCH_FOLLOWERS
    return MappingProxyType(exports)
