"""What the image's build does, as far as it can be done without Docker."""

import base64
import csv
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

DOCKER = Path(__file__).parents[2] / "deploy/docker"
UNCHECKED_HASH = (1).to_bytes(4, "little")
"""The flags of a compiled file that is believed without a look at its source (PEP 552)."""
SOURCE = "NAMES = {'d', 'a', 'c', 'b'}\n\n\ndef known(name):\n    return name in {'x', 'y', 'z', 'w', 'v'}\n"


@pytest.fixture(autouse=True)
def _build_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCKER))


@pytest.fixture
def install() -> Any:
    return importlib.import_module("install")


@pytest.fixture
def trim() -> Any:
    return importlib.import_module("trim")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages as they are installed: C with symbols and without, Rust, one with tests and headers."""
    folder = tmp_path_factory.mktemp("installed")
    for name in ("uvloop", "cryptography", "greenlet", "msgspec", "PyYAML"):
        for file in distribution(name).files or ():
            if file.parts[0] != ".." and "__pycache__" not in file.parts:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), folder / file)
    return folder


def test_bytecode_is_in_the_image_and_the_same_in_every_build(install: Any, tmp_path: Path) -> None:
    compiled = []
    for time in (1_000_000_000, 1_700_000_000):
        package = tmp_path / "app" / "package"
        package.mkdir(parents=True)
        for name in ("__init__", "one", "two"):
            (package / f"{name}.py").write_text(SOURCE)
            os.utime(package / f"{name}.py", (time, time))
        install.compile_bytecode(sys.executable, str(package.parent))
        compiled.append({path.name: path.read_bytes() for path in package.rglob("*.pyc")})
        shutil.rmtree(package.parent)
    assert len(compiled[0]) == 3
    assert compiled[0] == compiled[1]
    assert {content[4:8] for content in compiled[0].values()} == {UNCHECKED_HASH}


def test_trimmed_packages_are_smaller_and_their_records_true(trim: Any, copied: Path, tmp_path: Path) -> None:
    shutil.copytree(copied, tmp_path, dirs_exist_ok=True)
    trim.trim(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    before = sum(path.stat().st_size for path in copied.rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) < before * 2 / 3
    assert not [path for path in files if path.suffix in {".pyx", ".pxd", ".h", ".pyi"} or "tests" in path.parts]
    recorded = {
        row[0]: row[1]
        for record in tmp_path.glob("*.dist-info/RECORD")
        for row in csv.reader(record.read_text().splitlines())
    }
    assert {str(path.relative_to(tmp_path)) for path in files} == set(recorded)
    for name, digest in recorded.items():
        found = base64.urlsafe_b64encode(hashlib.sha256((tmp_path / name).read_bytes()).digest()).decode().rstrip("=")
        assert digest in {"", f"sha256={found}"}, name


def test_trimmed_libraries_load_and_work(trim: Any, copied: Path, tmp_path: Path) -> None:
    shutil.copytree(copied, tmp_path, dirs_exist_ok=True)
    trim.trim(tmp_path)
    work = """
import sys
sys.path.insert(0, sys.argv[1])
import asyncio, greenlet, msgspec, uvloop, yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.generate()
key.public_key().verify(key.sign(b"x"), b"x")
assert uvloop.run(asyncio.sleep(0.001, "slept")) == "slept"
assert greenlet.greenlet(lambda: 5).switch() == 5
assert yaml.load("a: 1", yaml.CSafeLoader) == {"a": 1}
assert msgspec.json.decode("[1]") == [1]
for module in (greenlet, msgspec, uvloop, yaml, sys.modules["cryptography"]):
    assert module.__file__.startswith(sys.argv[1]), module
"""
    done = subprocess.run((sys.executable, "-c", work, tmp_path), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_has_no_symbols_or_is_no_library_of_this_kind_is_left_as_it_is(trim: Any, copied: Path) -> None:
    for content in (b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(80), b"a linker script"):
        assert trim.without_symbols(content) == content
    for library in copied.rglob("*.so"):
        once = trim.without_symbols(library.read_bytes())
        assert trim.without_symbols(once) == once, library


def test_what_is_neither_mapped_nor_for_debuggers_stays(trim: Any, copied: Path) -> None:
    """What says by whom it was built, and how."""
    (library,) = copied.rglob("_rust.abi3.so")
    before = library.read_bytes()
    after = trim.without_symbols(before)
    assert len(after) < len(before)
    assert _sections(before) - _sections(after) == {".symtab", ".strtab"} | {
        name for name in _sections(before) if name.startswith(".debug")
    }


def _sections(library: bytes) -> set[str]:
    at, count, names = (int.from_bytes(library[a:b], "little") for a, b in ((40, 48), (60, 62), (62, 64)))

    def field(number: int, offset: int, size: int) -> int:
        return int.from_bytes(library[at + 64 * number + offset :][:size], "little")

    table = field(names, 24, 8)
    begins = (table + field(number, 0, 4) for number in range(count))
    return {library[begin : library.index(b"\0", begin)].decode() for begin in begins}
