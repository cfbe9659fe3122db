"""What images leave out is wanted by nobody in them: everything of ours runs in a Python that has not got it."""

import importlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy/docker"
LEFT_OUT = frozenset((DOCKER / "left_out.txt").read_text().split())
OURS = ("tallystick_tlog", "tallystick_contracts", "tallystick_chassis", "tallystick_cli")

WITHOUT = """\
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
"""
IMPORT_ALL = """\
import importlib, json, pkgutil, sys, warnings
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for each in pkgutil.walk_packages(package.__path__, name + "."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
print(json.dumps([module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]))
"""
DESCRIBE = """\
import json, sys
from pathlib import Path
from sweep.routes import document_of
from tallystick_cli.stack.layout import Layout
from tallystick_contracts.topology import ServiceName
print(json.dumps({name: document_of(Layout.at(Path(sys.argv[1])), name) for name in ServiceName}))
"""


@pytest.fixture(scope="module")
def as_in_an_image(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which Python finds none of the packages that images lack."""
    modules = {
        module
        for module, packages in packages_distributions().items()
        if LEFT_OUT & {re.sub("[-_.]+", "-", each).lower() for each in packages}
    }
    assert {"dns", "faker", "markdown_it", "mdurl", "polyfactory", "pycparser", "pygments", "rich_click"} <= modules
    folder = tmp_path_factory.mktemp("without")
    (folder / "sitecustomize.py").write_text(WITHOUT.format(modules=modules))
    settings = re.findall(r"\b(TYPER_\w+)=(\w+)", (DOCKER / "Dockerfile").read_text())
    path = os.pathsep.join((str(folder), str(ROOT / "tests/support")))
    return {**os.environ, **dict(settings), "PYTHONPATH": path}


@pytest.fixture
def never_imported(monkeypatch: pytest.MonkeyPatch) -> re.Pattern[str]:
    monkeypatch.syspath_prepend(str(DOCKER))
    return importlib.import_module("trim").NEVER_IMPORTED


def _run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run((sys.executable, *arguments), env=environment, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("service", ServiceName)
def test_a_service_and_tally_are_imported_without_it(
    as_in_an_image: dict[str, str], never_imported: re.Pattern[str], service: ServiceName
) -> None:
    done = _run(as_in_an_image, "-c", IMPORT_ALL, SERVICE_PACKAGES[service], *OURS)
    assert done.returncode == 0, done.stderr
    files = [file.partition("/site-packages/")[2] for file in json.loads(done.stdout)]
    assert [file for file in files if never_imported.search(file)] == []


@pytest.mark.xdist_group("system")
def test_every_service_describes_its_routes_without_it(as_in_an_image: dict[str, str], layout: Any) -> None:
    described = _run(as_in_an_image, "-W", "ignore", "-c", DESCRIBE, str(layout.root))
    assert described.returncode == 0, described.stderr
    assert json.loads(described.stdout).keys() == set(ServiceName)


def test_what_is_checked_of_an_address_asks_nobody(as_in_an_image: dict[str, str]) -> None:
    code = "from tallystick_identity.people.domain import email_address; print(email_address('Ada@North.example'))"
    assert _run(as_in_an_image, "-c", code).stdout == "Ada@north.example\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--help",), 0, "Each command explains itself"),
        (("db", "init", "--help"), 0, "--timeout-s"),
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("cluster", "check"), 2, "Missing option '--url'"),
        (("db", "init", "--print"), 0, "CREATE ROLE"),
    ],
)
def test_tally_explains_itself_and_refuses_without_it(
    as_in_an_image: dict[str, str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = _run(as_in_an_image, "-c", "from tallystick_cli.main import app; app()", *arguments)
    assert done.returncode == status, done.stderr
    assert said.casefold() in (done.stdout + done.stderr).casefold()
