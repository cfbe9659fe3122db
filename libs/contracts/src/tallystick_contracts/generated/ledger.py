"""The `ledger` messages. Generated from proto/tallystick/ledger; run `make proto`."""

from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import Sealed, StoreErasure
from tallystick_contracts.message import EventData, EventType, LogKind, Message, PiiClass, UInt32


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


class AuditLogDropped(EventData, frozen=True, kw_only=True):
    """An expired audit log's entries are gone for good. Its name, size, root and final checkpoint stay."""

    # P0. The log's id.
    log: str = ""
    # P0. Entries that it had.
    size: UInt32 = 0
    # P0. Merkle root over them, base64.
    root: str = ""
    # P0. For example "2026-11".
    period: str = ""
    # P0. The log's name, as in its checkpoint's first line.
    origin: str = ""


class HoldPlaced(EventData, frozen=True, kw_only=True):
    """Nothing that the hold covers is dropped until it is released."""

    # P0. The hold's id.
    hold_id: str = msgspec.field(name="holdId", default="")
    # P0. The log that is held; absent: all of the tenant's.
    log: str | None = None
    # P0. Why, as a code or file number.
    code: str = ""


class HoldReleased(EventData, frozen=True, kw_only=True):
    """A hold ended; what it alone had kept may be dropped."""

    # P0. The hold's id.
    hold_id: str = msgspec.field(name="holdId", default="")
    # P0. The log that was held; absent: all of the tenant's.
    log: str | None = None
    # P0. Why it had been placed.
    code: str = ""


class BrokenLog(Message, frozen=True, kw_only=True):
    """A log whose signed history was lost."""

    # P0. Its origin.
    log: str = ""
    # P0. Entries up to which it was signed at least, by the mark outside the database.
    signed_size: UInt32 = msgspec.field(name="signedSize", default=0)
    # P0. Merkle root of those entries, base64.
    signed_root: str = msgspec.field(name="signedRoot", default="")
    # P0. Entries that the database still has.
    kept_size: UInt32 = msgspec.field(name="keptSize", default=0)
    # P0. Merkle root of those, base64.
    kept_root: str = msgspec.field(name="keptRoot", default="")


class LogSucceeded(EventData, frozen=True, kw_only=True):
    """After a restore that lost signed entries, a new log goes on where others could not."""

    # P0. The origin of the log that this entry begins.
    log: str = ""
    # P0. The logs that could not go on.
    broken: tuple[BrokenLog, ...] = ()
    # P2. Why, in the operator's words; sealed to the tenant. Absent where the tenant has no key.
    reason: Sealed | None = None


class PeriodSucceeded(EventData, frozen=True, kw_only=True):
    """The same in the audit log that begins: after a restore it goes on where others could not."""

    # P0. The origin of the log that this entry begins.
    log: str = ""
    # P0. The logs that could not go on.
    broken: tuple[BrokenLog, ...] = ()


class ExportCreated(EventData, frozen=True, kw_only=True):
    """A log was exported."""

    # P0. The exported log's id.
    log: str = ""
    # P0. Size of the checkpoint that the export carries.
    size: UInt32 = 0
    # P0. Entries exported.
    entries: UInt32 = 0


class ExportDownloaded(EventData, frozen=True, kw_only=True):
    """Somebody fetched an export's entries; recorded once an hour for each export and person, however many parts it
    took.
    """

    # P0. The exported log's id.
    log: str = ""
    # P0. Entries in the export.
    size: UInt32 = 0


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


class KeyRotated(EventData, frozen=True, kw_only=True):
    """The key that signs the compliance log's checkpoints was changed; both keys signed the statement."""

    # P0. Whose checkpoints: the log's origin; for the audit logs of all months "<prefix>/<tenant>/audit".
    log: str = ""
    # P0. Entries in it when the statement was signed.
    size: UInt32 = 0
    # P0. The public key before, base64 of 32 bytes (Ed25519).
    old_key: str = msgspec.field(name="oldKey", default="")
    # P0. The public key that signs every checkpoint over this entry, base64 of 32 bytes.
    new_key: str = msgspec.field(name="newKey", default="")
    # P0. The statement as a signed note, verbatim, with a signature of either key.
    statement: str = ""
    # P0. Until when checkpoints carry the old key's signature as well, UTC with six decimals.
    both_until: str = msgspec.field(name="bothUntil", default="")


