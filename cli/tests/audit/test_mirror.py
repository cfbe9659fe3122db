"""`tally audit mirror`: static folders in the standard format, made from exports, mirrors and servers, and kept up."""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tallystick_cli.audit.sources import FolderSource
from tallystick_cli.audit.tiled import TiledSource
from tallystick_tlog import Signer, TileReader, new_bundles, new_tiles, open_checkpoint, write_hashes
from tallystick_tlog.samples import SIGNER, checkpoint, log
from tlog_scales.backend import make_backend
from tlog_scales.reader import TilesReader

KEY = str(SIGNER.verifier)
Export = Callable[..., Path]
Run = Callable[..., Any]
Verify = Callable[..., dict[str, Any]]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and keeps quiet."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Give a function that serves a folder and says where."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirror(run: Run, tmp_path: Path) -> Callable[..., Path]:
    """Give a function that mirrors a source with the pinned key, and expects it to work."""

    def call(source: object, name: str = "mirror", *arguments: object) -> Path:
        result = run("audit", "mirror", source, tmp_path / name, "--key", KEY, "--json", *arguments)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["authenticated"] is True
        return tmp_path / name

    return call


def files(folder: Path) -> dict[str, bytes]:
    return {str(item.relative_to(folder)): item.read_bytes() for item in folder.rglob("*") if item.is_file()}


def canonical(event: dict[str, Any]) -> bytes:
    return json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def expected_paths(size: int) -> set[str]:
    return {"checkpoint", "vkey", *(tile.path for tile in (*new_tiles(0, size), *new_bundles(0, size)))}


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_a_mirror_has_exactly_the_files_of_its_size(export: Export, mirror: Callable[..., Path], size: int) -> None:
    folder = mirror(export(size))
    assert files(folder).keys() == expected_paths(size)
    head = open_checkpoint((folder / "checkpoint").read_bytes(), [SIGNER.verifier])
    reader = TileReader(head.size, head.root, lambda tile: (folder / tile.path).read_bytes())
    assert [entry for bundle in new_bundles(0, size) for entry in reader.entries(bundle)] == log(size)[0]
    assert (folder / "vkey").read_text() == f"{KEY}\n"


def test_a_strangers_client_reads_a_served_mirror(
    export: Export, mirror: Callable[..., Path], serve: Callable[[Path], str]
) -> None:
    reader = TilesReader(make_backend(serve(mirror(export(600)))))
    head = reader.get_checkpoint()
    lines, tree = log(600)
    assert reader.calculate_root_hash() == head.root_hash == tree.root()
    assert [reader.get_entry(index) for index in (0, 300, 599)] == [lines[0], lines[300], lines[599]]


def test_a_mirror_grows_with_the_log_and_drops_what_is_full(export: Export, mirror: Callable[..., Path]) -> None:
    for size in (3, 3, 200, 456, 512, 600, 1025):
        folder = mirror(export(size))
        assert expected_paths(size) <= files(folder).keys()
        # Besides, only narrower parts of what is unfinished are kept.
        assert {path.rpartition("/")[0] for path in files(folder).keys() - expected_paths(size)} <= {
            tile.path.rpartition("/")[0] for tile in (*new_tiles(0, size), *new_bundles(0, size)) if not tile.is_full
        }
    whole = mirror(export(1025), "whole")
    assert files(whole).items() <= files(folder).items()


def test_bringing_up_to_date_writes_nothing_that_was_there(export: Export, mirror: Callable[..., Path]) -> None:
    folder = mirror(export(600))
    before = {path: (folder / path).stat().st_mtime_ns for path in files(folder)}
    mirror(export(700))
    kept = {path: at for path, at in before.items() if (folder / path).exists()}
    changed = {path for path, at in kept.items() if (folder / path).stat().st_mtime_ns != at}
    assert changed == {"checkpoint", "vkey"}


