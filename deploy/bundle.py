"""Pack everything that an installation without internet needs into `dist/tallystick-<version>.tar`.

Run by `make bundle`. The same commit gives the same bytes, but for the images: these are what the Docker engine holds,
and without one there are none in it.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from helm_python.chart import package
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy/helm/tallystick"
SERVICES = ("identity", "assessment", "ledger", "verification", "privacy-worker")
DOCKER = os.environ.get("DOCKER", "docker")
PREFIX = os.environ.get("IMAGE_PREFIX", "tallystick")
EXTRA_IMAGES = tuple(os.environ.get("BUNDLE_IMAGES", "").split())
"""More images to pack: Postgres' and NATS' for a trial without internet."""
SUMS = "SHA256SUMS"
PAGES = (
    *("docs", "LICENSE", ":(glob)*.md", "deploy/helm/examples", "deploy/helm/tallystick/ci"),
    ":(glob)deploy/helm/tallystick/*.md",
)


def main() -> int:
    """Make the bundle, say what is in it, and return the exit status."""
    options = argparse.ArgumentParser(description="Pack an installation without internet.")
    options.add_argument("--to", type=Path, default=ROOT / "dist", help="the folder for the bundle")
    options.add_argument("--without-images", action="store_true", help="leave the images out, Docker or not")
    chosen = options.parse_args()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    tag = os.environ.get("IMAGE_TAG", version)
    images = () if chosen.without_images or not _docker_answers() else _images(tag)
    commit_s = int(_said("git", "log", "-1", "--format=%ct"))
    with tempfile.TemporaryDirectory(dir=_made(chosen.to)) as name:
        folder = Path(name) / f"tallystick-{version}"
        _pack(folder, images, commit_s)
        _describe(folder, version, images)
        _sum(folder)
        bundle = chosen.to / f"tallystick-{version}.tar"
        unfinished = Path(name) / bundle.name
        with tarfile.open(unfinished, "w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    _add(archive, path, f"{folder.name}/{path.relative_to(folder)}", commit_s)
        unfinished.replace(bundle)
    if not images:
        sys.stderr.write("bundle: no image is in it (no Docker daemon answers here, or --without-images)\n")
    sys.stdout.write(f"{_digest(bundle)}  {bundle}\n")
    return 0


def _pack(folder: Path, images: tuple[str, ...], commit_s: int) -> None:
    _chart(_made(folder / "chart"), commit_s)
    boms = _made(folder / "sbom")
    for service in SERVICES:
        bom = json.dumps(_bill_of_materials(service), indent=1)
        (boms / f"{service}.cdx.json").write_text(f"{bom}\n", encoding="utf-8")
    sql = _said(str(Path(sys.executable).parent / "tally"), "db", "init", "--print")
    (_made(folder / "sql") / "bootstrap.sql").write_text(f"{sql}\n", encoding="utf-8")
    for name in _said("git", "ls-files", *PAGES).splitlines():
        shutil.copyfile(ROOT / name, _made((folder / name).parent) / Path(name).name)
    if images:
        subprocess.run((DOCKER, "save", "-o", str(_made(folder / "images") / "images.tar"), *images), check=True)


def _chart(to: Path, commit_s: int) -> None:
    """Have Helm package the chart, and pack its archive again without times and in order."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(package(str(CHART), destination=name))
        with tarfile.open(made) as archive:
            files = {
                member.name: file.read()
                for member in archive.getmembers()
                if (file := archive.extractfile(member)) is not None
            }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files, key=lambda path: (path != "tallystick/Chart.yaml", path)):
            archive.addfile(_entry(path, len(files[path]), commit_s), io.BytesIO(files[path]))
    (to / made.name).write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def _bill_of_materials(service: str) -> dict[str, object]:
    """Return what a service's image has of the lock on Linux, CycloneDX 1.6; the image's own has licences too."""
    lines = _said(
        *(str(Path(sys.executable).parent / "uv"), "export", "-q", "--frozen", "--no-dev", "--no-editable"),
        *("--no-hashes", "--no-header", "--no-annotate", "--extra", "cluster"),
        *("--package", f"tallystick-{service}", "--package", "tallystick-cli"),
        *(f"--no-emit-package={name}" for name in (ROOT / "deploy/docker/left_out.txt").read_text().split()),
    ).splitlines()
    components = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        for name, version in sorted(_locked(lines))
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def _locked(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if line.startswith("./"):
            project = tomllib.loads((ROOT / line / "pyproject.toml").read_text())["project"]
            yield project["name"], project["version"]
        else:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate():
                yield wanted.name, str(wanted.specifier).removeprefix("==")


def _describe(folder: Path, version: str, images: tuple[str, ...]) -> None:
    described = {
        "version": version,
        "revision": _said("git", "rev-parse", "HEAD"),
        "images": {name: _said(DOCKER, "image", "inspect", "-f", "{{.Id}}", name) for name in images},
    }
    (folder / "bundle.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _sum(folder: Path) -> None:
    """Write what `sha256sum --check` reads."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{_digest(path)}  {path.relative_to(folder)}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _images(tag: str) -> tuple[str, ...]:
    names = (*(f"{PREFIX}/{service}:{tag}" for service in SERVICES), *EXTRA_IMAGES)
    missing = [name for name in names if _status(DOCKER, "image", "inspect", name) != 0]
    if missing:
        sys.exit(
            f"bundle: Docker does not hold {', '.join(missing)}: run `make images`, or `docker pull` what is not ours"
        )
    return names


def _docker_answers() -> bool:
    return shutil.which(DOCKER) is not None and _status(DOCKER, "info") == 0


def _add(archive: tarfile.TarFile, path: Path, name: str, modified_s: int) -> None:
    with path.open("rb") as content:
        archive.addfile(_entry(name, path.stat().st_size, modified_s), content)


def _entry(name: str, size: int, modified_s: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, modified_s, 0o644
    return entry


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()


def _status(*command: str) -> int:
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
