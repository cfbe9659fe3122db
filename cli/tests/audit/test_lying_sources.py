"""Sources that lie: entries repeated where no one process looks, states that the operator planted, second answers."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.audit import drive, pace
from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.present import Service
from tallystick_cli.audit.reconcile import reconcile
from tallystick_cli.audit.sources import FolderSource
from tallystick_cli.audit.tabular import safe_cell
from tallystick_tlog import FIRST_PREV, CompactRange, Signer, TlogProof, build_line, leaf_hash
from tallystick_tlog.checkpoint import Checkpoint, sign_checkpoint
from tallystick_tlog.samples import ORIGIN, RECORDED, SIGNER, checkpoint, event, log

KEY = str(SIGNER.verifier)
SUCCESSOR = f"{ORIGIN}.2"
SEED = bytes(range(32))
Export = Callable[..., Path]
Run = Callable[..., Any]
Verify = Callable[..., dict[str, Any]]
Chain = Callable[..., list[bytes]]


@pytest.mark.control("EV-23")
@pytest.mark.parametrize("jobs", [1, 2])
def test_entries_repeated_from_one_parts_end_to_the_nexts_are_found(
    export: Export, verify: Verify, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    part_bytes = 200_000
    monkeypatch.setattr(drive, "PART_BYTES", part_bytes)
    lines, tree = log(4_000)
    first = up_to(part_bytes, lines)
    # From the first part's end to the second's: the log's own beginning once more, which is sound in itself.
    again = up_to(2 * part_bytes - size_of(first), lines)
    folder = export([*first, *again, *lines[len(first) :]], tree=tree)
    (finding,) = verify(folder, "--jobs", jobs)["findings"]
    assert (finding["code"], finding["seq"]) == ("order", len(first))


def size_of(lines: list[bytes]) -> int:
    """Return how many bytes these lines take in a file."""
    return sum(len(line) + 1 for line in lines)


def up_to(place: int, lines: list[bytes]) -> list[bytes]:
    """Return the lines that begin up to this place in their file: a part ends with the line that goes beyond."""
    starts = accumulate((len(line) + 1 for line in lines), initial=0)
    return [line for start, line in zip(starts, lines, strict=False) if start <= place]


@pytest.mark.control("EV-23")
def test_a_replays_state_that_lies_in_an_older_export_is_not_believed(
    export: Export, verify: Verify, chain: Chain, tmp_path: Path
) -> None:
    numbers = [1, 2, 3, 4, 5, 7]
    lines = chain((event(at), {"source_seq": number}) for at, number in enumerate(numbers))
    older = export(lines[:5], name="older")
    verify(older, "--keep", tmp_path / "kept")
    (state,) = (tmp_path / "kept").glob("*/replay.json")
    planted = json.loads(state.read_bytes())
    planted["series"][0]["last"] = 6
    (older / "replay.json").write_text(json.dumps(planted))
    (finding,) = verify(export(lines), "--since", older)["findings"]
    assert (finding["code"], finding["seq"]) == ("source_gap", 5)


@pytest.mark.control("EV-23")
def test_a_kept_log_that_is_gone_is_a_finding_whether_or_not_others_are_left(
    export: Export, run: Run, tmp_path: Path
) -> None:
    other = Signer("tally.example/acme/audit-2026-11", bytes(32))
    export(3, name="all/one")
    folder = export(0, signer=other, name="all/two").parent
    kept = tmp_path / "kept"
    assert run("audit", "verify", folder, "--keep", kept).exit_code == 0
    for file in (folder / "one").iterdir():
        file.unlink()
    (folder / "one").rmdir()
    told = run("audit", "verify", folder, "--since", kept)
    assert told.exit_code == 1
    assert "damaged: absent: you kept a checkpoint of its 3 entries, and the log is not here" in told.stdout
    report = json.loads(run("audit", "verify", folder, "--since", kept, "--json").stdout)
    assert (report["status"], [one["status"] for one in report["logs"]]) == ("damaged", ["intact", "damaged"])
    (finding,) = report["findings"]
    assert (finding["code"], report["logs"][1]["log"]) == ("absent", ORIGIN)
    # Whoever names one log has not asked for the others.
    assert run("audit", "verify", f"{folder / 'two'}/", "--since", kept).exit_code == 0
    (folder / "two").rename(folder.parent / "away")
    export(3, name="all/three", signer=Signer("tally.example/acme/audit-2026-12", bytes(32)))
    assert run("audit", "verify", folder, "--since", kept).exit_code == 1


@pytest.mark.parametrize("origin", [".", ".."])
def test_a_log_named_like_a_folder_above_is_kept_below_all_the_same(
    export: Export, run: Run, chain: Chain, tmp_path: Path, origin: str
) -> None:
    folder = export(chain([(event(0), {"source_seq": 1})], origin), signer=Signer(origin, SEED))
    own = tmp_path / "auditor" / "checkpoint"
    own.parent.mkdir()
    own.write_text("my own")
    kept = own.parent / "kept"
    assert run("audit", "verify", folder, "--keep", kept).exit_code == 0
    assert own.read_text() == "my own"
    assert [file.name for file in own.parent.iterdir() if file.is_file()] == ["checkpoint"]
    assert [item.is_dir() for item in kept.iterdir()] == [True]
    assert "were not read again" in run("audit", "verify", folder, "--since", kept).stdout


class Handler(BaseHTTPRequestHandler):
    """Serves files from memory; a name's second answer may differ from its first."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        name = self.path.lstrip("/")
        answers = self.server.files.get(name)
        if answers is None:
            self.send_error(404)
            return
        data = answers[min(self.server.asked[name], len(answers) - 1)]
        self.server.asked[name] += 1
        self.send_response(200)
        for header in self.server.headers or (("Content-Length", str(len(data))),):
            self.send_header(*header)
        self.end_headers()
        try:
            while self.server.drips and len(data) > 1:
                self.wfile.write(data[:1])
                data = data[1:]
                time.sleep(0.02)
            self.wfile.write(data)
        except OSError:
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


