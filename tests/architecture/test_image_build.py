"""What the image's build does, as far as it can be done without Docker."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

INSTALL = Path(__file__).parents[2] / "deploy/docker/install.py"
UNCHECKED_HASH = (1).to_bytes(4, "little")
"""The flags of a compiled file that is believed without a look at its source (PEP 552)."""
SOURCE = "NAMES = {'d', 'a', 'c', 'b'}\n\n\ndef known(name):\n    return name in {'x', 'y', 'z', 'w', 'v'}\n"


@pytest.fixture(scope="module")
def install() -> Any:
    spec = importlib.util.spec_from_file_location("image_install", INSTALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
