"""What the security pages say is what the code does: limits, times, keys, connections, classes of data."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from tallystick_chassis.budgets import BUDGETS
from tallystick_chassis.configuration_reference import services_settings
from tallystick_chassis.http import service_client
from tallystick_chassis.http.capability import STEP_UP_MAX_AGE
from tallystick_chassis.settings import KeyEncryptionKeys, MigrateSettings, Secret, SecretKey, Settings
from tallystick_contracts.capabilities import Capability
from tallystick_contracts.message import LogKind, PiiClass
from tallystick_identity.sessions import domain as sessions
from tallystick_identity.settings import IdentitySettings
from tallystick_identity.sign_in import domain as sign_in

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security/controls.md").read_text()
SETTINGS = [Settings, MigrateSettings, *services_settings().values()]
SECRETS = (Secret, SecretKey, KeyEncryptionKeys)
CALLED = re.compile(r"_(dsn|url|host|port|endpoint)$|^url_|^dsn$")
OWN = {"host", "port", "worker_port", "public_url"}  # where a process itself listens
SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _rows(title: str) -> list[list[str]]:
    lines = [line for line in _section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def _span(seconds: float) -> str:
    size, unit = next((size, unit) for size, unit in SPANS if not seconds % size)
    count = int(seconds // size)
    return f"{count} {unit}{'s' if count > 1 else ''}"


def _variable(field: str) -> str:
    return f"TALLY_{field.upper()}"


def test_every_limit_stands_with_what_it_is():
    expected = [
        [f"`{budget.name}`", f"{budget.limit:,}", _span(budget.window_s)]
        for budget in sorted(BUDGETS.values(), key=lambda one: one.name)
    ]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert _rows("Limits on requests and guesses") == expected, f"the table should be:\n{lines}"


def test_the_times_of_sessions_and_links_are_those_in_the_code():
    said = dict(_rows("Sessions"))
    assert said["a session token"].startswith(_span(sessions.TOKEN_LIFETIME.total_seconds()))
    assert said["without a renewal"] == _span(sessions.IDLE_LIMIT.total_seconds())
    assert said["in all"] == _span(sessions.ABSOLUTE_LIMIT.total_seconds())
    assert said["a recent sign-in, where a route wants one"] == _span(STEP_UP_MAX_AGE.total_seconds())
    defaults = {field.name: field.default for field in msgspec.structs.fields(IdentitySettings)}
    assert defaults["session_idle_minutes"] * 60 == sessions.IDLE_LIMIT.total_seconds()
    assert defaults["session_absolute_hours"] * 3_600 == sessions.ABSOLUTE_LIMIT.total_seconds()
    assert f"single use, {_span(sign_in.LIFETIME.total_seconds())}" in _section("Ways to sign in")


def test_every_secret_that_a_process_is_given_is_in_the_inventory_of_keys():
    inventory = _section("Keys and algorithms")
    secret = {
        _variable(field.name)
        for kind in SETTINGS
        for field in msgspec.structs.fields(kind)
        if any(issubclass(one, SECRETS) for one in getattr(field.type, "__args__", (field.type,)))
    }
    assert len(secret) >= 12
    assert {name for name in secret if f"`{name}`" not in inventory} == set()
    assert {name for name in re.findall(r"`(TALLY_\w+)`", inventory) if name not in secret} == {"TALLY_TLS_KEY_FILE"}


@pytest.mark.control("EV-24d")
def test_every_address_that_a_process_is_given_is_in_the_list_of_connections():
    called = {
        _variable(field.name)
        for kind in SETTINGS
        for field in msgspec.structs.fields(kind)
        if CALLED.search(field.name) and field.name not in OWN
    }
    assert len(called) >= 12
    assert set(re.findall(r"`(TALLY_\w+)`", _section("Connections"))) == called


def test_every_class_of_data_has_its_rules():
    rows = _rows("Classes of data")
    assert {row[0] for row in rows} == {one.name for one in PiiClass if one.name.startswith("P")}
    assert all(len(row) == 7 and all(row) for row in rows)


def test_every_field_that_is_not_for_everybody_names_capabilities_that_exist():
    named = {word for row in _rows("Who may do what") for word in re.findall(r"`([a-z_]+\.[a-z_]+)`", " ".join(row))}
    assert len(named) >= 6
    assert named <= {one.value for one in Capability}


def test_every_kind_of_log_is_listed():
    said = " ".join(row[0] for row in _rows("What is logged where"))
    assert all(f"`{kind.value.lower()}`" in said for kind in LogKind)
    assert all(len(row) == 6 and all(row) for row in _rows("What is logged where"))


def test_weaknesses_of_components_have_days_that_grow_with_their_harmlessness():
    days = [int(row[1]) for row in _rows("Components")]
    assert len(days) == 4
    assert days == sorted(days)


def test_heavy_work_names_bounds_that_exist():
    rows = _rows("Heavy work")
    assert {name for row in rows for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", row[1])} <= set(BUDGETS)
    assert service_client.TIMEOUT.read == 10.0
    assert "after ten seconds" in _section("Heavy work")
