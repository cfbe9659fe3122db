"""Verification holds public keys and its own client secret, nothing with which anyone could sign, open or sign in."""

from typing import get_type_hints

import pytest
from tallystick_chassis.settings import PublicKey, Secret, SecretKey, setting_names
from tallystick_verification.settings import VerificationSettings


@pytest.mark.control("EV-51")
def test_no_setting_that_it_requires_is_a_secret_key() -> None:
    required = {name for name, needed in setting_names(VerificationSettings).items() if needed}
    assert "TALLY_KEYS_DSN" not in required
    assert "TALLY_KEK" not in required
    types = get_type_hints(VerificationSettings)
    secrets = {name for name, kind in types.items() if isinstance(kind, type) and issubclass(kind, Secret)}
    assert secrets == {"dsn", "duty_dsn", "nats_seed", "client_secret"}
    assert types["ledger_key"] is PublicKey
    assert not [name for name, kind in types.items() if kind is SecretKey]
