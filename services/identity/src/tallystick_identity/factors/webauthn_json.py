"""Passkeys as browsers write and read them: ``toJSON()`` and ``parse…OptionsFromJSON()`` (WebAuthn Level 3, §5.1)."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from tallystick_chassis.http.problems import FieldError, ValidationFailed

from tallystick_identity.factors.ceremonies import ALGORITHMS, Assertion, Attestation

if TYPE_CHECKING:
    from tallystick_identity.factors.ceremonies import RelyingParty
    from tallystick_identity.factors.passkeys import Challenge, Creation

_TIMEOUT_MS: Final = 300_000
_BASE64URL: Final = r"\A[A-Za-z0-9_-]*\Z"

Bytes = Annotated[str, msgspec.Meta(max_length=16_384, pattern=_BASE64URL)]
"""Bytes in base64url without padding."""
CredentialId = Annotated[str, msgspec.Meta(min_length=1, max_length=1_400, pattern=_BASE64URL)]
_Word = Annotated[str, msgspec.Meta(max_length=40)]
_Extensions = Annotated[dict[str, msgspec.Raw], msgspec.Meta(max_length=20)]


class RelyingPartyEntity(msgspec.Struct, frozen=True):
    """For whom the passkey is."""

    id: str
    name: str


class UserEntity(msgspec.Struct, frozen=True, rename="camel"):
    """Whose it is; the names are for the authenticator's own list."""

    id: str
    name: str
    display_name: str


class CredentialParameters(msgspec.Struct, frozen=True):
    """An algorithm that will do (COSE)."""

    alg: int
    type: Literal["public-key"] = "public-key"


class CredentialDescriptor(msgspec.Struct, frozen=True):
    """A credential by its id."""

    id: str
    type: Literal["public-key"] = "public-key"


class Selection(msgspec.Struct, frozen=True, rename="camel"):
    """What kind of authenticator: one that keeps the passkey itself, and checks who uses it."""

    resident_key: Literal["required"] = "required"
    require_resident_key: Literal[True] = True
    user_verification: Literal["required"] = "required"


class CreationOptions(msgspec.Struct, frozen=True, rename="camel"):
    """For ``PublicKeyCredential.parseCreationOptionsFromJSON()``."""

    rp: RelyingPartyEntity
    user: UserEntity
    challenge: str
    pub_key_cred_params: tuple[CredentialParameters, ...]
    exclude_credentials: tuple[CredentialDescriptor, ...]
    timeout: int = _TIMEOUT_MS
    authenticator_selection: Selection = Selection()
    attestation: Literal["none"] = "none"


class RequestOptions(msgspec.Struct, frozen=True, rename="camel"):
    """For ``PublicKeyCredential.parseRequestOptionsFromJSON()``."""

    challenge: str
    rp_id: str
    allow_credentials: tuple[CredentialDescriptor, ...]
    timeout: int = _TIMEOUT_MS
    user_verification: Literal["required"] = "required"


class AttestationBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """``response`` of a new credential; only the first two are looked at, the rest is in them."""

    client_data_j_s_o_n: Bytes = msgspec.field(name="clientDataJSON")
    attestation_object: Bytes
    authenticator_data: Bytes | None = None
    public_key: Bytes | None = None
    public_key_algorithm: int | None = None
    transports: Annotated[tuple[_Word, ...], msgspec.Meta(max_length=10)] = ()


class AssertionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """``response`` of a credential that was used."""

    client_data_j_s_o_n: Bytes = msgspec.field(name="clientDataJSON")
    authenticator_data: Bytes
    signature: Bytes
    user_handle: Bytes | None = None


class NewPasskey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """``credential.toJSON()`` after ``navigator.credentials.create()``."""

    id: CredentialId
    raw_id: CredentialId
    response: AttestationBody
    type: Literal["public-key"]
    authenticator_attachment: _Word | None = None
    client_extension_results: _Extensions = {}

    def read(self) -> Attestation:
        """Return it as bytes.

        Raises:
            ValidationFailed: if something is not base64url.
        """
        return Attestation(
            id=self.id,
            raw_id=_bytes(self.raw_id, "/rawId"),
            client_data=_bytes(self.response.client_data_j_s_o_n, "/response/clientDataJSON"),
            attestation_object=_bytes(self.response.attestation_object, "/response/attestationObject"),
        )


class UsedPasskey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """``credential.toJSON()`` after ``navigator.credentials.get()``."""

    id: CredentialId
    raw_id: CredentialId
    response: AssertionBody
    type: Literal["public-key"]
    authenticator_attachment: _Word | None = None
    client_extension_results: _Extensions = {}

    def read(self) -> Assertion:
        """Return it as bytes.

        Raises:
            ValidationFailed: if something is not base64url.
        """
        handle = self.response.user_handle
        return Assertion(
            id=self.id,
            raw_id=_bytes(self.raw_id, "/rawId"),
            client_data=_bytes(self.response.client_data_j_s_o_n, "/response/clientDataJSON"),
            authenticator_data=_bytes(self.response.authenticator_data, "/response/authenticatorData"),
            signature=_bytes(self.response.signature, "/response/signature"),
            user_handle=None if handle is None else _bytes(handle, "/response/userHandle"),
        )


def creation_options(party: RelyingParty, creation: Creation) -> CreationOptions:
    """Return what the browser is asked to make."""
    return CreationOptions(
        rp=RelyingPartyEntity(party.id, party.name),
        user=UserEntity(_text(creation.user_handle), creation.name, creation.display_name),
        challenge=_text(creation.challenge),
        pub_key_cred_params=tuple(CredentialParameters(alg) for alg in ALGORITHMS),
        exclude_credentials=tuple(CredentialDescriptor(_text(one)) for one in creation.exclude),
    )


def request_options(party: RelyingParty, challenge: Challenge) -> RequestOptions:
    """Return what the browser is asked to sign."""
    return RequestOptions(
        challenge=_text(challenge.challenge),
        rp_id=party.id,
        allow_credentials=tuple(CredentialDescriptor(_text(one)) for one in challenge.allow),
    )


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str, pointer: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise ValidationFailed(errors=[FieldError("is not base64url", pointer=pointer)]) from None
