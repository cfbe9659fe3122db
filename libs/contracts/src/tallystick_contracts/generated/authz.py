"""The `authz` messages. Generated from proto/tallystick/authz; run `make proto`."""

from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import Sealed
from tallystick_contracts.message import EventData, EventType, LogKind, PiiClass


class AccessDenied(EventData, frozen=True, kw_only=True):
    """A request was refused because its person lacks the capability."""

    # P0. Method and route template, never the path itself.
    route: str = ""
    # P0. The capability that was missing.
    capability: str = ""
    # P2. The caller's address.
    ip: Sealed | None = None


class RateLimitExceeded(EventData, frozen=True, kw_only=True):
    """Requests went over a budget; recorded once for each budget and window."""

    # P0. Method and route template, never the path itself.
    route: str = ""
    # P0. The budget's name.
    budget: str = ""
    # P2. The caller's address.
    ip: Sealed | None = None


class CrossTenantAttempted(EventData, frozen=True, kw_only=True):
    """A request named an id that belongs to another tenant."""

    # P0. Method and route template, never the path itself.
    route: str = ""
    # P0. SHA-256 of the id, hexadecimal: enough to compare, not to learn it.
    id_sha256: str = msgspec.field(name="idSha256", default="")
    # P0. The tenant whose person asked. The event itself stands in the platform's log: in the asking tenant's
    # own it would say that another tenant has this id.
    asking_tenant: str = msgspec.field(name="askingTenant", default="")


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        type="authz.access.denied",
        version=1,
        service=None,
        aggregate="access",
        verb="denied",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=6003,
        ocsf_activity=99,
        ocsf_status="Failure",
        summary="A request was refused because its person lacks the capability.",
        struct=AccessDenied,
        pii=MappingProxyType({"route": PiiClass.P0, "capability": PiiClass.P0, "ip": PiiClass.P2}),
    ),
    EventType(
        type="authz.rate_limit.exceeded",
        version=1,
        service=None,
        aggregate="rate_limit",
        verb="exceeded",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=6003,
        ocsf_activity=99,
        ocsf_status="Failure",
        summary="Requests went over a budget; recorded once for each budget and window.",
        struct=RateLimitExceeded,
        pii=MappingProxyType({"route": PiiClass.P0, "budget": PiiClass.P0, "ip": PiiClass.P2}),
    ),
    EventType(
        type="authz.cross_tenant.attempted",
        version=1,
        service=None,
        aggregate="cross_tenant",
        verb="attempted",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=2004,
        ocsf_activity=1,
        ocsf_status="",
        summary="A request named an id that belongs to another tenant.",
        struct=CrossTenantAttempted,
        pii=MappingProxyType({"route": PiiClass.P0, "id_sha256": PiiClass.P0, "asking_tenant": PiiClass.P0}),
    ),
)
