"""`helm test` asks what a running system answers: `tally cluster check`."""

import pytest
from tallystick_cli.cluster.check import wrong_with
from tallystick_cli.stack import secret_files

pytestmark = pytest.mark.xdist_group("system")


@pytest.fixture
def trust(layout):
    return layout.ca_file, layout.authority / "session-jwks.json"


def test_nothing_is_wrong_with_a_system_that_runs(system, trust):
    assert wrong_with(system.urls, *trust, timeout_s=0.0) == []


def test_session_keys_that_nobody_signs_with_are_found(system, trust, tmp_path):
    others = tmp_path / "session-jwks.json"
    others.write_bytes(secret_files.public_session_keys(secret_files.make_session_keys()))
    (found,) = wrong_with(system.urls, trust[0], others, timeout_s=0.0)
    assert "identity signs with other session keys" in found


def test_a_service_that_is_not_there_is_found(system, trust):
    urls = {**system.urls, "assessment": "https://127.0.0.1:1"}
    assert wrong_with(urls, *trust, timeout_s=1.0) == [
        "assessment does not answer at https://127.0.0.1:1 (ConnectionRefusedError)"
    ]
