"""`tally status` asks the services themselves."""

import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tallystick_cli.operator import actions
from tallystick_cli.stack import authority, readiness, status
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.status import ProgramStatus, Status


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments):
        """Keep quiet."""


@pytest.fixture
def ready_port(layout):
    authority.ensure_authority(layout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.ensure_server(layout, "identity"))
    with ThreadingHTTPServer((LOOPBACK, 0), _Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _running(**ports):
    return Status(
        phase="ready",
        programs={f"{name}-api": ProgramStatus(1, 0) for name in ports},
        urls={name: f"https://{LOOPBACK}:{port}" for name, port in ports.items()},
    )


def test_a_service_that_takes_connections_and_hangs_is_not_ready(layout, ready_port, monkeypatch, capsys):
    monkeypatch.setattr(readiness, "_TIMEOUT_S", 0.5)
    with socket.create_server((LOOPBACK, 0)) as hung, status.sole_supervisor(layout):
        status.write(layout, _running(identity=ready_port, ledger=hung.getsockname()[1]))
        assert actions.show_status(layout.root, as_json=True) == 3
        assert json.loads(capsys.readouterr().out)["ready"] == {"identity": True, "ledger": False}
        assert actions.show_status(layout.root, as_json=False) == 3
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert title == f"{layout.root}: not ready: see below"
    column = header.index("ready")
    assert [row[column : column + 5].strip() for row in rows[:2]] == ["yes", "no"]


def test_services_that_all_answer_are_ready(layout, ready_port, capsys):
    with status.sole_supervisor(layout):
        status.write(layout, _running(identity=ready_port))
        assert actions.show_status(layout.root, as_json=False) == 0
    assert capsys.readouterr().out.startswith(f"{layout.root}: ready\n")
