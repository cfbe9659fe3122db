"""The `privacy` messages. Generated from proto/tallystick/privacy; run `make proto`."""

from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import StoreErasure
from tallystick_contracts.message import EventData, EventType, LogKind, Message, PiiClass, UInt32


class PooledKey(Message, frozen=True, kw_only=True):
    """One public key of the pool."""

    # P1.
    key_id: str = msgspec.field(name="keyId", default="")
    # P1. X25519 public key, base64.
    public_key: str = msgspec.field(name="publicKey", default="")


class StoreReceipt(Message, frozen=True, kw_only=True):
    """What one store reported."""

    # P0. "<service>/<store>".
    store: str = ""
    # P0. RFC 3339.
    at: str = ""
    # P0. Items destroyed.
    items: UInt32 = 0


class KeyMinted(EventData, frozen=True, kw_only=True):
    """Key pairs for people to come were added to the pool."""

    # P0.
    keys: tuple[PooledKey, ...] = ()


class TenantKeyMinted(EventData, frozen=True, kw_only=True):
    """The tenant's sealing key of a day was made."""

    # P0. The first day it is used, for example "2026-11-21".
    day: str = ""
    # P1.
    key_id: str = msgspec.field(name="keyId", default="")
    # P0. X25519 public key, base64.
    public_key: str = msgspec.field(name="publicKey", default="")


class ErasureOrdered(EventData, frozen=True, kw_only=True):
    """Every service is told to destroy what it holds about a person."""

    # P1.
    job_id: str = msgspec.field(name="jobId", default="")
    # P1. The person's pseudonym.
    person: str = ""


class UserAnonymised(EventData, frozen=True, kw_only=True):
    """A person's private key is destroyed and every store has answered."""

    # P1.
    job_id: str = msgspec.field(name="jobId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P1. SHA-256 of the public key whose private half is destroyed, hexadecimal.
    key_fingerprint: str = msgspec.field(name="keyFingerprint", default="")
    # P0. What each store reported.
    receipts: tuple[StoreReceipt, ...] = ()
    # P0. The day the last backup that holds the key expires, for example "2026-12-21".
    irrecoverable_after: str = msgspec.field(name="irrecoverableAfter", default="")


class ErasureReceiptGiven(EventData, frozen=True, kw_only=True):
    """The service destroyed what it held about a person and says what each of its stores reported."""

    # P1. The erasure job.
    job_id: str = msgspec.field(name="jobId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. What each store of this service reports.
    stores: tuple[StoreErasure, ...] = ()


class OpeningKeyRotated(EventData, frozen=True, kw_only=True):
    """The key that wraps the private keys of people and of tenants is another one."""

    # P0. The epoch of the new key.
    epoch: str = ""
    # P0. The epoch of the key before.
    previous_epoch: str = msgspec.field(name="previousEpoch", default="")


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        type="privacy.key.minted",
        version=1,
        service="privacy",
        aggregate="key",
        verb="minted",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="Key pairs for people to come were added to the pool.",
        struct=KeyMinted,
        pii=MappingProxyType({"keys.key_id": PiiClass.P1, "keys.public_key": PiiClass.P1}),
    ),
    EventType(
        type="privacy.tenant_key.minted",
        version=1,
        service="privacy",
        aggregate="tenant_key",
        verb="minted",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="The tenant's sealing key of a day was made.",
        struct=TenantKeyMinted,
        pii=MappingProxyType({"day": PiiClass.P0, "key_id": PiiClass.P1, "public_key": PiiClass.P0}),
    ),
    EventType(
        type="privacy.erasure.ordered",
        version=1,
        service="privacy",
        aggregate="erasure",
        verb="ordered",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=3,
        ocsf_status="",
        summary="Every service is told to destroy what it holds about a person.",
        struct=ErasureOrdered,
        pii=MappingProxyType({"job_id": PiiClass.P1, "person": PiiClass.P1}),
    ),
    EventType(
        type="privacy.user.anonymised",
        version=1,
        service="privacy",
        aggregate="user",
        verb="anonymised",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=3,
        ocsf_status="Success",
        summary="A person's private key is destroyed and every store has answered.",
        struct=UserAnonymised,
        pii=MappingProxyType(
            {
                "job_id": PiiClass.P1,
                "person": PiiClass.P1,
                "key_fingerprint": PiiClass.P1,
                "receipts.store": PiiClass.P0,
                "receipts.at": PiiClass.P0,
                "receipts.items": PiiClass.P0,
                "irrecoverable_after": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="privacy.erasure_receipt.given",
        version=1,
        service="privacy",
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
        type="privacy.opening_key.rotated",
        version=1,
        service="privacy",
        aggregate="opening_key",
        verb="rotated",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="The key that wraps the private keys of people and of tenants is another one.",
        struct=OpeningKeyRotated,
        pii=MappingProxyType({"epoch": PiiClass.P0, "previous_epoch": PiiClass.P0}),
    ),
)
