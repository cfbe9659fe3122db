"""A real SMTP server that delivers everything to one Maildir, so that links can be followed without a mail provider.

`python -m tallystick_cli.stack.mail_sink PORT FOLDER [--host ADDRESS --certificate FILE --key FILE]`, and with
`--window-port PORT --window-domain DOMAIN` the mails of made-up people below a domain can be read over HTTPS.
"""

import argparse
import asyncio
import mailbox
import signal
import ssl
from contextlib import nullcontext
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from tallystick_cli.stack.mail_window import Shown, open_window
from tallystick_cli.stack.ports import LOOPBACK

_MAX_MESSAGE_BYTES = 1_000_000


class MaildirDelivery:
    """Stores each accepted message as one file in `new/`; the answer 250 comes after the file is durable."""

    def __init__(self, folder: Path) -> None:
        """Open or make the Maildir."""
        self._maildir = mailbox.Maildir(folder, create=True)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 -- aiosmtpd's name
        """Deliver one message, with its envelope recipients in `X-Rcpt-To`."""
        recipients = ", ".join(envelope.rcpt_tos).encode()
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        # Maildir.add writes below tmp/, fsyncs, and links into new/
        self._maildir.add(b"X-Rcpt-To: " + recipients + b"\r\n" + content)
        return "250 delivered"


async def serve(port: int, folder: Path, host: str = LOOPBACK, tls: ssl.SSLContext | None = None) -> None:
    """Serve on `host` until SIGTERM or SIGINT; with `tls` take mail after STARTTLS only."""
    delivery = MaildirDelivery(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(
            delivery,
            data_size_limit=_MAX_MESSAGE_BYTES,
            enable_SMTPUTF8=True,
            tls_context=tls,
            require_starttls=tls is not None,
            loop=loop,
        ),
        host,
        port,
    )
    stopped = asyncio.Event()
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(stop_signal, stopped.set)
    async with server:
        await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tallystick-mail")
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--window-port", type=int)
    parser.add_argument("--window-domain")
    arguments = parser.parse_args()
    context = None
    if arguments.certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate, arguments.key)
    elif arguments.host != LOOPBACK:
        parser.error("mail from other machines is taken over TLS only: give --certificate and --key")
    if bool(arguments.window_port) != bool(arguments.window_domain) or (arguments.window_port and context is None):
        parser.error("a window has --window-port and --window-domain, and a --certificate and --key")
    shown = Shown(arguments.folder, arguments.window_domain or "")
    with (
        nullcontext()
        if context is None or not arguments.window_port
        else open_window(arguments.host, arguments.window_port, shown, context)
    ):
        asyncio.run(serve(arguments.port, arguments.folder, arguments.host, context))
