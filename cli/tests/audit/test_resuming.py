"""A download that breaks is gone on with, and what comes of it is verified like any other."""

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.audit import resuming

Export = Callable[..., Path]
Run = Callable[..., Any]
Verify = Callable[..., dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    """Serves a folder, the entries in parts, and cuts the connection after some bytes of each answer."""

    server: "CuttingServer"

    def do_GET(self) -> None:
        """Answer."""
        name = self.path.lstrip("/")
        file = self.server.folder / name
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        if name != "entries.ndjson":
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        server = self.server
        asked = (self.headers.get("Range"), self.headers.get("If-Range"))
        server.asked.append(asked)
        etag = server.etags.pop(0) if len(server.etags) > 1 else server.etags[0]
        start = 0
        if len(server.asked) > 1 and server.refuse_with:
            self.send_error(server.refuse_with)
            if server.refuse_with == 503:
                server.refuse_with = 0
            return
        if asked[0] and asked[1] == etag:
            start = int(re.fullmatch(r"bytes=([0-9]+)-", asked[0])[1])  # type: ignore[index]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if server.gives_parts:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        limit = server.cuts.pop(0) if server.cuts else len(data)
        self.wfile.write(data[start : start + limit])
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


class CuttingServer(ThreadingHTTPServer):
    """What the handler is told, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        """Serve a folder."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.cuts: list[int] = []
        self.etags = ['"one"']
        self.gives_parts = True
        self.refuse_with = 0
        self.asked: list[tuple[str | None, str | None]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(export: Export) -> Iterator[CuttingServer]:
    """Serve an export of 3,000 entries."""
    with CuttingServer(export(3000)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the pauses instead of making them."""
    noted: list[float] = []
    monkeypatch.setattr(resuming.time, "sleep", noted.append)
    return noted


def test_a_download_that_breaks_again_and_again_is_gone_on_with_and_verified(
    server: CuttingServer, verify: Verify, pauses: list[float]
) -> None:
    server.cuts = [100_001, 7, 0, 0, 300_000, 1]
    report = verify(server.url)
    assert (report["status"], report["entries"]) == ("intact", 3000)
    places = [0, 100_001, 100_008, 100_008, 100_008, 400_008, 400_009]
    assert server.asked == [(None, None), *((f"bytes={place}-", '"one"') for place in places[1:])]
    assert pauses == [0.2, 0.4], "only where nothing had come"


def test_damage_behind_a_break_is_still_found(server: CuttingServer, verify: Verify) -> None:
    file = server.folder / "entries.ndjson"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2500] = lines[2500].replace(b'"done"', b'"gone"')
    file.write_bytes(b"".join(lines))
    server.cuts = [100_001]
    report = verify(server.url)
    assert (report["findings"][0]["code"], report["findings"][0]["seq"]) == ("hash", 2500)


def test_a_server_that_cannot_answer_for_a_moment_is_asked_again(server: CuttingServer, verify: Verify) -> None:
    server.cuts, server.refuse_with = [100_001], 503
    assert verify(server.url)["status"] == "intact"
    assert [asked for asked, _ in server.asked] == [None, "bytes=100001-", "bytes=100001-"]


@pytest.mark.parametrize(("status", "said"), [(401, "answered 401"), (410, "deleted after their retention")])
def test_a_server_that_refuses_the_rest_is_not_asked_again(
    server: CuttingServer, run: Run, status: int, said: str
) -> None:
    server.cuts, server.refuse_with = [100_001], status
    result = run("audit", "verify", server.url)
    assert (result.exit_code, len(server.asked)) == (2, 2)
    assert said in result.stderr


def test_the_rest_of_another_file_is_not_taken(server: CuttingServer, run: Run) -> None:
    server.cuts, server.etags = [100_001], ['"one"', '"two"']
    result = run("audit", "verify", server.url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "does not give the rest of the same file" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_that_gives_no_more_is_given_up(server: CuttingServer, run: Run, pauses: list[float]) -> None:
    server.cuts = [100_001, *(20 * [0])]
    result = run("audit", "verify", server.url)
    assert (result.exit_code, len(server.asked)) == (2, 1 + resuming.TRIES)
    assert "the connection broke after 100001 of" in result.stderr
    assert sum(pauses) == pytest.approx(6.2)


@pytest.mark.parametrize("how", ["no parts", "weak tag"])
def test_where_the_server_gives_no_parts_a_break_is_the_end(server: CuttingServer, run: Run, how: str) -> None:
    server.cuts = [100_001]
    if how == "no parts":
        server.gives_parts = False
    else:
        server.etags = ['W/"one"']
    result = run("audit", "verify", server.url)
    assert (result.exit_code, len(server.asked)) == (2, 1)
    assert "the connection broke after 100001 of" in result.stderr
