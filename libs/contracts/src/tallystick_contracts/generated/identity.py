"""The `identity` messages. Generated from proto/tallystick/identity; run `make proto`."""

import enum
from types import MappingProxyType

import msgspec

from tallystick_contracts.generated.common import Sealed, StoreErasure
from tallystick_contracts.message import EventData, EventType, LogKind, PiiClass, UInt32


class TokenVersionScope(enum.Enum):
    """Whose sessions a new token version ends."""

    UNSPECIFIED = "TOKEN_VERSION_SCOPE_UNSPECIFIED"
    USER = "TOKEN_VERSION_SCOPE_USER"
    TENANT = "TOKEN_VERSION_SCOPE_TENANT"
    ALL = "TOKEN_VERSION_SCOPE_ALL"


class MagicLinkRejection(enum.Enum):
    """Why a magic link was refused."""

    UNSPECIFIED = "MAGIC_LINK_REJECTION_UNSPECIFIED"
    UNKNOWN = "MAGIC_LINK_REJECTION_UNKNOWN"
    EXPIRED = "MAGIC_LINK_REJECTION_EXPIRED"
    REPLAYED = "MAGIC_LINK_REJECTION_REPLAYED"
    OTHER_BROWSER = "MAGIC_LINK_REJECTION_OTHER_BROWSER"
    WRONG_CODE = "MAGIC_LINK_REJECTION_WRONG_CODE"


class LoginFailure(enum.Enum):
    """Why a sign-in failed."""

    UNSPECIFIED = "LOGIN_FAILURE_UNSPECIFIED"
    UNKNOWN_PERSON = "LOGIN_FAILURE_UNKNOWN_PERSON"
    BAD_CREDENTIAL = "LOGIN_FAILURE_BAD_CREDENTIAL"
    ACCOUNT_DISABLED = "LOGIN_FAILURE_ACCOUNT_DISABLED"
    RATE_LIMITED = "LOGIN_FAILURE_RATE_LIMITED"
    COUNTER_WENT_BACK = "LOGIN_FAILURE_COUNTER_WENT_BACK"
    PROVIDER_ANSWER = "LOGIN_FAILURE_PROVIDER_ANSWER"


class SessionEnd(enum.Enum):
    """Why a session ended."""

    UNSPECIFIED = "SESSION_END_UNSPECIFIED"
    LOGOUT = "SESSION_END_LOGOUT"
    REUSE = "SESSION_END_REUSE"
    ERASURE = "SESSION_END_ERASURE"
    ADMIN = "SESSION_END_ADMIN"
    REPLACED = "SESSION_END_REPLACED"
    PROVIDER = "SESSION_END_PROVIDER"


class FactorKind(enum.Enum):
    """What a second factor is."""

    UNSPECIFIED = "FACTOR_KIND_UNSPECIFIED"
    TOTP = "FACTOR_KIND_TOTP"
    PASSKEY = "FACTOR_KIND_PASSKEY"


class TenantCreated(EventData, frozen=True, kw_only=True):
    """A tenant was created."""

    # P0. The tenant's short name in addresses.
    slug: str = ""
    # P0. The tenant's name, an organisation's.
    name: str = ""


class OrgUnitCreated(EventData, frozen=True, kw_only=True):
    """An org unit was created."""

    # P0.
    unit_id: str = msgspec.field(name="unitId", default="")
    # P0. Absent for the tenant's root unit.
    parent_id: str | None = msgspec.field(name="parentId", default=None)
    # P0. The unit's name.
    name: str = ""
    # P0. Slugs from the root, for example "north/blue".
    path: str = ""


class UserCreated(EventData, frozen=True, kw_only=True):
    """A person was created and given a key pair from the pool."""

    # P1. The person's pseudonym.
    person: str = ""
    # P0. The org unit the person belongs to.
    home_unit: str = msgspec.field(name="homeUnit", default="")
    # P1. The key pair that values about this person are sealed to.
    key_id: str = msgspec.field(name="keyId", default="")
    # P1. SHA-256 of the public key, hexadecimal.
    key_fingerprint: str = msgspec.field(name="keyFingerprint", default="")
    # P1. X25519 public key, base64.
    public_key: str = msgspec.field(name="publicKey", default="")
    # P2. Display name.
    name: Sealed | None = None
    # P2. Mail address.
    email: Sealed | None = None


