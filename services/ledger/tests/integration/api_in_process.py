"""The ledger's API as its process makes it, in this process and without a socket."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from nacl.signing import SigningKey
from tallystick_chassis.http.app import create_app
from tallystick_chassis.process import make_runtime
from tallystick_chassis.service import Wiring
from tallystick_chassis.settings import Dsn, KeyEncryptionKeys, NkeySeed, PublicKey, Secret, SecretKey
from tallystick_contracts.topology import ServiceName
from tallystick_ledger.app import SERVICE, wire
from tallystick_ledger.settings import Settings

from .conftest import SEED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tallystick_chassis.http.introspection import Authenticator
    from tallystick_cli.stack.temporary import Databases


def made_jwks() -> bytes:
    """Make a key that signs tokens, as a JWK set."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    private = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": _encoded(public), "d": _encoded(private)}
    return msgspec.json.encode({"keys": [jwk]})


@asynccontextmanager
async def ledger_api(
    databases: Databases, folder: Path, session_jwks: bytes, *, authenticator: Authenticator | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the API; ``authenticator`` answers for sessions in identity's place."""
    jwks = folder / "jwks.json"
    jwks.write_bytes(session_jwks)
    ca_file = databases.servers.layout.ca_file
    settings = Settings(
        dsn=Dsn(databases.dsn(ServiceName.LEDGER, "app")),
        duty_dsn=Dsn(databases.dsn(ServiceName.LEDGER, "duty")),
        nats_url="tls://127.0.0.1:1",
        nats_seed=NkeySeed("x"),
        ca_file=ca_file,
        tls_cert_file=ca_file,
        tls_key_file=ca_file,
        port=0,
        public_url="https://ledger.test",
        url_identity="https://identity.test",
        client_secret=Secret("x"),
        session_jwks_file=jwks,
        checkpoint_key=SecretKey(SEED),
        ledger_key=PublicKey(bytes(SigningKey(SEED).verify_key)),
        ledger_origin="ledger.test",
        high_water=str(folder / "high-water"),
        kek=KeyEncryptionKeys({"1": SecretKey(SEED)}),
    )
    runtime = make_runtime(SERVICE, settings)
    wiring = wire(runtime)
    if authenticator is not None:
        wiring = Wiring(routes=wiring.routes, authenticator=authenticator)
    app = create_app(SERVICE, runtime, wiring)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://ledger.test") as client:
        yield client
    await runtime.close()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
