"""`tally cluster check`: who does not answer is asked again, and a wrong answer is told at once."""

import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from tallystick_cli.cluster.check import wrong_with
from tallystick_cli.stack import authority
from tallystick_cli.stack.layout import Layout


class Service(HTTPServer):
    """A ledger that hangs up on the first connections and answers the others."""

    def __init__(self, tls, *, hangs_up=0, ready=200):
        super().__init__(("127.0.0.1", 0), Answers)
        self.answers = {"/ready": ready, "/api/v1/ledger/logs": 401}
        self.asked = []
        self._tls, self._hangs_up = tls, hangs_up

    def get_request(self):
        connection, address = super().get_request()
        if self._hangs_up:
            self._hangs_up -= 1
            self.asked.append("in vain")
            connection.close()
            raise ConnectionResetError  # which an HTTPServer takes as nobody there
        return self._tls.wrap_socket(connection, server_side=True), address


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(self.server.answers[self.path])
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def layout(tmp_path):
    made = Layout.at(tmp_path / "stack")
    made.create()
    authority.ensure_authority(made)
    return made


@pytest.fixture
def running(layout):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.ensure_server(layout, "ledger"))

    @contextmanager
    def run(**options):
        with Service(context, **options) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield server, {"ledger": f"https://127.0.0.1:{server.server_port}"}
            finally:
                server.shutdown()
                thread.join()

    return run


def test_a_service_that_lets_nobody_in_yet_is_asked_until_it_does(running, layout, tmp_path):
    """A network policy learns late of a new pod's address."""
    with running(hangs_up=2) as (server, urls):
        assert wrong_with(urls, layout.ca_file, tmp_path, timeout_s=30.0) == []
    assert server.asked == ["in vain", "in vain", "/ready", "/api/v1/ledger/logs"]


def test_a_service_that_lets_nobody_in_is_found_in_the_end(running, layout, tmp_path):
    with running(hangs_up=1000) as (server, urls):
        (found,) = wrong_with(urls, layout.ca_file, tmp_path, timeout_s=1.2)
    assert found.startswith(f"ledger does not answer at {urls['ledger']} (")
    assert len(server.asked) > 1


def test_a_wrong_answer_is_not_asked_for_again(running, layout, tmp_path):
    with running(ready=503) as (server, urls):
        (found,) = wrong_with(urls, layout.ca_file, tmp_path, timeout_s=30.0)
    assert found.startswith("ledger is not ready (HTTP 503)")
    assert server.asked == ["/ready"]


def test_a_certificate_of_somebody_else_is_not_asked_for_again(running, tmp_path):
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(authority.make_authority(authority.make_key()))
    with running() as (server, urls):
        (found,) = wrong_with(urls, stranger, tmp_path, timeout_s=30.0)
    assert "SSLCertVerificationError" in found
    assert server.asked == []
