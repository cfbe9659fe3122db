"""The `ledger` messages. Generated from proto/tallystick/ledger; run `make proto`."""

from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import StoreErasure
from tallystick_contracts.message import EventData, EventType, LogKind, PiiClass, UInt32


class AuditLogClosed(EventData, frozen=True, kw_only=True):
    """An audit log's period ended; this is its final checkpoint."""

    # P0. The closed log's id.
    log: str = ""
    # P0. Entries in it.
    size: UInt32 = 0
    # P0. Merkle root, base64.
    root: str = ""
    # P0. The signed note, verbatim.
    checkpoint: str = ""
    # P0. For example "2026-11".
    period: str = ""


class ExportCreated(EventData, frozen=True, kw_only=True):
    """A log was exported."""

    # P0. The exported log's id.
    log: str = ""
    # P0. Size of the checkpoint that the export carries.
    size: UInt32 = 0
    # P0. Entries exported.
    entries: UInt32 = 0


class PublicationStarted(EventData, frozen=True, kw_only=True):
    """A log's checkpoint and hash tiles can now be read by anybody; its entries cannot."""

    # P0. The published log's id.
    log: str = ""
    # P0. Entries in it at that moment.
    size: UInt32 = 0


class PublicationStopped(EventData, frozen=True, kw_only=True):
    """A log's checkpoint and hash tiles are no longer given to anybody without a session."""

    # P0. The log's id.
    log: str = ""
    # P0. Entries in it at that moment.
    size: UInt32 = 0


class ErasureReceiptGiven(EventData, frozen=True, kw_only=True):
    """The service destroyed what it held about a person and says what each of its stores reported."""

    # P1. The erasure job.
    job_id: str = msgspec.field(name="jobId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. What each store of this service reports.
    stores: tuple[StoreErasure, ...] = ()


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        type="ledger.audit_log.closed",
        version=1,
        service="ledger",
        aggregate="audit_log",
        verb="closed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=2003,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="An audit log's period ended; this is its final checkpoint.",
        struct=AuditLogClosed,
        pii=MappingProxyType(
            {
                "log": PiiClass.P0,
                "size": PiiClass.P0,
                "root": PiiClass.P0,
                "checkpoint": PiiClass.P0,
                "period": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="ledger.export.created",
        version=1,
        service="ledger",
        aggregate="export",
        verb="created",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=4,
        ocsf_status="Success",
        summary="A log was exported.",
        struct=ExportCreated,
        pii=MappingProxyType({"log": PiiClass.P0, "size": PiiClass.P0, "entries": PiiClass.P0}),
    ),
    EventType(
        type="ledger.publication.started",
        version=1,
        service="ledger",
        aggregate="publication",
        verb="started",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=3,
        ocsf_status="Success",
        summary="A log's checkpoint and hash tiles can now be read by anybody; its entries cannot.",
        struct=PublicationStarted,
        pii=MappingProxyType({"log": PiiClass.P0, "size": PiiClass.P0}),
    ),
    EventType(
        type="ledger.publication.stopped",
        version=1,
        service="ledger",
        aggregate="publication",
        verb="stopped",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=3,
        ocsf_status="Success",
        summary="A log's checkpoint and hash tiles are no longer given to anybody without a session.",
        struct=PublicationStopped,
        pii=MappingProxyType({"log": PiiClass.P0, "size": PiiClass.P0}),
    ),
    EventType(
        type="ledger.erasure_receipt.given",
        version=1,
        service="ledger",
        aggregate="erasure_receipt",
        verb="given",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=7,
        ocsf_status="Success",
        summary="The service destroyed what it held about a person and says what each of its stores reported.",
        struct=ErasureReceiptGiven,
        pii=MappingProxyType(
            {
                "job_id": PiiClass.P1,
                "person": PiiClass.P1,
                "stores.name": PiiClass.P0,
                "stores.items": PiiClass.P0,
                "stores.outcome": PiiClass.P0,
            }
        ),
    ),
)
