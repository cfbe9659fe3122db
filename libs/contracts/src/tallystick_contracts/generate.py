"""Write `generated/` from `proto/`: `python -m tallystick_contracts.generate [--check]`.

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
    files["__init__.py"] = '"""Event types generated from `proto/`. Do not edit: run `make generate`."""\n'
    return files


def _formatted(source: str) -> str:
    ruff = subprocess.run(  # noqa: S603 (our own interpreter, fixed arguments)
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


def main() -> int:
    """Generate, or with `--check` compare; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tallystick_contracts.generate", description="Generate event types.")
    parser.add_argument("--check", action="store_true", help="compare with what is on disk, write nothing")
    check: bool = parser.parse_args().check
    try:
        files = render(PROTO_ROOT)
    except SchemaError as error:
        sys.stderr.write(f"contracts: {error}\n")
        return 1
    stale = differences(files, GENERATED)
    if check and stale:
        sys.stderr.write(f"contracts: generated/ is out of date: {', '.join(stale)}; run `make generate`\n")
        return 1
    if not check:
        write(files, GENERATED)
    sys.stdout.write(f"contracts: {len(files)} files {'checked' if check else 'written'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