class Server(ThreadingHTTPServer):
    """Where the handler finds what to serve."""

    files: dict[str, list[bytes]]
    headers: tuple[tuple[str, str], ...] = ()
    drips: bool = False

    def __init__(self) -> None:
        """Listen somewhere."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked = {}, Counter[str]()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def give(self, folder: Path, *later_entries: bytes) -> None:
        """Serve an export, and other entries to who asks again."""
        self.files = {file.name: [file.read_bytes()] for file in folder.iterdir()}
        self.files["entries.ndjson"] += later_entries


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server that lies."""
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def continued(folder: Path, first: bytes) -> Path:
    """Write an export of two entries of a successor log, the first with this event."""
    signer, prev, lines = Signer(SUCCESSOR, SEED), FIRST_PREV, list[bytes]()
    for seq, body in enumerate((first, event(1))):
        lines.append(build_line(body, SUCCESSOR, prev, RECORDED, seq, seq + 3))
        prev = leaf_hash(lines[-1])
    tree = CompactRange().extend(map(leaf_hash, lines))
    folder.mkdir()
    (folder / "entries.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    (folder / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(SUCCESSOR, 2, tree.root()), signer))
    (folder / "ledger.vkey").write_text(f"{signer.verifier}\n")
    return folder


def breaking() -> bytes:
    broken = {"keptRoot": "AAAA", "keptSize": 40, "log": ORIGIN, "signedRoot": "BBBB", "signedSize": 50}
    data = {"broken": [broken], "log": SUCCESSOR}
    return event(0, source="ledger", type="ledger.log.succeeded", stream="log-1", stream_version=1, data=data)


@pytest.mark.control("EV-23")
def test_a_break_that_is_named_in_a_second_answer_alone_is_not_named(server: Server, run: Run, tmp_path: Path) -> None:
    silent, honest = continued(tmp_path / "a", event(0)), continued(tmp_path / "b", breaking())
    server.give(silent, (honest / "entries.ndjson").read_bytes())
    said = run("audit", "verify", server.url, "--key", str(Signer(SUCCESSOR, SEED).verifier))
    assert said.exit_code == 1
    assert "the source gave another one than before" in said.stdout
    assert "succeeds" not in said.stdout
    server.give(honest)
    assert "succeeds" in run("audit", "verify", server.url, "--key", str(Signer(SUCCESSOR, SEED).verifier)).stdout


@pytest.mark.control("EV-23")
def test_what_was_added_to_a_successor_is_verified_without_its_first_entry(run: Run, tmp_path: Path) -> None:
    folder, kept = continued(tmp_path / "log", breaking()), tmp_path / "kept"
    assert run("audit", "verify", folder, "--keep", kept).exit_code == 0
    assert "succeeds" in run("audit", "verify", folder, "--since", kept).stdout
    (folder / "entries.ndjson").write_bytes(b"")
    assert run("audit", "verify", folder, "--since", kept).exit_code == 0


@pytest.mark.control("EV-23")
def test_an_explanation_is_made_of_entries_that_were_verified(
    server: Server, run: Run, export: Export, chain: Chain
) -> None:
    lines = chain((event(at, correlation="r-1"), {}) for at in range(3))
    forged = chain((event(at, correlation="r-1", type="identity.user.forged"), {}) for at in range(3))
    server.give(export(lines), b"".join(line + b"\n" for line in forged))
    said = run("audit", "explain", server.url, 0, "--key", KEY)
    assert said.exit_code == 1
    assert "gave other entries when it was read once more" in said.stdout
    assert "forged" not in said.stdout


@pytest.mark.parametrize("length", ["9" * 5_000, "-1", "1e3"])
def test_a_length_that_is_none_is_no_stack_trace(server: Server, run: Run, export: Export, length: str) -> None:
    server.give(export(3))
    server.headers = (("Content-Length", length), ("Accept-Ranges", "bytes"), ("ETag", '"1"'), ("Connection", "close"))
    assert run("audit", "verify", server.url, "--key", KEY).exit_code in {0, 2}


@pytest.mark.control("EV-23")
def test_a_server_that_gives_a_byte_now_and_then_does_not_keep_an_audit_waiting(
    server: Server, run: Run, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "GRACE_S", 0.2)
    server.give(export(3))
    server.drips = True
    said = run("audit", "monitor", server.url, "--key", KEY, "--state", tmp_path / "seen", "--once")
    assert said.exit_code == 2
    assert "the server gave" in said.stderr


ESCAPES = "\x1b[2J\x9b31m\u202e"


def test_no_part_of_a_report_speaks_to_the_terminal(run: Run, tmp_path: Path) -> None:
    origin = f"tally.example/acme{ESCAPES[5:]}/audit-2026-11"
    signer, plain = Signer(origin, SEED), Signer("tally.example/acme/audit-2026-11", SEED)
    line = build_line(
        event(0, type=f"identity.{ESCAPES}\n  intact: forged.done"), plain.verifier.name, FIRST_PREV, RECORDED, 0, 7
    )
    tree = CompactRange().append(leaf_hash(line))
    for made in (signer, plain):
        folder = tmp_path / f"logs{ESCAPES}" / str(len(made.verifier.name))
        folder.mkdir(parents=True)
        (folder / "entries.ndjson").write_bytes(line + b"\n")
        (folder / "checkpoint").write_bytes(checkpoint(tree, made))
        (folder / "ledger.vkey").write_bytes(f"{made.verifier}\n".encode())
    said = run("audit", "verify", folder.parent)
    assert "goes on at 7" in said.stdout
    assert said.stdout.replace("\n", "").isprintable()
    assert not any(text.startswith("  intact: forged") for text in said.stdout.split("\n"))
    proof, entry = tmp_path / "proof", tmp_path / "entry"
    proof.write_bytes(TlogProof(0, (), checkpoint(tree, plain)).to_bytes())
    entry.write_bytes(line)
    said = run("audit", "proof", proof, entry, "--key", plain.verifier)
    assert said.exit_code == 0
    assert said.stdout.removesuffix("\n").isprintable()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d"])
@pytest.mark.parametrize("between", [";", '";"', "\t", "\r\n", "; "])
def test_no_cell_is_a_formula_where_a_spreadsheet_parts_cells_elsewhere(start: str, between: str) -> None:
    written = safe_cell(f"a{between}{start}1+1{between}z")
    for delimiter in ";\t":
        for row in csv.reader(written.splitlines(), delimiter=delimiter):
            assert not any(cell.strip(' "').startswith(start) for cell in row)
    assert safe_cell("a; b - c = d") == "a; b - c = d"


@pytest.mark.control("EV-23")
def test_a_monitor_raises_the_alarm_if_its_address_shows_another_log(
    server: Server, run: Run, export: Export, tmp_path: Path
) -> None:
    other = Signer("tally.example/acme/other", SEED)
    pins = tmp_path / "pins"
    pins.write_text(f"{KEY}\n{other.verifier}\n")
    look = ("audit", "monitor", server.url, "--key", pins, "--state", tmp_path / "seen", "--once")
    server.give(export(3))
    assert run(*look).exit_code == 0
    server.give(export(0, signer=other, name="other"))
    said = run(*look)
    assert said.exit_code == 1
    assert f"ALARM fork: log {ORIGIN} was shown here, and now it is log {other.verifier.name}" in said.stdout
    server.give(export(5))
    assert run(*look).exit_code == 0


def test_names_that_would_fill_the_memory_are_refused(export: Export, verify: Verify, chain: Chain) -> None:
    long = chain([(event(0, type=f"identity.{'x' * 510}.done"), {"source_seq": 1})])
    (finding,) = verify(export(long))["findings"]
    assert (finding["code"], finding["seq"]) == ("format", 0)


class Liar:
    """A service's answers by kind of row."""

    name = "https://liar.example"

    def __init__(self, **rows: list[dict[str, object]]) -> None:
        """Take the rows; of all other kinds there are none."""
        self._rows = {"reach": [{"key": "*", "stream": "", "fields": {}}], **rows}

    def read_file(self, name: str, _max_bytes: int) -> bytes:
        """Give a page."""
        kind = name.rpartition("kind=")[2]
        page = {"service": "identity", "kind": kind, "rows": self._rows.get(kind, []), "next": None}
        return json.dumps(page).encode()


STORED: dict[str, object] = {
    "event_id": "e",
    "sha256": "ab",
    "version": 1,
    "type": "identity.tenant.created",
    "stored_at": "2026-11-22T12:00:00Z",
}


@pytest.mark.parametrize(
    ("kind", "key", "changes"),
    [
        ("event", f"tenant/{'9' * 5_000}", {}),
        ("event", f"tenant/{2**64}", {}),
        ("event", "tenant/1", {"version": 2**64}),
        ("unnumbered_event", "e", {"type": "nonsense"}),
        ("unnumbered_event", "e", {"stored_at": "9999-12-31T23:59:59Z"}),
        ("unnumbered_event", "e", {"stored_at": "0001-01-01T00:00:00+14:00"}),
    ],
)
def test_a_service_that_answers_nonsense_is_one_line_or_a_difference(
    export: Export, chain: Chain, kind: str, key: str, changes: dict[str, object]
) -> None:
    told = event(0, source="identity", type="identity.tenant.created", actor="identity")
    source = FolderSource(export(chain([(told, {})])))
    liar = Liar(**{kind: [{"key": key, "stream": "tenant-1", "fields": STORED | changes}]})
    service = Service("identity", liar)  # type: ignore[arg-type]  # all that a service needs of its source
    with suppress(AuditError):
        found, _ = reconcile([source], [service], (SIGNER.verifier,), 300, lambda _: None, datetime.now(UTC))
        assert found.status == "differs"