class AuditKeyRotated(EventData, frozen=True, kw_only=True):
    """The key that signs the audit logs' checkpoints was changed; both keys signed the statement."""

    # P0. Whose checkpoints: the log's origin; for the audit logs of all months "<prefix>/<tenant>/audit".
    log: str = ""
    # P0. Entries in it when the statement was signed.
    size: UInt32 = 0
    # P0. The public key before, base64 of 32 bytes (Ed25519).
    old_key: str = msgspec.field(name="oldKey", default="")
    # P0. The public key that signs every checkpoint over this entry, base64 of 32 bytes.
    new_key: str = msgspec.field(name="newKey", default="")
    # P0. The statement as a signed note, verbatim, with a signature of either key.
    statement: str = ""
    # P0. Until when checkpoints carry the old key's signature as well, UTC with six decimals.
    both_until: str = msgspec.field(name="bothUntil", default="")


class SiemDestinationAdded(EventData, frozen=True, kw_only=True):
    """A SIEM gets the tenant's entries from now on."""

    # P0. The destination's id.
    destination_id: str = msgspec.field(name="destinationId", default="")
    # P0. "https" or "syslog".
    kind: str = ""
    # P0. Where it is, without the path, which may hold a token.
    host: str = ""
    # P0. The port there.
    port: UInt32 = 0
    # P0. Which kinds of logs it gets: "audit", "compliance".
    log_kinds: tuple[str, ...] = msgspec.field(name="logKinds", default=())
    # P0. Whether it also gets what was recorded before.
    from_beginning: bool = msgspec.field(name="fromBeginning", default=False)


class SiemDestinationChanged(EventData, frozen=True, kw_only=True):
    """Streaming to a SIEM was paused, or goes on."""

    # P0. The destination's id.
    destination_id: str = msgspec.field(name="destinationId", default="")
    # P0. Whether it gets nothing until it is resumed; nothing is left out then.
    paused: bool = False


class ReplayedLog(Message, frozen=True, kw_only=True):
    """A place in a log that a SIEM's stream goes on from."""

    # P0. The log's id.
    log: str = ""
    # P0. The first entry that is sent again.
    seq: UInt32 = 0


class SiemDestinationReplayed(EventData, frozen=True, kw_only=True):
    """A SIEM gets entries again that it was sent before."""

    # P0. The destination's id.
    destination_id: str = msgspec.field(name="destinationId", default="")
    # P0. From where, in each log that goes back.
    logs: tuple[ReplayedLog, ...] = ()


class SiemDestinationRemoved(EventData, frozen=True, kw_only=True):
    """A SIEM gets nothing any more, and its secret is gone."""

    # P0. The destination's id.
    destination_id: str = msgspec.field(name="destinationId", default="")


