"""What a passkey's answer is worth (WebAuthn Level 2, §7): pure checks over bytes, by the ``webauthn`` library.

The library is large and for passkeys alone, so this module is imported when the first one is shown.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_attestation_object,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticationCredential,
    AuthenticatorAssertionResponse,
    AuthenticatorAttestationResponse,
    RegistrationCredential,
)

from tallystick_identity.factors.ceremonies import (
    ALGORITHMS,
    MAX_CREDENTIAL_ID_BYTES,
    Assertion,
    Attestation,
    NewCredential,
    RelyingParty,
)

# Attestation is not asked for; what clients then still send is nothing, or the key's signature over itself.
_ATTESTATIONS: Final = frozenset({AttestationFormat.NONE, AttestationFormat.PACKED})
# What the library lets through of malformed keys and structures, besides its own errors.
_MALFORMED: Final = (
    WebAuthnException,
    InvalidSignature,
    UnsupportedAlgorithm,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
)


def new_credential(party: RelyingParty, attestation: Attestation, *, challenge: bytes) -> NewCredential | None:
    """Return the credential that answers ``challenge``; ``None`` when anything about it is wrong."""
    try:
        if parse_attestation_object(attestation.attestation_object).fmt not in _ATTESTATIONS:
            return None
        verified = verify_registration_response(
            credential=RegistrationCredential(
                id=attestation.id,
                raw_id=attestation.raw_id,
                response=AuthenticatorAttestationResponse(
                    client_data_json=attestation.client_data, attestation_object=attestation.attestation_object
                ),
            ),
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(one) for one in ALGORITHMS],
        )
        # A key that cannot be used is found here, and not at the next sign-in.
        decoded_public_key_to_cryptography(decode_credential_public_key(verified.credential_public_key))
    except _MALFORMED:
        return None
    if verified.credential_id != attestation.raw_id or len(verified.credential_id) > MAX_CREDENTIAL_ID_BYTES:
        return None
    return NewCredential(verified.credential_id, verified.credential_public_key, verified.sign_count)


def signed_count(party: RelyingParty, assertion: Assertion, *, challenge: bytes, public_key: bytes) -> int | None:
    """Return where the authenticator's counter stands if it signed ``challenge``; ``None`` when anything is wrong."""
    try:
        return verify_authentication_response(
            credential=AuthenticationCredential(
                id=assertion.id,
                raw_id=assertion.raw_id,
                response=AuthenticatorAssertionResponse(
                    client_data_json=assertion.client_data,
                    authenticator_data=assertion.authenticator_data,
                    signature=assertion.signature,
                    user_handle=assertion.user_handle,
                ),
            ),
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=list(party.origins),
            credential_public_key=public_key,
            # The counter is judged by ``went_back``, so that a copy of a key is told from a bad signature.
            credential_current_sign_count=0,
            require_user_verification=True,
        ).new_sign_count
    except _MALFORMED:
        return None
