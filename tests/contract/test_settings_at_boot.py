"""No service starts with a setting missing: it says which, at once, and has no default for a secret."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sweep.routes import service_of
from tallystick_chassis.process import run
from tallystick_chassis.settings import MigrateSettings, setting_names
from tallystick_cli.stack import boot, state
from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.control("EV-24a")]


@pytest.fixture(scope="module")
def servers(layout):
    return boot.describe(layout, state.read(layout))


@pytest.mark.parametrize("role", ["api", "worker"])
@pytest.mark.parametrize("service", list(ServiceName))
def test_a_service_names_each_setting_without_which_it_does_not_start(servers, service, role, capsys):
    whole = servers.service_environment(service)
    required = [name for name, needed in setting_names(service_of(service).settings).items() if needed]
    assert len(required) >= 10
    for name in required:
        environment = {variable: value for variable, value in whole.items() if variable not in {name, f"{name}_FILE"}}
        assert len(environment) < len(whole), f"{name} was not among what the service is given"
        assert run(service_of(service), [role], environment) == 2
        said = capsys.readouterr().err
        assert said == f"tallystick: setting {name} is missing: set it, or {name}_FILE to a file that holds it\n"


@pytest.mark.parametrize("service", list(ServiceName))
def test_an_empty_secret_file_is_a_missing_secret(servers, service, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.touch()
    whole = servers.service_environment(service)
    given = [name for name in whole if name.endswith("_FILE") and name.removesuffix("_FILE") in SECRETS]
    assert len(given) >= 2
    for name in given:
        assert run(service_of(service), ["api"], {**whole, name: str(empty)}) == 2
        assert f"setting {name.removesuffix('_FILE')} " in capsys.readouterr().err


SECRETS = {
    "TALLY_NATS_SEED",
    "TALLY_CLIENT_SECRET",
    "TALLY_KEK",
    "TALLY_SESSION_KEY",
    "TALLY_CSRF_KEY",
    "TALLY_BLIND_INDEX_KEY",
    "TALLY_CHECKPOINT_KEY",
}


@pytest.mark.parametrize("service", list(ServiceName))
def test_a_migration_names_what_it_misses_and_gets_no_runtime_secret(servers, service, capsys):
    whole = servers.migration_environment(service)
    for name in ("TALLY_MIGRATE_DSN", "TALLY_CA_FILE"):
        environment = {variable: value for variable, value in whole.items() if variable != name}
        if name == "TALLY_CA_FILE" and not setting_names(MigrateSettings)[name]:
            continue
        assert run(service_of(service), ["migrate"], environment) == 2
        assert f"setting {name} is missing" in capsys.readouterr().err
    assert not {variable.removesuffix("_FILE") for variable in whole} & (SECRETS | {"TALLY_DSN", "TALLY_DUTY_DSN"})


@pytest.mark.parametrize("service", list(ServiceName))
def test_the_process_itself_ends_with_2_and_one_line_for_each_missing_setting(service):
    done = subprocess.run(
        [sys.executable, "-m", SERVICE_PACKAGES[service], "api"],
        check=False,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("TALLY_")},
    )
    required = {name for name, needed in setting_names(service_of(service).settings).items() if needed}
    assert done.returncode == 2
    assert {line.split()[2] for line in done.stderr.splitlines()} == required
    assert "Traceback" not in done.stderr