class SiemKeyRotated(EventData, frozen=True, kw_only=True):
    """The key that wraps the secrets of SIEM destinations is another one."""

    # P0. The epoch of the new key.
    epoch: str = ""
    # P0. The epoch of the key before.
    previous_epoch: str = msgspec.field(name="previousEpoch", default="")


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
        type="ledger.audit_log.dropped",
        version=1,
        service="ledger",
        aggregate="audit_log",
        verb="dropped",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=7,
        ocsf_status="Success",
        summary="An expired audit log's entries are gone for good. Its name, size, root and final checkpoint stay.",
        struct=AuditLogDropped,
        pii=MappingProxyType(
            {"log": PiiClass.P0, "size": PiiClass.P0, "root": PiiClass.P0, "period": PiiClass.P0, "origin": PiiClass.P0}
        ),
    ),
    EventType(
        type="ledger.hold.placed",
        version=1,
        service="ledger",
        aggregate="hold",
        verb="placed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=8,
        ocsf_status="Success",
        summary="Nothing that the hold covers is dropped until it is released.",
        struct=HoldPlaced,
        pii=MappingProxyType({"hold_id": PiiClass.P0, "log": PiiClass.P0, "code": PiiClass.P0}),
    ),
    EventType(
        type="ledger.hold.released",
        version=1,
        service="ledger",
        aggregate="hold",
        verb="released",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=9,
        ocsf_status="Success",
        summary="A hold ended; what it alone had kept may be dropped.",
        struct=HoldReleased,
        pii=MappingProxyType({"hold_id": PiiClass.P0, "log": PiiClass.P0, "code": PiiClass.P0}),
    ),
    EventType(
        type="ledger.log.succeeded",
        version=1,
        service="ledger",
        aggregate="log",
        verb="succeeded",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=2003,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="After a restore that lost signed entries, a new log goes on where others could not.",
        struct=LogSucceeded,
        pii=MappingProxyType(
            {
                "log": PiiClass.P0,
                "broken.log": PiiClass.P0,
                "broken.signed_size": PiiClass.P0,
                "broken.signed_root": PiiClass.P0,
                "broken.kept_size": PiiClass.P0,
                "broken.kept_root": PiiClass.P0,
                "reason": PiiClass.P2,
            }
        ),
    ),
    EventType(
        type="ledger.period.succeeded",
        version=1,
        service="ledger",
        aggregate="period",
        verb="succeeded",
        log=LogKind.AUDIT,
        must_record=True,
        public=False,
        ocsf_class=2003,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="The same in the audit log that begins: after a restore it goes on where others could not.",
        struct=PeriodSucceeded,
        pii=MappingProxyType(
            {
                "log": PiiClass.P0,
                "broken.log": PiiClass.P0,
                "broken.signed_size": PiiClass.P0,
                "broken.signed_root": PiiClass.P0,
                "broken.kept_size": PiiClass.P0,
                "broken.kept_root": PiiClass.P0,
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
        type="ledger.export.downloaded",
        version=1,
        service="ledger",
        aggregate="export",
        verb="downloaded",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="Somebody fetched an export's entries; recorded once an hour for each export and person, however many parts it took.",
        struct=ExportDownloaded,
        pii=MappingProxyType({"log": PiiClass.P0, "size": PiiClass.P0}),
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
    EventType(
        type="ledger.key.rotated",
        version=1,
        service="ledger",
        aggregate="key",
        verb="rotated",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=2003,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="The key that signs the compliance log's checkpoints was changed; both keys signed the statement.",
        struct=KeyRotated,
        pii=MappingProxyType(
            {
                "log": PiiClass.P0,
                "size": PiiClass.P0,
                "old_key": PiiClass.P0,
                "new_key": PiiClass.P0,
                "statement": PiiClass.P0,
                "both_until": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="ledger.audit_key.rotated",
        version=1,
        service="ledger",
        aggregate="audit_key",
        verb="rotated",
        log=LogKind.AUDIT,
        must_record=True,
        public=False,
        ocsf_class=2003,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="The key that signs the audit logs' checkpoints was changed; both keys signed the statement.",
        struct=AuditKeyRotated,
        pii=MappingProxyType(
            {
                "log": PiiClass.P0,
                "size": PiiClass.P0,
                "old_key": PiiClass.P0,
                "new_key": PiiClass.P0,
                "statement": PiiClass.P0,
                "both_until": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="ledger.siem_destination.added",
        version=1,
        service="ledger",
        aggregate="siem_destination",
        verb="added",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="A SIEM gets the tenant's entries from now on.",
        struct=SiemDestinationAdded,
        pii=MappingProxyType(
            {
                "destination_id": PiiClass.P0,
                "kind": PiiClass.P0,
                "host": PiiClass.P0,
                "port": PiiClass.P0,
                "log_kinds": PiiClass.P0,
                "from_beginning": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="ledger.siem_destination.changed",
        version=1,
        service="ledger",
        aggregate="siem_destination",
        verb="changed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="Success",
        summary="Streaming to a SIEM was paused, or goes on.",
        struct=SiemDestinationChanged,
        pii=MappingProxyType({"destination_id": PiiClass.P0, "paused": PiiClass.P0}),
    ),
    EventType(
        type="ledger.siem_destination.replayed",
        version=1,
        service="ledger",
        aggregate="siem_destination",
        verb="replayed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=6005,
        ocsf_activity=4,
        ocsf_status="Success",
        summary="A SIEM gets entries again that it was sent before.",
        struct=SiemDestinationReplayed,
        pii=MappingProxyType({"destination_id": PiiClass.P0, "logs.log": PiiClass.P0, "logs.seq": PiiClass.P0}),
    ),
    EventType(
        type="ledger.siem_destination.removed",
        version=1,
        service="ledger",
        aggregate="siem_destination",
        verb="removed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=4,
        ocsf_status="Success",
        summary="A SIEM gets nothing any more, and its secret is gone.",
        struct=SiemDestinationRemoved,
        pii=MappingProxyType({"destination_id": PiiClass.P0}),
    ),
    EventType(
        type="ledger.siem_key.rotated",
        version=1,
        service="ledger",
        aggregate="siem_key",
        verb="rotated",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="The key that wraps the secrets of SIEM destinations is another one.",
        struct=SiemKeyRotated,
        pii=MappingProxyType({"epoch": PiiClass.P0, "previous_epoch": PiiClass.P0}),
    ),
)
