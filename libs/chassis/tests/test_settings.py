"""A process starts with every setting it needs, or says in one message which are missing, and never shows a secret."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import nkeys
import pytest
from tallystick_chassis.process import run
from tallystick_chassis.service import Service, Wiring
from tallystick_chassis.settings import (
    KeyEncryptionKeys,
    Secret,
    SecretKey,
    Settings,
    SettingsError,
    load_settings,
    setting_names,
)

KEY = base64.b64encode(b"k" * 32).decode()
SEED = nkeys.encode_seed(b"k" * 32, nkeys.PREFIX_BYTE_USER).decode()


class LedgerLike(Settings, frozen=True, kw_only=True):
    checkpoint_key: SecretKey
    client_secret: Secret
    smtp_port: int = 25
    strict: bool = True


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "file.pem"
    file.write_text("pem")
    return {
        "TALLY_DSN": "postgresql://a:canary-password@h/db",
        "TALLY_DUTY_DSN": "postgresql://b:canary-password@h/db",
        "TALLY_NATS_URL": "tls://127.0.0.1:4222",
        "TALLY_NATS_SEED": SEED,
        "TALLY_CA_FILE": str(file),
        "TALLY_TLS_CERT_FILE": str(file),
        "TALLY_TLS_KEY_FILE": str(file),
        "TALLY_PORT": "8443",
        "TALLY_PUBLIC_URL": "https://localhost:8443",
        "TALLY_CHECKPOINT_KEY": KEY,
        "TALLY_CLIENT_SECRET": "canary-secret",
    }


def test_settings_are_read_from_the_environment(environment):
    settings = load_settings(LedgerLike, environment)
    assert (settings.port, settings.smtp_port, settings.checkpoint_key) == (8443, 25, b"k" * 32)
    assert settings.url_of("identity") is None


def test_a_secret_is_read_from_the_file_that_its_twin_names(environment, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from-a-file\n")
    del environment["TALLY_CLIENT_SECRET"]
    environment["TALLY_CLIENT_SECRET_FILE"] = str(secret)
    assert load_settings(LedgerLike, environment).client_secret == "from-a-file"


@pytest.mark.control("EV-24a")
def test_every_missing_and_invalid_setting_is_named_at_once_and_none_is_shown(environment, tmp_path):
    del environment["TALLY_DSN"]
    environment |= {
        "TALLY_CLIENT_SECRET": "",
        "TALLY_PORT": "canary",
        "TALLY_CHECKPOINT_KEY": base64.b64encode(b"canary").decode(),
        "TALLY_CA_FILE": str(tmp_path / "none"),
        "TALLY_STRICT": "canary",
        "TALLY_NATS_SEED_FILE": str(tmp_path / "none"),
    }
    with pytest.raises(SettingsError) as raised:
        load_settings(LedgerLike, environment)
    assert sorted(problem.split(" is ")[0] for problem in raised.value.problems) == [
        "setting TALLY_CA_FILE",
        "setting TALLY_CHECKPOINT_KEY",
        "setting TALLY_CLIENT_SECRET",
        "setting TALLY_DSN",
        "setting TALLY_NATS_SEED",
        "setting TALLY_PORT",
        "setting TALLY_STRICT",
    ]
    assert "canary" not in str(raised.value).lower()


@pytest.mark.control("EV-24a")
@pytest.mark.parametrize("name", [name for name, required in setting_names(LedgerLike).items() if required])
def test_a_process_without_a_required_setting_exits_2_and_names_it(environment, name, capsys):
    del environment[name]
    service = Service("ledger", "tallystick_ledger", LedgerLike, lambda _runtime: Wiring())
    assert run(service, ["api"], environment) == 2
    assert capsys.readouterr().err.startswith(f"tallystick: setting {name} is missing:")


def test_a_service_demands_only_what_it_declares(environment):
    del environment["TALLY_CHECKPOINT_KEY"], environment["TALLY_CLIENT_SECRET"]
    assert load_settings(Settings, environment).client_secret is None


def test_no_secret_has_a_default():
    defaults = load_defaults(LedgerLike)
    assert not [name for name, value in defaults.items() if isinstance(value, Secret | SecretKey)]


def load_defaults(kind: type[Settings]) -> dict[str, object]:
    return {one.name: one.default for one in msgspec.structs.fields(kind)}


@pytest.mark.control("EV-24c")
def test_secrets_do_not_show_in_a_representation(environment):
    text = repr(load_settings(LedgerLike, environment | {"TALLY_KEK": f'{{"1": "{KEY}"}}'}))
    assert "canary" not in text.lower()
    assert "kkkk" not in text
    assert KEY not in text
    assert SEED not in text


def test_key_encryption_keys_are_by_epoch_and_the_newest_wraps(environment):
    settings = load_settings(LedgerLike, environment | {"TALLY_KEK": f'{{"9": "{KEY}", "10": "{KEY}"}}'})
    assert isinstance(settings.kek, KeyEncryptionKeys)
    assert settings.kek.newest == "10"


@pytest.mark.parametrize("kek", ["{", "{}", '{"1": "short"}', '["a"]'])
def test_malformed_key_encryption_keys_are_refused(environment, kek):
    with pytest.raises(SettingsError, match="TALLY_KEK is invalid"):
        load_settings(LedgerLike, environment | {"TALLY_KEK": kek})


@pytest.mark.control("EN-01")
@pytest.mark.parametrize(
    "seed",
    [
        "SUACANARY",
        SEED[:-1],
        SEED.lower(),
        SEED + SEED,
        SEED.replace(SEED[20:22], "7A"),
        "S\u00fc",
        nkeys.encode_seed(b"k" * 32, nkeys.PREFIX_BYTE_ACCOUNT).decode(),
    ],
    ids=["short", "cut", "lower case", "twice", "a slip", "no ASCII", "an account's"],
)
def test_a_process_does_not_start_with_a_misshapen_seed_and_says_so_in_its_last_words(
    environment, tmp_path, seed, capsys
):
    said = tmp_path / "termination-log"
    service = Service("ledger", "tallystick_ledger", LedgerLike, lambda _runtime: Wiring())
    environment |= {"TALLY_NATS_SEED": seed, "TALLY_TERMINATION_LOG": str(said)}
    for process in ("api", "worker"):
        assert run(service, [process], environment) == 2
        assert said.read_text() == capsys.readouterr().err.strip()
        assert said.read_text().startswith("tallystick: setting TALLY_NATS_SEED is invalid: not the seed of a NATS ")
        assert seed not in said.read_text()


@pytest.mark.control("EN-01")
@pytest.mark.parametrize(
    "dsn",
    [
        "canary",
        "mysql://a:canary@h/db",
        "postgresql://a:canary@h",
        "postgresql://a:can/ary@h:canary/db",
        "postgresql://a:b@h:canary/db",
        "host=h password=canary",
    ],
)
def test_an_address_that_is_none_of_a_database_is_refused_and_not_shown(environment, dsn):
    environment |= {"TALLY_DSN": dsn, "TALLY_DUTY_DSN": dsn, "TALLY_KEYS_DSN": dsn}
    with pytest.raises(SettingsError) as raised:
        load_settings(LedgerLike, environment)
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        "setting TALLY_DSN is invalid",
        "setting TALLY_DUTY_DSN is invalid",
        "setting TALLY_KEYS_DSN is invalid",
    ]
    assert "canary" not in str(raised.value)


@pytest.mark.control("EN-01")
@pytest.mark.parametrize("process", ["api", "worker", "wait"])
def test_files_that_are_not_what_they_should_be_are_named_at_once(environment, process, capsys):
    service = Service("ledger", "tallystick_ledger", LedgerLike, lambda _runtime: Wiring())
    assert run(service, [process], environment | {"TALLY_SESSION_JWKS_FILE": environment["TALLY_CA_FILE"]}) == 2
    assert [line.partition(": not")[0] for line in capsys.readouterr().err.splitlines()] == [
        "tallystick: setting TALLY_CA_FILE is invalid",
        "tallystick: setting TALLY_TLS_CERT_FILE is invalid",
        "tallystick: setting TALLY_SESSION_JWKS_FILE is invalid",
    ]


def test_a_migration_names_a_file_that_holds_no_authority(environment, capsys):
    service = Service("ledger", "tallystick_ledger", LedgerLike, lambda _runtime: Wiring())
    assert run(service, ["migrate"], environment | {"TALLY_MIGRATE_DSN": environment["TALLY_DSN"]}) == 2
    assert capsys.readouterr().err.startswith("tallystick: setting TALLY_CA_FILE is invalid")


def test_an_unknown_command_exits_2_with_the_usage(capsys):
    service = Service("ledger", "tallystick_ledger", LedgerLike, lambda _runtime: Wiring())
    assert run(service, ["serve"], {}) == 2
    assert "python -m tallystick_ledger api|worker|migrate" in capsys.readouterr().err