def test_a_mirror_is_verified_and_mirrored_like_an_export(
    export: Export, mirror: Callable[..., Path], verify: Verify, serve: Callable[[Path], str], run: Run
) -> None:
    folder = mirror(export(600))
    address = serve(folder)
    for source in (folder, address):
        report = verify(source)
        assert (report["status"], report["entries"], report["authenticated"]) == ("intact", 600, True)
    assert files(mirror(address, "second")) == files(mirror(folder, "third")) == files(folder)
    assert run("audit", "verify", folder.parent, "--key", KEY).exit_code == 0


def test_a_log_that_grows_while_it_is_read_is_read_as_it_was(export: Export, mirror: Callable[..., Path]) -> None:
    folder = mirror(export(300))
    source = TiledSource(FolderSource(folder))
    note = source.read_small("checkpoint")
    mirror(export(700))
    assert not (folder / "tile/0/001.p").exists()
    assert (folder / "checkpoint").read_bytes() != note == source.read_small("checkpoint")
    with source.open_entries() as stream:
        assert b"".join(iter(lambda: stream.read(1 << 16), b"")) == b"".join(line + b"\n" for line in log(300)[0])


def test_a_served_export_is_still_read_as_one(
    export: Export, mirror: Callable[..., Path], serve: Callable[[Path], str]
) -> None:
    assert files(mirror(serve(export(300)))).keys() == expected_paths(300)


def test_a_changed_entry_of_a_mirror_is_named_by_the_replay(
    export: Export, mirror: Callable[..., Path], verify: Verify
) -> None:
    folder = mirror(export(600))
    bundle = folder / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes().replace(b'"done"', b'"gone"', 1))
    report = verify(folder)
    assert (report["findings"][0]["code"], report["findings"][0]["seq"]) == ("hash", 256)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2"])
def test_a_hash_tile_that_is_not_what_the_entries_make_fails_the_mirror(
    export: Export, mirror: Callable[..., Path], run: Run, path: str
) -> None:
    folder = mirror(export(600))
    content = (folder / path).read_bytes()
    (folder / path).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    result = run("audit", "verify", folder, "--key", KEY)
    assert (result.exit_code, f"{path} is not what the entries make" in result.stdout) == (1, True)


def test_a_bundle_that_is_cut_off_or_has_a_line_feed_fails_the_mirror(
    export: Export, mirror: Callable[..., Path], run: Run
) -> None:
    folder = mirror(export(5))
    bundle = folder / "tile/entries/000.p/5"
    good = bundle.read_bytes()
    length = int.from_bytes(good[:2], "big")
    for bad, complaint in (
        (good[:-1], "is cut off in its entry 4"),
        (good[:2] + b"\n" + good[3:], "entry 0 in tile/entries/000.p/5 is more than one line"),
        (good[length + 2 :], "has 4 entries instead of 5"),
    ):
        bundle.write_bytes(bad)
        result = run("audit", "verify", folder, "--key", KEY)
        assert (result.exit_code, complaint in result.stdout) == (1, True), result.output


@pytest.mark.control("EV-25e")
def test_nothing_of_a_damaged_log_gets_into_the_mirror(export: Export, mirror: Callable[..., Path], run: Run) -> None:
    folder = mirror(export(300))
    before = files(folder)
    lines, tree = log(700)
    lines[650] = lines[650].replace(b'"done"', b'"gone"')
    shorter = log(650)[0]
    for name, source in (
        ("changed", export(lines, tree=tree, name="changed")),
        ("truncated", export(shorter, tree=tree, name="truncated")),
        ("other key", export(700, signer=Signer(SIGNER.verifier.name, bytes(32)), name="other")),
        ("rolled back", export(299, name="back")),
    ):
        result = run("audit", "mirror", source, folder, "--key", KEY)
        assert (result.exit_code, result.stdout.startswith("not proved: ")) == (1, True), (name, result.output)
        assert {path: content for path, content in files(folder).items() if not path.startswith(".")} == before, name
    assert expected_paths(700) <= files(mirror(export(700))).keys()


