"""A software authenticator for passkeys: what a device and a browser do between them, made of ES256 and CBOR.

It keeps discoverable credentials, verifies its user unless told not to, and counts its signatures. Tests bend it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def to_text(raw: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def to_bytes(text: str) -> bytes:
    """Read what ``to_text`` wrote."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Credential:
    """One passkey, private key and all."""

    id: bytes
    key: ec.EllipticCurvePrivateKey
    rp_id: str
    user_handle: bytes
    count: int = 0


@dataclass
class SoftwareAuthenticator:
    """``create`` and ``get`` as a browser at ``origin`` would answer them, in the form of ``credential.toJSON()``."""

    origin: str
    is_verifying: bool = True
    is_counting: bool = True
    credentials: list[Credential] = field(default_factory=list)

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Make a passkey for what the server asked."""
        known = {to_bytes(one["id"]) for one in options["excludeCredentials"]}
        if any(one.id in known for one in self.credentials):
            message = "InvalidStateError: this device has a passkey of the person's already"
            raise RuntimeError(message)
        credential = Credential(
            secrets.token_bytes(32),
            ec.generate_private_key(ec.SECP256R1()),
            options["rp"]["id"],
            to_bytes(options["user"]["id"]),
        )
        self.credentials.append(credential)
        numbers = credential.key.public_key().public_numbers()
        public_key = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = (
            secrets.token_bytes(16) + len(credential.id).to_bytes(2, "big") + credential.id + cbor2.dumps(public_key)
        )
        attestation = {"fmt": "none", "attStmt": {}, "authData": self._data(credential, ATTESTED) + attested}
        return self._answer(
            credential,
            {
                "clientDataJSON": to_text(self._client_data("webauthn.create", options["challenge"])),
                "attestationObject": to_text(cbor2.dumps(attestation)),
                "transports": ["internal"],
            },
        )

    def get(self, options: dict[str, Any], *, credential: Credential | None = None) -> dict[str, Any]:
        """Sign the server's challenge with a passkey that it allows, the newest unless one is given."""
        allowed = {to_bytes(one["id"]) for one in options["allowCredentials"]}
        fitting = [one for one in self.credentials if not allowed or one.id in allowed]
        used = credential or fitting[-1]
        used.count += self.is_counting
        client_data = self._client_data("webauthn.get", options["challenge"])
        data = self._data(used, 0)
        signature = used.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(
            used,
            {
                "clientDataJSON": to_text(client_data),
                "authenticatorData": to_text(data),
                "signature": to_text(signature),
                "userHandle": to_text(used.user_handle),
            },
        )

    def _data(self, credential: Credential, flags: int) -> bytes:
        flags |= USER_PRESENT | (USER_VERIFIED if self.is_verifying else 0)
        return hashlib.sha256(credential.rp_id.encode()).digest() + bytes([flags]) + credential.count.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    @staticmethod
    def _answer(credential: Credential, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": to_text(credential.id),
            "rawId": to_text(credential.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
