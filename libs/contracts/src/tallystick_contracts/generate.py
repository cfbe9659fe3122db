"""Write `generated/` from `proto/`: `python -m tallystick_contracts.generate [--check]`.

It also writes the event taxonomy, and a golden file for every event version that has none. An existing golden file is
never touched: it stands for events that are in somebody's ledger.

A development tool: it needs the dev group (grpcio-tools, protobuf, ruff), which nothing else in this package imports.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tallystick_contracts.generator.python_source import service_module
from tallystick_contracts.generator.schema import SchemaError, load_schema

REPOSITORY = Path(__file__).resolve().parents[4]
PROTO_ROOT = REPOSITORY / "proto"
GENERATED = Path(__file__).resolve().parent / "generated"


def render(proto_root: Path) -> dict[str, str]:
    """Return the generated files, name to formatted text; the same input gives the same text."""
    schema = load_schema(proto_root)
    files = {f"{package.name}.py": _formatted(service_module(package)) for package in schema}
    files["__init__.py"] = '"""Event types generated from `proto/`. Do not edit: run `make proto`."""\n'
    return files


def _formatted(source: str) -> str:
    ruff = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(GENERATED / "module.py"), "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    )
    return ruff.stdout


def differences(files: dict[str, str], folder: Path) -> list[str]:
    """Name every file in `folder` that is not exactly what `files` says, missing and left-over ones too."""
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    return sorted(name for name in files.keys() | on_disk.keys() if files.get(name) != on_disk.get(name))


def write(files: dict[str, str], folder: Path) -> None:
    """Make `folder` hold exactly `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in differences(files, folder):
        if name in files:
            (folder / name).write_text(files[name], encoding="utf-8")
        else:
            (folder / name).unlink()


def write_dependants() -> int:
    """Write missing golden files, taxonomy and auditor's table, in a process that imports what was just written."""
    script = (
        "from tallystick_contracts.generator.golden import write_missing; write_missing()\n"
        "from tallystick_contracts.taxonomy import write; write()\n"
        "from tallystick_contracts.auditor_table import write; write()"
    )
    # An interpreter of its own, since this one may have imported the registry as it was before.
    return subprocess.run([sys.executable, "-c", script], check=False).returncode


def main() -> int:
    """Generate, or with `--check` compare; returns the exit code."""
    parser = argparse.ArgumentParser(description="Generate event types.")
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    check: bool = parser.parse_args().check
    try:
        files = render(PROTO_ROOT)
    except SchemaError as error:
        sys.stderr.write(f"contracts: {error}\n")
        return 1
    stale = differences(files, GENERATED)
    if check and stale:
        sys.stderr.write(f"contracts: generated/ is out of date: {', '.join(stale)}; run `make proto`\n")
        return 1
    if not check:
        write(files, GENERATED)
        if write_dependants() != 0:
            return 1
    sys.stdout.write(f"contracts: {len(files)} files {'checked' if check else 'written'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
