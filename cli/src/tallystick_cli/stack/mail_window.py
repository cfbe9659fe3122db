"""A window into a trial's mailbox: what came for the made-up people of one domain, over HTTPS, to be read and no more.

`GET /messages/<address>` answers `{"messages": [...]}`, whole messages, the newest last. Everybody else's mail is not
shown, whoever asks (ADR 89).
"""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import unquote

import msgspec

_PREFIX = "/messages/"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Shown:
    """The Maildir, and the domain below whose names everybody is made up."""

    folder: Path
    domain: str

    def messages_for(self, address: str) -> list[str] | None:
        """Return what came for an address, the newest last; nothing for somebody who is not made up."""
        address = address.lower()
        if not address.endswith(f".{self.domain}"):
            return None
        arrived = sorted((self.folder / "new").glob("*"), key=lambda each: each.stat().st_mtime_ns)
        return [text for each in arrived if (text := _text_for(each, address))]


def _text_for(file: Path, address: str) -> str | None:
    envelope, _, message = file.read_bytes().partition(b"\r\n")
    recipients = envelope.decode(errors="replace").lower().removeprefix("x-rcpt-to: ").split(", ")
    return message.decode(errors="replace") if address in recipients else None


class _Visitor(BaseHTTPRequestHandler):
    server: "_Server"
    timeout = _TIMEOUT_S
    server_version, sys_version = "mail", ""

    def do_GET(self) -> None:
        """Answer one request."""
        asked = unquote(self.path.removeprefix(_PREFIX)) if self.path.startswith(_PREFIX) else ""
        found = self.server.shown.messages_for(asked)
        body = msgspec.json.encode({"messages": found or []})
        self.send_response(HTTPStatus.NOT_FOUND if found is None else HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: who asks for what is nobody's business."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], shown: Shown, tls: ssl.SSLContext) -> None:
        super().__init__(address, _Visitor)
        self.shown = shown
        self._tls = tls

    def get_request(self) -> tuple[socket, Any]:
        connection, address = super().get_request()
        # The handshake is for the connection's own thread: nobody is kept waiting by somebody else's.
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a connection that broke off."""


@contextmanager
def open_window(host: str, port: int, shown: Shown, tls: ssl.SSLContext) -> Iterator[int]:
    """Serve in a thread until the end; give the port, which is a free one where `port` is 0."""
    with _Server((host, port), shown, tls) as server:
        thread = threading.Thread(target=server.serve_forever, name="mail-window")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
