"""Identity's pages for a browser: the real application over TLS on ``localhost``, its mail worker, and a letter box."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import TYPE_CHECKING
from uuid import uuid4

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.public import PrivateKey
from tallystick_chassis.clock import utc_now
from tallystick_chassis.directory import with_directory
from tallystick_chassis.http.app import create_app
from tallystick_chassis.process import make_runtime
from tallystick_chassis.scope import Scope
from tallystick_chassis.settings import load_settings
from tallystick_contracts.envelope import decode_event, encode_event
from tallystick_contracts.generated.privacy import KeyMinted, PooledKey, TenantKeyMinted
from tallystick_contracts.topology import ServiceName
from tallystick_identity.app import SERVICE
from tallystick_identity.bootstrap import create_first_administrator, create_tenant
from tallystick_identity.consumers import handlers
from tallystick_identity.settings import IdentitySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tallystick_chassis.ids import TenantId
    from tallystick_chassis.service import Runtime
    from tallystick_cli.stack.temporary import Databases
    from tallystick_contracts.message import EventData

_LINK = re.compile(r"https://\S+/verify#\S+")
_CODE = re.compile(r"type ([0-9]{3} [0-9]{3})\.")
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Letter:
    """What a mail brings."""

    link: str
    code: str


@dataclass
class Site:
    """The running pages."""

    base: str
    key_pin: str
    runtime: Runtime
    letters: dict[str, list[Letter]] = field(default_factory=dict)
    delivered: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        text = message_from_bytes(envelope.content).get_payload(decode=True)
        assert isinstance(text, bytes)
        link, code = _LINK.search(text.decode()), _CODE.search(text.decode())
        assert link is not None
        assert code is not None
        for recipient in envelope.rcpt_tos:
            self.letters.setdefault(recipient, []).append(Letter(link.group(), code.group(1)))
        self.delivered.set()
        return "250 delivered"

    async def letter(self, address: str) -> Letter:
        """Wait for the next mail to an address, and take it out of the box."""
        async with asyncio.timeout(_PATIENCE_S):
            while not self.letters.get(address):
                await self.delivered.wait()
                self.delivered.clear()
        return self.letters[address].pop(0)

    async def new_tenant(self) -> str:
        """Make a tenant whose administrator is ``admin@<slug>.example``; return its slug."""
        slug = f"t{secrets.token_hex(6)}"
        tenant = await create_tenant(self.runtime, slug=slug, name=f"Tenant {slug}")
        keys = [PooledKey(key_id=f"k_{secrets.token_hex(8)}", public_key=_public_key()) for _ in range(9)]
        await self._receive(tenant, KeyMinted(keys=tuple(keys)))
        day = utc_now().date().isoformat()
        await self._receive(tenant, TenantKeyMinted(day=day, key_id=f"day-{slug}", public_key=_public_key()))
        await create_first_administrator(self.runtime, tenant, email=f"admin@{slug}.example", name="Ada Admin")
        return slug

    async def _receive(self, tenant: TenantId, data: EventData) -> None:
        body = encode_event(
            data, id=uuid4(), source="privacy", stream="test", stream_version=1, time=utc_now(), actor="privacy"
        )
        event = decode_event(body, tenant=tenant, source_seq=1)
        async with self.runtime.database.transaction(Scope.for_duty(tenant, SERVICE.name)) as tx:
            await with_directory(handlers(self.runtime.keys))[event.type](tx, event)


def _public_key() -> str:
    return base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()


@asynccontextmanager
async def running_site(databases: Databases) -> AsyncIterator[Site]:
    """Run the pages until the end of the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # Passkeys are for host names, and never for addresses.
        base = f"https://localhost:{listener.getsockname()[1]}"
        environment = {**databases.environment(ServiceName.IDENTITY), "TALLY_PUBLIC_URL": base}
        site = Site(base, "", None)  # type: ignore[arg-type] # made below: the letter box is there before its readers
        loop = asyncio.get_running_loop()
        post_office = await loop.create_server(lambda: SMTP(site, loop=loop), "127.0.0.1", 0)
        environment["TALLY_SMTP_PORT"] = str(post_office.sockets[0].getsockname()[1])
        settings = load_settings(IdentitySettings, environment)
        site.runtime = make_runtime(SERVICE, settings)
        site.key_pin = _pin(settings.tls_cert_file.read_bytes())
        wiring = SERVICE.wire(site.runtime)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(SERVICE, site.runtime, wiring),
                lifespan="off",
                log_config=None,
                ws="none",
                ssl_certfile=settings.tls_cert_file,
                ssl_keyfile=settings.tls_key_file,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        mailing = asyncio.create_task(_repeat(next(job for job in wiring.jobs if job.name == "mail-sign-in-links")))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            yield site
        finally:
            mailing.cancel()
            with suppress(asyncio.CancelledError):
                await mailing
            server.should_exit = True
            await serving
            post_office.close()
            await post_office.wait_closed()
            await site.runtime.close()


async def _repeat(job) -> None:  # type: ignore[no-untyped-def]
    while True:
        if not await job.run():
            await asyncio.sleep(job.interval_s)


def _pin(certificate: bytes) -> str:
    """Return the hash of the certificate's key, by which a browser takes it for good, as no authority of its own."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()
