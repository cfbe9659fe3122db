"""Mail goes out over TLS to a server whose certificate is good, or it waits: a link is worth a session."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP
from tallystick_cli.stack import authority
from tallystick_cli.stack.layout import Layout
from tallystick_identity import app as identity_app
from tallystick_identity.settings import MailTls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tallystick_identity.sign_in.mail import LinkMailer

    from conftest import Identity


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return _authority(tmp_path / "ours")


def _authority(folder: Path) -> Layout:
    layout = Layout.at(folder)
    for each in (layout.secrets, layout.authority):
        each.mkdir(parents=True, exist_ok=True)
    authority.ensure_authority(layout)
    return layout


@asynccontextmanager
async def _mail_server(identity: Identity, layout: Layout | None, tls: MailTls) -> AsyncIterator[int]:
    """Serve mail into the tests' inbox, with TLS as ``tls`` says; return the port."""
    context = None
    if layout is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*authority.ensure_server(layout, "mail"))
    loop = asyncio.get_running_loop()
    starting = context if tls is MailTls.STARTTLS else None
    server = await loop.create_server(
        lambda: SMTP(identity.inbox, loop=loop, tls_context=starting, require_starttls=starting is not None),
        "127.0.0.1",
        0,
        ssl=context if tls is MailTls.IMPLICIT else None,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def _mailer(identity: Identity, layout: Layout, port: int, tls: MailTls) -> LinkMailer:
    mailer = identity_app._mailer(identity.runtime, identity.parts)
    mailer._postbox = replace(mailer._postbox, host="localhost", port=port, tls=tls, ca_file=layout.ca_file)
    return mailer


@pytest.mark.control("X-02")
@pytest.mark.parametrize("tls", [MailTls.STARTTLS, MailTls.IMPLICIT])
async def test_mail_is_handed_over_through_tls(identity: Identity, layout: Layout, tls: MailTls) -> None:
    tenant = await identity.new_tenant()
    await identity.ask_for_link(identity.client(), tenant, tenant.admin_email)
    async with _mail_server(identity, layout, tls) as port:
        await _mailer(identity, layout, port, tls).send_waiting()
    assert [message["To"] for message in identity.inbox.messages] == [tenant.admin_email]


@pytest.mark.control("X-02")
@pytest.mark.parametrize("trusted", [True, False])
async def test_no_mail_goes_out_in_the_clear_or_to_a_stranger_and_none_is_lost(
    identity: Identity, layout: Layout, tmp_path: Path, *, trusted: bool
) -> None:
    tenant = await identity.new_tenant()
    await identity.ask_for_link(identity.client(), tenant, tenant.admin_email)
    offered = None if trusted else _authority(tmp_path / "strangers")
    async with _mail_server(identity, offered, MailTls.STARTTLS) as port:
        refusing = _mailer(identity, layout, port, MailTls.STARTTLS)
        with pytest.raises((aiosmtplib.SMTPException, ssl.SSLError)):
            await refusing.send_waiting()
    assert identity.inbox.messages == []
    identity.clock.ahead += timedelta(minutes=1)
    await identity.send_mail()
    assert [message["To"] for message in identity.inbox.messages] == [tenant.admin_email]
