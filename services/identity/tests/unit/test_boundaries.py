"""What identity refuses to start without, and what its code must not know."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import nkeys
import pytest
import tallystick_identity
from joserfc.jwk import OKPKey
from tallystick_chassis.settings import SettingsError, load_settings
from tallystick_contracts.capabilities import DEFAULT_ROLES
from tallystick_identity.settings import IdentitySettings, MailTls

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(tallystick_identity.__file__).parent
KEY = base64.b64encode(bytes(32)).decode()
PAIR, OTHER = (OKPKey.generate_key("Ed25519", {"kid": kid}).as_dict(private=True) for kid in "ab")
SESSION_KEY = json.dumps({"keys": [PAIR]})


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    file = tmp_path / "file"
    file.write_text("x")
    names = ("NATS_URL", "PUBLIC_URL", "SMTP_HOST", "MAIL_FROM", "CLIENT_SECRET", "LEDGER_ORIGIN", "URL_PRIVACY")
    plain = {f"TALLY_{name}": "x" for name in names}
    plain |= {f"TALLY_{name}": "postgresql://u:p@h/d" for name in ("DSN", "DUTY_DSN", "KEYS_DSN")}
    own = ("CA_FILE", "TLS_CERT_FILE", "TLS_KEY_FILE", "SESSION_JWKS_FILE")
    files = {f"TALLY_{name}": str(file) for name in own}
    return {
        **plain,
        **files,
        "TALLY_NATS_SEED": nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER).decode(),
        "TALLY_SESSION_KEY": SESSION_KEY,
        "TALLY_PORT": "1",
        "TALLY_SMTP_PORT": "25",
        "TALLY_KEK": f'{{"1": "{KEY}"}}',
        "TALLY_CSRF_KEY": KEY,
        "TALLY_LEDGER_KEY": KEY,
        "TALLY_BLIND_INDEX_KEY": KEY,
        "TALLY_CLIENTS": f'{{"ledger": "{"0" * 64}"}}',
    }


def test_the_whole_environment_is_accepted(environment: Mapping[str, str]) -> None:
    assert load_settings(IdentitySettings, environment).smtp_port == 25


@pytest.mark.control("EV-24a")
@pytest.mark.parametrize(
    "name", ["SESSION_KEY", "CSRF_KEY", "BLIND_INDEX_KEY", "CLIENTS", "KEK", "KEYS_DSN", "SMTP_HOST", "CLIENT_SECRET"]
)
def test_identity_does_not_start_without_each_secret(environment: Mapping[str, str], name: str) -> None:
    without = {key: value for key, value in environment.items() if key != f"TALLY_{name}"}
    with pytest.raises(SettingsError, match=f"setting TALLY_{name} is missing"):
        load_settings(IdentitySettings, without)


@pytest.mark.control("EN-01")
@pytest.mark.parametrize(
    "keys",
    [
        "canary",
        "{}",
        json.dumps({"keys": []}),
        json.dumps({"keys": [{**PAIR, "d": "canary"}]}),
        json.dumps({"keys": [{**PAIR, "x": OTHER["x"]}]}),
        json.dumps({"keys": [{name: part for name, part in PAIR.items() if name != "d"}]}),
    ],
    ids=["text", "no set", "empty", "cut", "another's half", "public"],
)
def test_identity_does_not_start_with_session_keys_that_cannot_sign(environment: Mapping[str, str], keys: str) -> None:
    with pytest.raises(SettingsError, match="setting TALLY_SESSION_KEY is invalid: not a JWKS whose") as raised:
        load_settings(IdentitySettings, {**environment, "TALLY_SESSION_KEY": keys})
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("host", "given", "used"),
    [
        ("mail.example.org", "", MailTls.STARTTLS),
        ("mail.example.org", "implicit", MailTls.IMPLICIT),
        ("localhost", "", MailTls.NONE),
        ("127.0.0.1", "", MailTls.NONE),
        ("::1", "none", MailTls.NONE),
        ("127.0.0.1", "starttls", MailTls.STARTTLS),
    ],
)
def test_mail_goes_out_over_tls_unless_the_server_is_on_this_machine(
    environment: Mapping[str, str], host: str, given: str, used: MailTls
) -> None:
    settings = load_settings(IdentitySettings, {**environment, "TALLY_SMTP_HOST": host, "TALLY_SMTP_TLS": given})
    assert settings.mail_tls is used


@pytest.mark.parametrize(
    ("host", "given", "said"),
    [
        ("mail.example.org", "none", "is another machine"),
        ("127.0.0.1.example.org", "none", "is another machine"),
        ("mail.example.org", "opportunistic", "setting TALLY_SMTP_TLS is invalid: none of starttls, implicit, none"),
    ],
)
def test_identity_does_not_start_to_send_mail_in_the_clear(
    environment: Mapping[str, str], host: str, given: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(IdentitySettings, {**environment, "TALLY_SMTP_HOST": host, "TALLY_SMTP_TLS": given})


@pytest.mark.control("EV-13c")
def test_no_code_asks_for_a_role_by_its_name() -> None:
    names = re.compile("[\"'](?:" + "|".join(map(re.escape, DEFAULT_ROLES)) + ")[\"']")
    knowing = {path.name for path in SOURCE.rglob("*.py") if names.search(path.read_text())}
    assert knowing == {"bootstrap.py"}  # seed data: the first administrator's grant


@pytest.mark.control("X-09")
def test_no_secret_is_made_from_a_uuid() -> None:
    makers = re.compile(r"secret\w*\s*=\s*(?:str\()?(?:new_id|uuid4)\(")
    assert [path.name for path in SOURCE.rglob("*.py") if makers.search(path.read_text())] == []
