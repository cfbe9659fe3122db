"""Install one service and `tally` into /app, from the lock: run inside the image's build with uv's own Python.

A package mirror named for pip or uv is used with the lock's hashes; without one uv goes to the addresses in uv.lock.
"""

import os
import subprocess
import sys
from pathlib import Path

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
        _uv("sync", "--frozen", "--no-dev", "--no-editable", "--python", python, *packages)
    else:
        listed = Path("/build/requirements.txt")
        _uv("export", "-q", "--frozen", "--no-dev", "--no-editable", *packages, "-o", str(listed))
        _uv("venv", "--python", python, "/app")
        # The list is whole, and the workspace's own members must not be linked to a folder that the image lacks.
        whole = ("--no-deps", "--no-sources")
        _uv("pip", "install", *whole, "--python", "/app/bin/python", "--default-index", index, "-r", str(listed))
    compile_bytecode("/app/bin/python", "/app/lib")
    return 0


def compile_bytecode(python: str, folder: str) -> None:
    """Compile every module once: in a container the root is read-only, so that each start would do it again.

    The bytes are the same in every build: hashes that nobody checks in place of times, one process, no random order.
    """
    command = (python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", folder)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})


def _uv(*arguments: str) -> None:
    subprocess.run((UV, *arguments), check=True)


if __name__ == "__main__":
    sys.exit(main())
