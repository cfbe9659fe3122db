"""`tally audit verify` on a server's address."""

import ssl
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.stack import authority
from tallystick_cli.stack.layout import Layout
from tallystick_tlog.samples import SIGNER, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]
Verify = Callable[..., dict[str, Any]]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder to who sends the cookie, and redirects from one path."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/checkpoint")
            self.end_headers()
        elif self.headers.get("Cookie") != "session=1":
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """A server that does not mind when the other side has read enough."""

    def handle_error(self, *_arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Give a function that serves a folder and says where."""
    servers: list[Server] = []

    def start(folder: Path) -> str:
        server = Server(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_served_log_is_verified(export: Export, verify: Verify, serve: Callable[[Path], str]) -> None:
    url = serve(export(3000))
    report = verify(url, "--header", "Cookie: session=1")
    assert (report["status"], report["entries"]) == ("intact", 3000)


def test_damage_in_a_served_log_is_named(export: Export, verify: Verify, serve: Callable[[Path], str]) -> None:
    lines, tree = log(3000)
    lines[1234] = lines[1234].replace(b'"done"', b'"gone"')
    report = verify(serve(export(lines, tree=tree)), "--header", "Cookie: session=1")
    assert (report["findings"][0]["code"], report["findings"][0]["seq"]) == ("hash", 1234)


def test_a_server_that_wants_a_session_is_answered_with_how_to_give_one(
    export: Export, run: Run, serve: Callable[[Path], str]
) -> None:
    assert "pass --header 'Cookie: …' of a session that is signed in" in run("audit", "verify", serve(export())).stderr


def test_a_certificate_of_an_unknown_authority_is_answered_with_the_option_that_trusts_it(
    tmp_path: Path, run: Run
) -> None:
    layout = Layout.at(tmp_path / "stack")
    layout.create()
    authority.ensure_authority(layout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.ensure_server(layout, "ledger"))
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        unknown = run("audit", "verify", url)
        known = run("audit", "verify", url, "--ca", layout.ca_file)
        server.shutdown()
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (2, 1)
    assert "pass --ca FILE with the authority that signed the server's certificate" in unknown.stderr
    assert "answered 401" in known.stderr


def test_a_key_that_is_none_is_named(export: Export, run: Run) -> None:
    result = run("audit", "verify", export(), "--key", "ledger.vkye")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--key ledger.vkye is neither a file nor a verifier key" in result.stderr


@pytest.mark.parametrize(("path", "complaint"), [("", "answered 401"), ("/moved", "answered 302")])
def test_refusals_and_redirects_are_one_line_and_status_2(
    export: Export, run: Run, serve: Callable[[Path], str], path: str, complaint: str
) -> None:
    result = run("audit", "verify", serve(export()) + path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