class UserDeleted(EventData, frozen=True, kw_only=True):
    """A person was deleted; erasure follows."""

    # P1. The person's pseudonym.
    person: str = ""
    # P1. The key pair to destroy.
    key_id: str = msgspec.field(name="keyId", default="")
    # P2. Why, sealed to the tenant's key of the day.
    reason: Sealed | None = None


class TokenVersionBumped(EventData, frozen=True, kw_only=True):
    """Sessions issued under older token versions ended."""

    # P0.
    scope: TokenVersionScope = TokenVersionScope.UNSPECIFIED
    # P1. Set when the scope is one person.
    person: str | None = None
    # P0. The new token version.
    version: UInt32 = 0


class RoleChanged(EventData, frozen=True, kw_only=True):
    """A role's set of capabilities was set."""

    # P0.
    role_id: str = msgspec.field(name="roleId", default="")
    # P0. The role's name.
    name: str = ""
    # P0. The whole set from now on, sorted.
    capabilities: tuple[str, ...] = ()
    # P0. Whether whoever holds it needs a second factor; absent in records from before there were any.
    staff: bool | None = None


class RoleAssigned(EventData, frozen=True, kw_only=True):
    """A person was granted a role in an org unit."""

    # P1.
    grant_id: str = msgspec.field(name="grantId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0.
    role_id: str = msgspec.field(name="roleId", default="")
    # P0.
    unit_id: str = msgspec.field(name="unitId", default="")
    # P0. Whether the grant covers the units below too.
    subtree: bool = False


class RoleRevoked(EventData, frozen=True, kw_only=True):
    """A grant was taken back."""

    # P1.
    grant_id: str = msgspec.field(name="grantId", default="")
    # P1. The person's pseudonym.
    person: str = ""


class MagicLinkRequested(EventData, frozen=True, kw_only=True):
    """Somebody asked for a sign-in link."""

    # P1.
    request_id: str = msgspec.field(name="requestId", default="")
    # P2. The address asked for, sealed to the tenant's key of the day.
    email: Sealed | None = None
    # P2. The caller's address.
    ip: Sealed | None = None


class MagicLinkConsumed(EventData, frozen=True, kw_only=True):
    """A sign-in link was used."""

    # P1.
    request_id: str = msgspec.field(name="requestId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P2. The caller's address.
    ip: Sealed | None = None
    # P2. The caller's user agent.
    user_agent: Sealed | None = msgspec.field(name="userAgent", default=None)


class MagicLinkRejected(EventData, frozen=True, kw_only=True):
    """A sign-in link was refused."""

    # P1. Absent when the link is unknown.
    request_id: str | None = msgspec.field(name="requestId", default=None)
    # P0.
    reason: MagicLinkRejection = MagicLinkRejection.UNSPECIFIED
    # P2. The caller's address.
    ip: Sealed | None = None


class LoginSucceeded(EventData, frozen=True, kw_only=True):
    """A person signed in."""

    # P1. The person's pseudonym.
    person: str = ""
    # P1.
    session_ref: str = msgspec.field(name="sessionRef", default="")
    # P2. The caller's address.
    ip: Sealed | None = None
    # P2. The caller's user agent.
    user_agent: Sealed | None = msgspec.field(name="userAgent", default=None)
    # P0. Whether a second factor was shown.
    multi_factor: bool | None = msgspec.field(name="multiFactor", default=None)


class LoginFailed(EventData, frozen=True, kw_only=True):
    """A sign-in failed."""

    # P0.
    reason: LoginFailure = LoginFailure.UNSPECIFIED
    # P2. The caller's address.
    ip: Sealed | None = None
    # P2. The name tried, sealed to the tenant's key of the day.
    login_name: Sealed | None = msgspec.field(name="loginName", default=None)


class SessionCreated(EventData, frozen=True, kw_only=True):
    """A session was opened."""

    # P1. The person's pseudonym.
    person: str = ""
    # P1.
    session_ref: str = msgspec.field(name="sessionRef", default="")
    # P2. The caller's address.
    ip: Sealed | None = None
    # P2. The caller's user agent.
    user_agent: Sealed | None = msgspec.field(name="userAgent", default=None)


class SessionRevoked(EventData, frozen=True, kw_only=True):
    """A session ended before its time."""

    # P1.
    session_ref: str = msgspec.field(name="sessionRef", default="")
    # P0.
    reason: SessionEnd = SessionEnd.UNSPECIFIED


class AccountLocked(EventData, frozen=True, kw_only=True):
    """Tries to sign in to an account from one address, or in all, went over their budget."""

    # P1. The person's pseudonym.
    person: str = ""
    # P0. The budget that was exceeded.
    budget: str = ""
    # P2. The caller's address.
    ip: Sealed | None = None


class AccountUnlocked(EventData, frozen=True, kw_only=True):
    """An administrator gave an account its tries back."""

    # P1. The person's pseudonym.
    person: str = ""
    # P2. Why, sealed to the tenant's key of the day.
    reason: Sealed | None = None


class PasswordResetRequested(EventData, frozen=True, kw_only=True):
    """Somebody asked to set a new password by mail."""

    # P1.
    request_id: str = msgspec.field(name="requestId", default="")
    # P2. The address asked for, sealed to the tenant's key of the day.
    email: Sealed | None = None
    # P2. The caller's address.
    ip: Sealed | None = None


class PasswordResetCompleted(EventData, frozen=True, kw_only=True):
    """A person set a new password by mail."""

    # P1. The person's pseudonym.
    person: str = ""
    # P1.
    request_id: str = msgspec.field(name="requestId", default="")
    # P2. The caller's address.
    ip: Sealed | None = None


class PasswordChanged(EventData, frozen=True, kw_only=True):
    """A signed-in person set a password."""

    # P1. The person's pseudonym.
    person: str = ""
    # P2. The caller's address.
    ip: Sealed | None = None


class MfaEnrolled(EventData, frozen=True, kw_only=True):
    """A person enrolled a second factor."""

    # P1. The person's pseudonym.
    person: str = ""
    # P1.
    factor_id: str = msgspec.field(name="factorId", default="")
    # P0.
    kind: FactorKind = FactorKind.UNSPECIFIED
    # P2. What the person calls the device.
    label: Sealed | None = None


class MfaRemoved(EventData, frozen=True, kw_only=True):
    """A second factor was removed."""

    # P1. The person's pseudonym.
    person: str = ""
    # P1.
    factor_id: str = msgspec.field(name="factorId", default="")
    # P0.
    kind: FactorKind = FactorKind.UNSPECIFIED
    # P2. Why, sealed to the tenant's key of the day.
    reason: Sealed | None = None


class ErasureReceiptGiven(EventData, frozen=True, kw_only=True):
    """The service destroyed what it held about a person and says what each of its stores reported."""

    # P1. The erasure job.
    job_id: str = msgspec.field(name="jobId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. What each store of this service reports.
    stores: tuple[StoreErasure, ...] = ()


class UserAddressChanged(EventData, frozen=True, kw_only=True):
    """Mail to a person goes to another address from now on, and with it what signs them in."""

    # P1. The person's pseudonym.
    person: str = ""
    # P2. The new address, sealed to the person's key.
    email: Sealed | None = None
    # P2. Why, sealed to the tenant's key of the day.
    reason: Sealed | None = None


class UserDisabled(EventData, frozen=True, kw_only=True):
    """A person may not sign in or act until enabled again."""

    # P1. The person's pseudonym.
    person: str = ""


class UserEnabled(EventData, frozen=True, kw_only=True):
    """A disabled person may sign in and act again."""

    # P1. The person's pseudonym.
    person: str = ""


class RoleAssignedV2(EventData, frozen=True, kw_only=True):
    """A person was granted a role in an org unit, from a date on and to a date if they are there."""

    # P1.
    grant_id: str = msgspec.field(name="grantId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0.
    role_id: str = msgspec.field(name="roleId", default="")
    # P0.
    unit_id: str = msgspec.field(name="unitId", default="")
    # P0. Whether the grant covers the units below too.
    subtree: bool = False
    # P0. When it begins, RFC 3339; absent: at once.
    starts_at: str | None = msgspec.field(name="startsAt", default=None)
    # P0. When it ends, RFC 3339; absent: when it is taken back.
    expires_at: str | None = msgspec.field(name="expiresAt", default=None)


class ServiceKeyCreated(EventData, frozen=True, kw_only=True):
    """A key for a machine was made."""

    # P0.
    key_id: str = msgspec.field(name="keyId", default="")
    # P0. The beginning of the key, by which people tell keys apart; it opens nothing.
    prefix: str = ""
    # P0. What it may do, sorted.
    capabilities: tuple[str, ...] = ()
    # P0.
    unit_id: str = msgspec.field(name="unitId", default="")
    # P0. Whether it reaches the units below too.
    subtree: bool = False
    # P0. When it ends, RFC 3339.
    expires_at: str = msgspec.field(name="expiresAt", default="")


class ServiceKeyRevoked(EventData, frozen=True, kw_only=True):
    """A key for a machine was taken back."""

    # P0.
    key_id: str = msgspec.field(name="keyId", default="")


class SigningKeyRotated(EventData, frozen=True, kw_only=True):
    """Tokens are signed with another key from now on."""

    # P0. The new key's id (RFC 7638).
    key_id: str = msgspec.field(name="keyId", default="")
    # P0. The key that signed before, still believed while its tokens last, unless distrusted.
    previous_key_id: str = msgspec.field(name="previousKeyId", default="")
    # P0. Whether the tokens of the key before are refused from now on.
    distrusted: bool = False


class SignInPolicyChanged(EventData, frozen=True, kw_only=True):
    """How the tenant's people may sign in was set."""

    # P0. Whether they may sign in by password from now on.
    passwords: bool = False


class CredentialKeyRotated(EventData, frozen=True, kw_only=True):
    """The key that wraps the keys of people's private data, such as the seeds of their second factors, is another
    one.
    """

    # P0. The epoch of the new key.
    epoch: str = ""
    # P0. The epoch of the key before.
    previous_epoch: str = msgspec.field(name="previousEpoch", default="")


class SsoProviderChanged(EventData, frozen=True, kw_only=True):
    """A tenant's single sign-on provider was configured, changed, or switched on or off."""

    # P0.
    provider_id: str = msgspec.field(name="providerId", default="")
    # P0. The provider's issuer identifier, an address of an organisation.
    issuer: str = ""
    # P0.
    client_id: str = msgspec.field(name="clientId", default="")
    # P0.
    enabled: bool = False
    # P0. The mail domains whose people the provider may vouch for, sorted.
    domains: tuple[str, ...] = ()
    # P0. Whether people unknown so far get an account.
    creates_accounts: bool = msgspec.field(name="createsAccounts", default=False)
    # P0. Whether claims may give roles that administer the tenant.
    makes_administrators: bool = msgspec.field(name="makesAdministrators", default=False)
    # P0. The roles that claims give, sorted.
    role_ids: tuple[str, ...] = msgspec.field(name="roleIds", default=())
    # P0. Values of acr or amr that are believed to say that two factors were shown, sorted.
    two_factor_values: tuple[str, ...] = msgspec.field(name="twoFactorValues", default=())
    # P0. Whether the client secret is another one from now on.
    secret_changed: bool = msgspec.field(name="secretChanged", default=False)


class SsoLinked(EventData, frozen=True, kw_only=True):
    """A person was linked to an identity at the tenant's single sign-on provider."""

    # P1.
    identity_id: str = msgspec.field(name="identityId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. The provider's issuer identifier.
    issuer: str = ""
    # P1. Keyed hash of issuer and subject, hexadecimal.
    subject: str = ""
    # P2. The subject as the provider names it.
    sub: Sealed | None = None


class SsoUnlinked(EventData, frozen=True, kw_only=True):
    """An identity at a single sign-on provider was taken from a person."""

    # P1.
    identity_id: str = msgspec.field(name="identityId", default="")
    # P1. The person's pseudonym.
    person: str = ""
    # P0. The provider's issuer identifier.
    issuer: str = ""
    # P1. Keyed hash of issuer and subject, hexadecimal.
    subject: str = ""


EVENT_TYPES: tuple[EventType, ...] = (
    EventType(
        type="identity.tenant.created",
        version=1,
        service="identity",
        aggregate="tenant",
        verb="created",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="A tenant was created.",
        struct=TenantCreated,
        pii=MappingProxyType({"slug": PiiClass.P0, "name": PiiClass.P0}),
    ),
    EventType(
        type="identity.org_unit.created",
        version=1,
        service="identity",
        aggregate="org_unit",
        verb="created",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=1,
        ocsf_status="",
        summary="An org unit was created.",
        struct=OrgUnitCreated,
        pii=MappingProxyType(
            {"unit_id": PiiClass.P0, "parent_id": PiiClass.P0, "name": PiiClass.P0, "path": PiiClass.P0}
        ),
    ),
    EventType(
        type="identity.user.created",
        version=1,
        service="identity",
        aggregate="user",
        verb="created",
        log=LogKind.COMPLIANCE,
        must_record=False,
        public=False,
        ocsf_class=3007,
        ocsf_activity=1,
        ocsf_status="",
        summary="A person was created and given a key pair from the pool.",
        struct=UserCreated,
        pii=MappingProxyType(
            {
                "person": PiiClass.P1,
                "home_unit": PiiClass.P0,
                "key_id": PiiClass.P1,
                "key_fingerprint": PiiClass.P1,
                "public_key": PiiClass.P1,
                "name": PiiClass.P2,
                "email": PiiClass.P2,
            }
        ),
    ),
    EventType(
        type="identity.user.deleted",
        version=1,
        service="identity",
        aggregate="user",
        verb="deleted",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=3,
        ocsf_status="",
        summary="A person was deleted; erasure follows.",
        struct=UserDeleted,
        pii=MappingProxyType({"person": PiiClass.P1, "key_id": PiiClass.P1, "reason": PiiClass.P2}),
    ),
    EventType(
        type="identity.token_version.bumped",
        version=1,
        service="identity",
        aggregate="token_version",
        verb="bumped",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3002,
        ocsf_activity=2,
        ocsf_status="",
        summary="Sessions issued under older token versions ended.",
        struct=TokenVersionBumped,
        pii=MappingProxyType({"scope": PiiClass.P0, "person": PiiClass.P1, "version": PiiClass.P0}),
    ),
    EventType(
        type="identity.role.changed",
        version=1,
        service="identity",
        aggregate="role",
        verb="changed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3008,
        ocsf_activity=2,
        ocsf_status="",
        summary="A role's set of capabilities was set.",
        struct=RoleChanged,
        pii=MappingProxyType(
            {"role_id": PiiClass.P0, "name": PiiClass.P0, "capabilities": PiiClass.P0, "staff": PiiClass.P0}
        ),
    ),
    EventType(
        type="identity.role.assigned",
        version=1,
        service="identity",
        aggregate="role",
        verb="assigned",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=16,
        ocsf_status="",
        summary="A person was granted a role in an org unit.",
        struct=RoleAssigned,
        pii=MappingProxyType(
            {
                "grant_id": PiiClass.P1,
                "person": PiiClass.P1,
                "role_id": PiiClass.P0,
                "unit_id": PiiClass.P0,
                "subtree": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="identity.role.revoked",
        version=1,
        service="identity",
        aggregate="role",
        verb="revoked",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=17,
        ocsf_status="",
        summary="A grant was taken back.",
        struct=RoleRevoked,
        pii=MappingProxyType({"grant_id": PiiClass.P1, "person": PiiClass.P1}),
    ),
    EventType(
        type="identity.magic_link.requested",
        version=1,
        service="identity",
        aggregate="magic_link",
        verb="requested",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3002,
        ocsf_activity=6,
        ocsf_status="",
        summary="Somebody asked for a sign-in link.",
        struct=MagicLinkRequested,
        pii=MappingProxyType({"request_id": PiiClass.P1, "email": PiiClass.P2, "ip": PiiClass.P2}),
    ),
    EventType(
        type="identity.magic_link.consumed",
        version=1,
        service="identity",
        aggregate="magic_link",
        verb="consumed",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3002,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="A sign-in link was used.",
        struct=MagicLinkConsumed,
        pii=MappingProxyType(
            {"request_id": PiiClass.P1, "person": PiiClass.P1, "ip": PiiClass.P2, "user_agent": PiiClass.P2}
        ),
    ),
    EventType(
        type="identity.magic_link.rejected",
        version=1,
        service="identity",
        aggregate="magic_link",
        verb="rejected",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3002,
        ocsf_activity=1,
        ocsf_status="Failure",
        summary="A sign-in link was refused.",
        struct=MagicLinkRejected,
        pii=MappingProxyType({"request_id": PiiClass.P1, "reason": PiiClass.P0, "ip": PiiClass.P2}),
    ),
    EventType(
        type="identity.login.succeeded",
        version=1,
        service="identity",
        aggregate="login",
        verb="succeeded",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3002,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="A person signed in.",
        struct=LoginSucceeded,
        pii=MappingProxyType(
            {
                "person": PiiClass.P1,
                "session_ref": PiiClass.P1,
                "ip": PiiClass.P2,
                "user_agent": PiiClass.P2,
                "multi_factor": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="identity.login.failed",
        version=1,
        service="identity",
        aggregate="login",
        verb="failed",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3002,
        ocsf_activity=1,
        ocsf_status="Failure",
        summary="A sign-in failed.",
        struct=LoginFailed,
        pii=MappingProxyType({"reason": PiiClass.P0, "ip": PiiClass.P2, "login_name": PiiClass.P2}),
    ),
    EventType(
        type="identity.session.created",
        version=1,
        service="identity",
        aggregate="session",
        verb="created",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3003,
        ocsf_activity=1,
        ocsf_status="Success",
        summary="A session was opened.",
        struct=SessionCreated,
        pii=MappingProxyType(
            {"person": PiiClass.P1, "session_ref": PiiClass.P1, "ip": PiiClass.P2, "user_agent": PiiClass.P2}
        ),
    ),
    EventType(
        type="identity.session.revoked",
        version=1,
        service="identity",
        aggregate="session",
        verb="revoked",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3002,
        ocsf_activity=2,
        ocsf_status="Success",
        summary="A session ended before its time.",
        struct=SessionRevoked,
        pii=MappingProxyType({"session_ref": PiiClass.P1, "reason": PiiClass.P0}),
    ),
    EventType(
        type="identity.account.locked",
        version=1,
        service="identity",
        aggregate="account",
        verb="locked",
        log=LogKind.AUDIT,
        must_record=False,
        public=False,
        ocsf_class=3007,
        ocsf_activity=6,
        ocsf_status="",
        summary="Tries to sign in to an account from one address, or in all, went over their budget.",
        struct=AccountLocked,
        pii=MappingProxyType({"person": PiiClass.P1, "budget": PiiClass.P0, "ip": PiiClass.P2}),
    ),
    EventType(
        type="identity.account.unlocked",
        version=1,
        service="identity",
        aggregate="account",
        verb="unlocked",
        log=LogKind.AUDIT,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=7,
        ocsf_status="",
        summary="An administrator gave an account its tries back.",
        struct=AccountUnlocked,
        pii=MappingProxyType({"person": PiiClass.P1, "reason": PiiClass.P2}),
    ),
    EventType(
        type="identity.password.reset_requested",
        version=1,
        service="identity",
        aggregate="password",
        verb="reset_requested",
        log=LogKind.COMPLIANCE,
        must_record=False,
        public=False,
        ocsf_class=3007,
        ocsf_activity=9,
        ocsf_status="",
        summary="Somebody asked to set a new password by mail.",
        struct=PasswordResetRequested,
        pii=MappingProxyType({"request_id": PiiClass.P1, "email": PiiClass.P2, "ip": PiiClass.P2}),
    ),
    EventType(
        type="identity.password.reset_completed",
        version=1,
        service="identity",
        aggregate="password",
        verb="reset_completed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=9,
        ocsf_status="",
        summary="A person set a new password by mail.",
        struct=PasswordResetCompleted,
        pii=MappingProxyType({"person": PiiClass.P1, "request_id": PiiClass.P1, "ip": PiiClass.P2}),
    ),
    EventType(
        type="identity.password.changed",
        version=1,
        service="identity",
        aggregate="password",
        verb="changed",
        log=LogKind.COMPLIANCE,
        must_record=False,
        public=False,
        ocsf_class=3007,
        ocsf_activity=8,
        ocsf_status="",
        summary="A signed-in person set a password.",
        struct=PasswordChanged,
        pii=MappingProxyType({"person": PiiClass.P1, "ip": PiiClass.P2}),
    ),
    EventType(
        type="identity.mfa.enrolled",
        version=1,
        service="identity",
        aggregate="mfa",
        verb="enrolled",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=12,
        ocsf_status="",
        summary="A person enrolled a second factor.",
        struct=MfaEnrolled,
        pii=MappingProxyType(
            {"person": PiiClass.P1, "factor_id": PiiClass.P1, "kind": PiiClass.P0, "label": PiiClass.P2}
        ),
    ),
    EventType(
        type="identity.mfa.removed",
        version=1,
        service="identity",
        aggregate="mfa",
        verb="removed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=13,
        ocsf_status="",
        summary="A second factor was removed.",
        struct=MfaRemoved,
        pii=MappingProxyType(
            {"person": PiiClass.P1, "factor_id": PiiClass.P1, "kind": PiiClass.P0, "reason": PiiClass.P2}
        ),
    ),
    EventType(
        type="identity.erasure_receipt.given",
        version=1,
        service="identity",
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
        type="identity.user.address_changed",
        version=1,
        service="identity",
        aggregate="user",
        verb="address_changed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=99,
        ocsf_status="",
        summary="A person's address was changed; their sessions ended.",
        struct=UserAddressChanged,
        pii=MappingProxyType({"person": PiiClass.P1, "email": PiiClass.P2, "reason": PiiClass.P2}),
    ),
    EventType(
        type="identity.user.disabled",
        version=1,
        service="identity",
        aggregate="user",
        verb="disabled",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=5,
        ocsf_status="",
        summary="A person may not sign in or act until enabled again.",
        struct=UserDisabled,
        pii=MappingProxyType({"person": PiiClass.P1}),
    ),
    EventType(
        type="identity.user.enabled",
        version=1,
        service="identity",
        aggregate="user",
        verb="enabled",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=4,
        ocsf_status="",
        summary="A disabled person may sign in and act again.",
        struct=UserEnabled,
        pii=MappingProxyType({"person": PiiClass.P1}),
    ),
    EventType(
        type="identity.role.assigned",
        version=2,
        service="identity",
        aggregate="role",
        verb="assigned",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=16,
        ocsf_status="",
        summary="A person was granted a role in an org unit, from a date on and to a date if they are there.",
        struct=RoleAssignedV2,
        pii=MappingProxyType(
            {
                "grant_id": PiiClass.P1,
                "person": PiiClass.P1,
                "role_id": PiiClass.P0,
                "unit_id": PiiClass.P0,
                "subtree": PiiClass.P0,
                "starts_at": PiiClass.P0,
                "expires_at": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="identity.service_key.created",
        version=1,
        service="identity",
        aggregate="service_key",
        verb="created",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=18,
        ocsf_status="",
        summary="A key for a machine was made.",
        struct=ServiceKeyCreated,
        pii=MappingProxyType(
            {
                "key_id": PiiClass.P0,
                "prefix": PiiClass.P0,
                "capabilities": PiiClass.P0,
                "unit_id": PiiClass.P0,
                "subtree": PiiClass.P0,
                "expires_at": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="identity.service_key.revoked",
        version=1,
        service="identity",
        aggregate="service_key",
        verb="revoked",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=19,
        ocsf_status="",
        summary="A key for a machine was taken back.",
        struct=ServiceKeyRevoked,
        pii=MappingProxyType({"key_id": PiiClass.P0}),
    ),
    EventType(
        type="identity.signing_key.rotated",
        version=1,
        service="identity",
        aggregate="signing_key",
        verb="rotated",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="Tokens are signed with another key from now on.",
        struct=SigningKeyRotated,
        pii=MappingProxyType({"key_id": PiiClass.P0, "previous_key_id": PiiClass.P0, "distrusted": PiiClass.P0}),
    ),
    EventType(
        type="identity.sign_in_policy.changed",
        version=1,
        service="identity",
        aggregate="sign_in_policy",
        verb="changed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="How the tenant's people may sign in was set.",
        struct=SignInPolicyChanged,
        pii=MappingProxyType({"passwords": PiiClass.P0}),
    ),
    EventType(
        type="identity.credential_key.rotated",
        version=1,
        service="identity",
        aggregate="credential_key",
        verb="rotated",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="The key that wraps the keys of people's private data is another one.",
        struct=CredentialKeyRotated,
        pii=MappingProxyType({"epoch": PiiClass.P0, "previous_epoch": PiiClass.P0}),
    ),
    EventType(
        type="identity.sso_provider.changed",
        version=1,
        service="identity",
        aggregate="sso_provider",
        verb="changed",
        log=LogKind.COMPLIANCE,
        must_record=True,
        public=False,
        ocsf_class=3004,
        ocsf_activity=3,
        ocsf_status="",
        summary="A tenant's single sign-on provider was configured, changed, or switched on or off.",
        struct=SsoProviderChanged,
        pii=MappingProxyType(
            {
                "provider_id": PiiClass.P0,
                "issuer": PiiClass.P0,
                "client_id": PiiClass.P0,
                "enabled": PiiClass.P0,
                "domains": PiiClass.P0,
                "creates_accounts": PiiClass.P0,
                "makes_administrators": PiiClass.P0,
                "role_ids": PiiClass.P0,
                "two_factor_values": PiiClass.P0,
                "secret_changed": PiiClass.P0,
            }
        ),
    ),
    EventType(
        type="identity.sso.linked",
        version=1,
        service="identity",
        aggregate="sso",
        verb="linked",
        log=LogKind.AUDIT,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=2,
        ocsf_status="",
        summary="A person was linked to an identity at the tenant's single sign-on provider.",
        struct=SsoLinked,
        pii=MappingProxyType(
            {
                "identity_id": PiiClass.P1,
                "person": PiiClass.P1,
                "issuer": PiiClass.P0,
                "subject": PiiClass.P1,
                "sub": PiiClass.P2,
            }
        ),
    ),
    EventType(
        type="identity.sso.unlinked",
        version=1,
        service="identity",
        aggregate="sso",
        verb="unlinked",
        log=LogKind.AUDIT,
        must_record=True,
        public=False,
        ocsf_class=3007,
        ocsf_activity=2,
        ocsf_status="",
        summary="An identity at a single sign-on provider was taken from a person.",
        struct=SsoUnlinked,
        pii=MappingProxyType(
            {"identity_id": PiiClass.P1, "person": PiiClass.P1, "issuer": PiiClass.P0, "subject": PiiClass.P1}
        ),
    ),
)
