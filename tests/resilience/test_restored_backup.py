"""An operator restores an old copy of the database's folder: every process is real, and so is the copy."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tallystick_cli.stack import control, postgres_home
from tallystick_cli.stack.temporary import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tallystick_cli.stack.layout import Layout
    from tallystick_cli.stack.status import Status

pytestmark = pytest.mark.xdist_group("restored-backup")

TALLY = Path(sys.executable).with_name("tally")
_WITHIN_S = 120.0


@pytest.fixture
def layout() -> Iterator[Layout]:
    with temporary_folder() as layout:
        yield layout


def tally(layout: Layout, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the operator's command line on this stack."""
    command = [str(TALLY), *map(str, arguments), *(("--dir", str(layout.root)) if arguments[0] != "audit" else ())]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def make(layout: Layout, slug: str, *command: str) -> None:
    done = tally(layout, *command, "--tenant", slug, "--name", slug.title(), "--admin", f"admin@{slug}.example")
    assert done.returncode == 0, done.stderr


def ask_for_a_link(layout: Layout, status: Status, slug: str) -> None:
    """Make an entry in the tenant's audit log."""
    tls = ssl.create_default_context(cafile=str(layout.ca_file))
    url = f"{status.urls['identity']}/api/v1/auth/login"
    asked = httpx.post(url, json={"tenant": slug, "email": f"admin@{slug}.example"}, verify=tls)
    assert asked.status_code == 202


def marks(layout: Layout) -> dict[str, int]:
    """Return how far each log is marked."""
    found: dict[str, int] = {}
    for line in (layout.high_water / "tally" / "high-water.ndjson").read_text().splitlines():
        if line:
            read = json.loads(line)
            found[read["log"]] = max(read["size"], found.get(read["log"], 0))
    return found


def settled(layout: Layout, condition: Callable[[dict[str, int]], bool] = lambda _: True) -> dict[str, int]:
    """Wait until the marks say what is due, and then stand still."""
    deadline, before = time.monotonic() + _WITHIN_S, dict[str, int]()
    while time.monotonic() < deadline:
        time.sleep(3)
        now = marks(layout)
        if now == before and condition(now):
            return now
        before = now
    pytest.fail(f"the marks did not come to what is due: {before}")


def replace(target: Path, source: Path) -> None:
    """Copy a stopped cluster's folder with its owner and modes, as a backup and a restore do."""
    if target.exists():
        shutil.rmtree(target)
    subprocess.run(["/bin/cp", "-a", str(source), str(target)], check=True)


@pytest.mark.control("EV-41b")
def test_a_restored_copy_freezes_its_logs_until_successors_go_on(layout: Layout, tmp_path: Path) -> None:
    with control.attached(layout) as status:
        make(layout, "aurora", "init")
        ask_for_a_link(layout, status, "aurora")
        before = settled(layout, lambda found: any("/audit-" in name for name in found))
    data = postgres_home.find(layout).data
    replace(tmp_path / "backup", data)

    with control.attached(layout) as status:
        make(layout, "borealis", "tenant", "add")
        ask_for_a_link(layout, status, "aurora")
        after = settled(layout, lambda found: sum(found.values()) > sum(before.values()) + 5)
    lost = {name: (after[name], before.get(name, 0)) for name in after if after[name] > before.get(name, 0)}
    tenants = {name.split("/")[1] for name in lost}
    assert len(tenants) >= 2
    replace(data, tmp_path / "backup")

    with control.attached(layout) as status:
        time.sleep(5)
        breaks = tally(layout, "log", "breaks", "--json")
        assert breaks.returncode == 1
        listed = json.loads(breaks.stdout)
        assert {one["log"]: (one["signed_size"], one["kept_size"]) for one in listed} == lost
        assert "log_frozen" in (layout.logs / "ledger-worker.log").read_text()
        ask_for_a_link(layout, status, "aurora")

        successors = []
        for tenant in sorted(tenants):
            done = tally(layout, "log", "succeed", "--tenant", tenant, "--reason", "the drill")
            assert done.returncode == 0, done.stderr
            successors += done.stdout.split()
        assert sorted(successors) == sorted(f"{name}.2" for name in lost)
        settled(layout, lambda found: all(found.get(name, 0) >= 1 for name in successors))
        assert tally(layout, "log", "breaks").returncode == 0
        for tenant in tenants:
            done = tally(layout, "export", "--tenant", tenant, "--out", tmp_path / "export" / tenant)
            assert done.returncode == 0, done.stderr

    for tenant in tenants:
        verified = tally(layout, "audit", "verify", tmp_path / "export" / tenant)
        assert verified.returncode == 0, verified.stdout
        for name, (signed, kept) in lost.items():
            if name.split("/")[1] == tenant:
                assert f"succeeds {name}: that was signed up to at least {signed} entries" in verified.stdout
                assert f"and {kept} of them were kept" in verified.stdout