@pytest.mark.control("EV-25e")
def test_a_log_rewritten_below_the_mirror_is_refused_though_it_is_validly_signed(
    export: Export, mirror: Callable[..., Path], run: Run, chain: Callable[..., list[bytes]]
) -> None:
    lines, _ = log(300)
    folder = mirror(export(lines))
    rewritten = [json.loads(line)["event"] for line in log(400)[0]]
    rewritten[10]["data"]["state"] = "gone"
    forged = export(chain((canonical(event), {}) for event in rewritten), name="forged")
    assert run("audit", "verify", forged, "--key", KEY).exit_code == 0
    before = files(folder)
    result = run("audit", "mirror", forged, folder, "--key", KEY)
    assert (result.exit_code, "not the one mirrored before" in result.stdout) == (1, True)
    assert {path: content for path, content in files(folder).items() if not path.startswith(".")} == before


def test_a_fork_at_the_same_size_is_refused(
    export: Export, mirror: Callable[..., Path], run: Run, chain: Callable[..., list[bytes]]
) -> None:
    folder = mirror(export(5))
    events = [json.loads(line)["event"] | {"actor": "x"} for line in log(5)[0]]
    other = export(chain((canonical(event), {}) for event in events), name="fork")
    result = run("audit", "mirror", other, folder, "--key", KEY)
    assert (result.exit_code, "not the one mirrored before" in result.stdout) == (1, True)


def test_a_damaged_mirror_does_not_go_on(export: Export, mirror: Callable[..., Path], run: Run) -> None:
    folder = mirror(export(300))
    for path in ("tile/0/001.p/44", "tile/entries/001.p/44"):
        good = (folder / path).read_bytes()
        (folder / path).write_bytes(good[:-2] + bytes([good[-2] ^ 1]) + good[-1:])
        result = run("audit", "mirror", export(400), folder, "--key", KEY)
        assert (result.exit_code, "the mirror is damaged" in result.stdout) == (1, True)
        (folder / path).write_bytes(good)
    (folder / "tile/1/000.p/1").unlink()
    assert run("audit", "mirror", export(400), folder, "--key", KEY).exit_code == 2


def test_without_a_pinned_key_the_first_key_is_kept(export: Export, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    first = run("audit", "mirror", export(3), folder)
    assert (first.exit_code, "pin it with --key" in first.stderr) == (0, True)
    stranger = export(4, signer=Signer(SIGNER.verifier.name, bytes(32)), name="stranger")
    assert run("audit", "mirror", stranger, folder).exit_code == 1
    assert run("audit", "mirror", export(4), folder).exit_code == 0


def test_a_folder_that_is_something_else_or_in_use_is_left_alone(export: Export, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "letters"
    other.mkdir()
    (other / "letter.txt").write_text("Dear")
    result = run("audit", "mirror", export(3), other, "--key", KEY)
    assert (result.exit_code, "neither empty nor a mirror" in result.stderr) == (2, True)
    assert files(other) == {"letter.txt": b"Dear"}
    busy = tmp_path / "busy"
    busy.mkdir()
    descriptor = os.open(busy, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        result = run("audit", "mirror", export(3), busy, "--key", KEY)
    finally:
        os.close(descriptor)
    assert (result.exit_code, "another mirror is at work" in result.stderr) == (2, True)
    another_log = Signer("tally.example/other/compliance", bytes(range(32)))
    (tmp_path / "mirror").mkdir()
    assert run("audit", "mirror", export(3), tmp_path / "mirror", "--key", KEY).exit_code == 0
    _, tree = log(3)
    (tmp_path / "log" / "checkpoint").write_bytes(checkpoint(tree, another_log))
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{another_log.verifier}\n")
    result = run("audit", "mirror", tmp_path / "log", tmp_path / "mirror", "--key", keys)
    assert (result.exit_code, "mirrors tally.example/acme" in result.stderr) == (2, True)


def test_what_a_killed_mirror_left_does_no_harm(export: Export, mirror: Callable[..., Path]) -> None:
    folder = mirror(export(300))
    stale = folder / ".incoming/tile/0/009"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(write_hashes([bytes(32)] * 256))
    # Killed after the tiles, before the checkpoint: the new tiles are there, the old checkpoint still holds.
    ahead = files(mirror(export(600), "ahead"))
    for path, content in ahead.items():
        if path.startswith("tile/"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    mirror(export(600))
    assert not (folder / ".incoming").exists()
    assert ahead.items() <= files(folder).items()
