"""What a serving process reads of its migrations is what Alembic, which runs them, says."""

import subprocess
import sys

import pytest
from tallystick_chassis.bootstrap import SERVICES_WITH_KEY_STORE
from tallystick_chassis.migrate import _scripts
from tallystick_chassis.revisions import head_revision, known_revisions
from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName

FOLDERS = [
    *((package, "migrations") for package in SERVICE_PACKAGES.values()),
    *((SERVICE_PACKAGES[ServiceName(service)], "key_migrations") for service in sorted(SERVICES_WITH_KEY_STORE)),
]


@pytest.mark.parametrize(("package", "folder"), FOLDERS)
def test_revisions_are_those_that_alembic_finds(package: str, folder: str) -> None:
    scripts = _scripts(package, folder)
    assert head_revision(package, folder) == scripts.get_current_head() is not None
    assert known_revisions(package, folder) == {script.revision for script in scripts.walk_revisions()}


@pytest.mark.parametrize("package", SERVICE_PACKAGES.values())
def test_a_process_that_serves_does_not_load_what_only_others_need(package: str) -> None:
    loaded = f"import sys, {package}.app, tallystick_chassis.process, tallystick_chassis.worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.split()
    assert {"alembic", "faker", "polyfactory", "typer", "webauthn"} & set(modules) == set()
