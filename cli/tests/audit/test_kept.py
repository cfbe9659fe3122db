"""Going on from what was kept: `verify --keep` and `--since`, and `monitor`."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick_cli.audit.blocks import first_lines, from_entry
from tallystick_cli.audit.monitor import Monitor
from tallystick_cli.audit.sources import FolderSource
from tallystick_tlog import CompactRange, Signer, leaf_hash
from tallystick_tlog.samples import ORIGIN, SIGNER, checkpoint, event, log

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]
Verify = Callable[..., dict[str, Any]]
Chain = Callable[..., list[bytes]]
LINES = [line + b"\n" for line in log(40)[0]]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 5000), st.booleans())
def test_reading_on_gives_the_lines_from_an_entry_on(seq: int, count: int, piece: int, whole: bool) -> None:  # noqa: FBT001
    stream = BytesIO(b"".join(LINES if whole else LINES[seq:]))
    read = first_lines(from_entry(lambda size: stream.read(min(size, piece)), seq), count)
    assert b"".join(iter(lambda: read(piece), b"")) == b"".join(LINES[seq : seq + count])


def test_only_what_was_added_is_read_again(export: Export, verify: Verify, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    verify(export(1000), "--keep", kept)
    lines, tree = log(3000)
    report = verify(export(lines, tree=tree), "--since", kept)
    assert (report["status"], report["authenticated"], report["entries"]) == ("intact", True, 3000)
    assert "The first 1000 entries were not read again" in " ".join(report["limits"])
    part = export(lines[1000:], tree=tree, name="part")
    assert verify(part, "--since", kept, "--keep", kept)["status"] == "intact"
    assert verify(export(3000), "--since", kept)["status"] == "intact"


def test_the_headline_says_what_was_not_read_and_which_checkpoint_it_continues(
    export: Export, verify: Verify, run: Run, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    verify(export(1000), "--keep", kept)
    lines, tree = log(3000)
    lines[5] = lines[5].replace(b'"done"', b'"gone"')
    changed = export(lines, tree=tree)
    said = run("audit", "verify", changed, "--key", KEY, "--since", kept).stdout
    assert "intact: 3,000 entries, of which 2,000 were read and 1,000 not again" in said
    assert "continues the checkpoint that you kept at 1,000 entries" in said
    report = verify(changed, "--since", kept)
    assert (report["since"], report["not_read"]) == (1000, 1000)
    whole = verify(export(3000), "--since", export(1, name="older") / "checkpoint")
    assert (whole["since"], whole["not_read"]) == (1, 0)
    said = run("audit", "verify", export(3000), "--key", KEY).stdout
    assert "intact: 3,000 entries, root" in said
    assert "continues" not in said


def test_the_numbers_go_on_where_they_stood(export: Export, verify: Verify, chain: Chain, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    verify(export(5), "--keep", kept)
    numbers = [1, 2, 3, 4, 5, 7]
    gap = export(chain((event(at), {"source_seq": number}) for at, number in enumerate(numbers)))
    (finding,) = verify(gap, "--since", kept)["findings"]
    assert (finding["code"], finding["seq"], finding["line"]) == ("source_gap", 5, 6)


def test_a_log_that_does_not_continue_what_was_kept_is_damaged(
    export: Export, verify: Verify, chain: Chain, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    verify(export(5), "--keep", kept)
    for size in (3, 5, 6, 9):
        rewritten = export(chain((event(at, actor="someone else"), {}) for at in range(size)))
        assert verify(rewritten)["status"] == "intact"
        assert verify(rewritten, "--since", kept)["status"] == "damaged", size
    lines, tree = log(9)
    lines[7] = lines[7].replace(b'"done"', b'"gone"')
    (finding,) = verify(export(lines, tree=tree), "--since", kept)["findings"]
    assert (finding["code"], finding["seq"]) == ("hash", 7)
    assert verify(export(log(7)[0], tree=log(9)[1]), "--since", kept)["findings"][0]["code"] == "truncated"


def test_a_damaged_log_is_not_kept_and_a_state_that_does_not_fit_is_not_used(
    export: Export, verify: Verify, run: Run, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    verify(export(5, signer=Signer(ORIGIN, bytes(32))), "--keep", kept)
    assert not kept.exists()
    verify(export(5), "--keep", kept)
    (folder,) = kept.iterdir()
    (folder / "checkpoint").write_bytes(checkpoint(log(4)[1]))
    report = verify(export(9), "--since", kept)
    assert report["status"] == "intact"
    assert "not read again" not in " ".join(report["limits"])
    (folder / "replay.json").write_bytes(b"{}")
    assert run("audit", "verify", export(9), "--since", kept).exit_code == 2
    assert run("audit", "verify", export(9), "--since", folder.parent / "nowhere").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert run("audit", "verify", export(9), "--since", tmp_path / "empty").exit_code == 2
    assert verify(export(9), "--since", export(7, name="older"))["status"] == "intact"


AUDIT = Signer("tally.example/acme/audit-2026-10", bytes(range(32)))
OTHERS = "tally.example/zeta/audit-2026-10"


def told_of(chain: Chain, *, size: int, root: bytes, origin: str = AUDIT.verifier.name, count: int = 2) -> list[bytes]:
    """Make a compliance log whose second entry says that a log was dropped."""
    data = {"log": "x", "origin": origin, "period": "2026-10", "root": b64encode(root).decode(), "size": size}
    gone = event(1, source="ledger", type="ledger.audit_log.dropped", stream="audit_log-x", data=data)
    first = (event(0), {"source_seq": 1})
    return chain([first, (gone, {"source_seq": 1}), *((event(at), {"source_seq": at}) for at in range(2, count))])


@pytest.mark.control("X-10")
def test_a_kept_log_that_was_dropped_after_its_retention_is_not_missed(
    export: Export, run: Run, chain: Chain, tmp_path: Path
) -> None:
    kept, logs = tmp_path / "kept", tmp_path / "all"
    audit = chain(((event(at), {"source_seq": at + 1}) for at in range(3)), AUDIT.verifier.name)
    root = CompactRange().extend(map(leaf_hash, audit)).root()
    export(audit, signer=AUDIT, name="all/audit")
    export(chain([(event(0), {"source_seq": 1})]), name="all/compliance")
    assert run("audit", "verify", logs, "--keep", kept).exit_code == 0
    rmtree(logs / "audit")

    def status(*lines: bytes) -> int:
        export(lines, name="all/compliance")
        exit_code: int = run("audit", "verify", logs, "--since", kept).exit_code
        return exit_code

    assert status(*told_of(chain, size=3, root=root)) == 0
    assert status(*told_of(chain, size=4, root=bytes(32))) == 0, "it may have grown before it was dropped"
    assert status(*told_of(chain, size=3, root=bytes(32))) == 1, "another log was dropped than the one kept"
    assert status(*told_of(chain, size=2, root=root)) == 1, "it was cut before it was dropped"
    assert status(*told_of(chain, size=3, root=root, origin=OTHERS)) == 1, "that was another tenant's"
    # What the kept replay has read, it has not forgotten.
    export(told_of(chain, size=3, root=root), name="all/compliance")
    assert run("audit", "verify", logs, "--since", kept, "--keep", kept).exit_code == 0
    export(told_of(chain, size=3, root=root, count=9), name="all/compliance")
    told = run("audit", "verify", logs, "--since", kept)
    assert (told.exit_code, "of which 7 were read" in told.stdout) == (0, True)
    assert "content dropped on" in told.stdout


def test_what_was_kept_is_replaced_only_by_what_continues_it(
    export: Export, run: Run, chain: Chain, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    assert run("audit", "verify", export(5), "--keep", kept).exit_code == 0
    (file,) = kept.glob("*/checkpoint")
    before = file.read_bytes()
    rewritten = export(chain((event(at, actor="someone else"), {}) for at in range(7)))
    assert run("audit", "verify", rewritten, "--keep", kept).exit_code == 1
    assert run("audit", "verify", export(3), "--keep", kept).exit_code == 1
    assert file.read_bytes() == before
    other = export(0, name="other", signer=Signer("tally.example/acme/audit-2026-11", bytes(32)))
    assert run("audit", "verify", other, "--keep", kept).exit_code == 0, "a log that was not kept before"
    told = run("audit", "verify", export(7), "--keep", kept)
    assert (told.exit_code, "not again" in told.stdout) == (0, False)
    assert file.read_bytes() != before


class Ledger(BaseHTTPRequestHandler):
    """A ledger's own routes of one log: its checkpoint and pages of entries."""

    def __init__(self, lines: list[bytes], note: bytes, *arguments: Any) -> None:
        self.lines, self.note = lines, note
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer."""
        address = urlsplit(self.path)
        if address.path.endswith("/entries"):
            query = parse_qs(address.query)
            start, limit = int(query["start"][0]), int(query["limit"][0])
            body = json.dumps({"entries": [{"line": line.decode()} for line in self.lines[start : start + limit]]})
            self._answer(200, body.encode())
        elif address.path.endswith("/checkpoint"):
            self._answer(200, self.note)
        else:
            self._answer(404, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Give a function that serves a log and says where."""
    servers: list[ThreadingHTTPServer] = []

    def start(lines: list[bytes], note: bytes) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ledger, lines, note))
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/logs/1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def look(run: Run, where: object, state: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    result = run("audit", "monitor", where, "--key", KEY, "--state", state, "--once", "--json", *arguments)
    return result.exit_code, json.loads(result.stdout)


def test_a_monitor_follows_a_growing_log_page_by_page(serve: Callable[..., str], run: Run, tmp_path: Path) -> None:
    lines, _ = log(1200)
    state = tmp_path / "seen"
    for size, added in ((500, 500), (500, 0), (1200, 700)):
        # The log has grown on between the checkpoint and the entries: what is beyond is left for the next look.
        status, seen = look(run, serve(lines[: size + 3], checkpoint(log(size)[1])), state)
        assert (status, seen["size"], seen.get("added", 0)) == (0, size, added)


def test_a_monitor_follows_an_export_that_is_replaced(export: Export, run: Run, tmp_path: Path) -> None:
    for size in (3, 3000):
        assert look(run, export(size), tmp_path / "seen")[0] == 0


def test_a_fork_a_shrunk_log_and_a_gap_raise_the_alarm_and_leave_evidence(
    export: Export, run: Run, chain: Chain, tmp_path: Path
) -> None:
    state = tmp_path / "seen"
    look(run, export(5), state)
    rewritten = [chain((event(at, actor="someone else"), {}) for at in range(size)) for size in (5, 8)]
    numbers = [1, 2, 3, 4, 5, 7]
    gap = chain((event(at), {"source_seq": number}) for at, number in enumerate(numbers))
    cases = {"same size": (rewritten[0], "fork"), "rewritten": (rewritten[1], "fork"), "gap": (gap, "gap")}
    changed = log(8)[0]
    changed[6] = changed[6].replace(b'"done"', b'"gone"')
    cases |= {"short": (log(4)[0], "shrunk"), "changed": (changed, "damaged")}
    for name, (lines, alarm) in cases.items():
        folder = export(lines)
        status, seen = look(run, folder, state)
        assert (status, seen["alarm"]) == (1, alarm), name
        assert Path(seen["evidence"]).read_bytes() == (folder / "checkpoint").read_bytes()
    withheld = export(log(6)[0], tree=log(9)[1])
    assert look(run, withheld, state)[1]["alarm"] == "gap"
    signed_otherwise = export(9, signer=Signer(ORIGIN, bytes(32)))
    assert look(run, signed_otherwise, state)[1]["alarm"] == "signature"
    assert look(run, export(9), state)[0] == 0


def test_a_second_history_with_links_of_its_own_is_a_fork(export: Export, run: Run, tmp_path: Path) -> None:
    state = tmp_path / "seen"
    look(run, export(5), state)
    lines, _ = log(9)
    other = log(8)[1].append(bytes(32))
    assert look(run, export(lines, tree=other), state)[1]["alarm"] == "fork"


def test_a_log_that_does_not_grow_is_a_stall(export: Export, tmp_path: Path) -> None:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    monitor = Monitor(FolderSource(export(3)), (SIGNER.verifier,), tmp_path / "seen", 60)
    assert monitor.look(start).alarm is None
    assert monitor.look(start + timedelta(seconds=59)).alarm is None
    assert monitor.look(start + timedelta(seconds=61)).alarm == "stall"
    export(4)
    assert monitor.look(start + timedelta(seconds=62)).alarm is None
    assert monitor.look(start + timedelta(seconds=121)).alarm is None


def test_no_answer_is_status_2_and_a_broken_state_too(export: Export, run: Run, tmp_path: Path) -> None:
    arguments = ("--key", KEY, "--state", tmp_path / "seen", "--once")
    result = run("audit", "monitor", "http://127.0.0.1:1", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    run("audit", "monitor", export(3), *arguments)
    (folder,) = (tmp_path / "seen").iterdir()
    (folder / "checkpoint").write_bytes(checkpoint(log(3)[1], Signer(ORIGIN, bytes(32))))
    assert run("audit", "monitor", export(3), *arguments).exit_code == 2
    (folder / "checkpoint").write_bytes(b"x")
    assert run("audit", "monitor", export(3), *arguments).exit_code == 2
