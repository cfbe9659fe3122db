"""`installed_size`: what the largest service's image holds beside its base, as far as can be told without building it.

The packages are those that the image's build installs (deploy/docker/install.py): the service, `tally`, and what they
need by the lock. Each one's size is that of the files that it installs, as they lie in this environment, and of their
bytecode, which the build makes. What the layers of an image add is not in it: where Docker does not run, no image can
be built and weighed.
"""

import marshal
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

from bench.measure import Measure, Result, result

_ROOT: Final = Path(__file__).parents[1]
_LIMIT_MB: Final = 90.0
_MB: Final = 1_000_000
_SHOWN: Final = 6
_HEADER: Final = 16
"""Bytes before the bytecode in its file (PEP 552)."""


def take() -> Result:
    """Add up every service's packages; the largest sum."""
    warnings.simplefilter("ignore", SyntaxWarning)  # of other people's modules, when they are compiled
    largest = 0.0
    for named in ServiceName:
        sizes = dict(_sizes_mb(SERVICE_FOLDERS[named]))
        heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:_SHOWN]
        told = ", ".join(f"{name} {size:.0f}" for name, size in heaviest)
        sys.stderr.write(f"{SERVICE_FOLDERS[named]}: {sum(sizes.values()):.0f} MB: {told}\n")
        largest = max(largest, sum(sizes.values()))
    return result(
        name="installed_size",
        value=largest,
        unit="MB, largest service",
        reference="the limit, in MB",
        reference_value=_LIMIT_MB,
        goal=1.0,
        better="lower",
    )


def _sizes_mb(service: str) -> Iterator[tuple[str, float]]:
    for line in _export(service).splitlines():
        if line.startswith("./"):  # one of our own
            files = (path for path in (_ROOT / line / "src").rglob("*") if path.is_file())
            yield line, _sum_mb(files)
            continue
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate():
            installed = distribution(wanted.name)
            yield wanted.name, _sum_mb(Path(str(file.locate())) for file in installed.files or ())


def _sum_mb(files: Iterable[Path]) -> float:
    return sum(_size(file) for file in files if "__pycache__" not in file.parts and file.exists()) / _MB


@cache
def _size(file: Path) -> int:
    """Return a file's size, a module's with its bytecode."""
    compiled = 0
    if file.suffix == ".py":
        with suppress(SyntaxError, ValueError):  # a template, or a test's bad example
            compiled = _HEADER + len(marshal.dumps(compile(file.read_bytes(), str(file), "exec", dont_inherit=True)))
    return file.stat().st_size + compiled


def _export(service: str) -> str:
    packages = ("--package", f"tallystick-{service}", "--package", "tallystick-cli", "--extra", "cluster")
    plain = ("--no-hashes", "--no-annotate", "--no-header")
    command = (Path(sys.executable).with_name("uv"), "export", "-q", "--frozen", "--no-dev", "--no-editable", *plain)
    return subprocess.run((*command, *packages), cwd=_ROOT, check=True, capture_output=True, text=True).stdout


MEASURE: Final = Measure("installed_size", take)
