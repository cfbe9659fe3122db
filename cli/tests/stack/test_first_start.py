import base64
import datetime as dt
import hashlib
import json
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from tallystick_cli.stack import authority, boot
from tallystick_cli.stack.temporary import temporary_folder
from tallystick_contracts.topology import ServiceName


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def layout():
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def servers(layout):
    prepared = boot.prepare(layout)
    for name in ServiceName:
        prepared.service_environment(name)
    return prepared


def test_a_second_start_changes_no_secret_and_no_certificate(layout, servers):
    before = _contents(layout.secrets), _contents(layout.authority)
    again = boot.prepare(layout)
    for name in ServiceName:
        again.service_environment(name)
    assert (_contents(layout.secrets), _contents(layout.authority)) == before
    assert again == servers


@pytest.mark.usefixtures("servers")
def test_every_secret_lies_in_a_0600_file_below_a_0700_folder(layout):
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o700
    files = [path for path in layout.secrets.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    keys = list(layout.authority.glob("*.key"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


@pytest.mark.control("X-09")
@pytest.mark.usefixtures("servers")
def test_every_password_and_key_has_256_random_bits(layout):
    passwords = [path.read_text() for pattern in ("postgres-*", "client-*") for path in layout.secrets.glob(pattern)]
    assert {len(base64.urlsafe_b64decode(f"{password}=")) for password in passwords} == {32}
    keys = [base64.b64decode((layout.secrets / name).read_bytes()) for name in ("csrf-key", "checkpoint-key")]
    assert {len(key) for key in keys} == {32}
    assert len({*passwords, *keys}) == len(passwords) + len(keys)


def test_a_service_is_told_no_secret_of_another(servers):
    told = {name: servers.service_environment(name) for name in ServiceName}
    for name, environment in told.items():
        files = {value for key, value in environment.items() if key.endswith("_FILE") and "/secrets/" in value}
        others = {value for other in ServiceName if other is not name for value in told[other].values()}
        assert files
        assert not files & others


def test_verification_is_given_no_signing_session_or_opening_key(servers):
    told = servers.service_environment(ServiceName.VERIFICATION)
    forbidden = {"TALLY_SESSION_KEY_FILE", "TALLY_CHECKPOINT_KEY_FILE", "TALLY_KEK_FILE", "TALLY_KEYS_DSN"}
    assert not forbidden & told.keys()


def test_only_migrations_get_the_migrating_role(servers):
    for name in ServiceName:
        assert "TALLY_MIGRATE_DSN" not in servers.service_environment(name)
        assert f"tally_{name}_migrate:" in servers.migration_environment(name)["TALLY_MIGRATE_DSN"]


def test_published_session_keys_hold_no_private_part(layout, servers):
    told = servers.service_environment(ServiceName.IDENTITY)
    private = json.loads((layout.secrets / "session-keys.json").read_bytes())["keys"][0]
    public = json.loads((layout.authority / "session-jwks.json").read_bytes())["keys"][0]
    assert told["TALLY_SESSION_JWKS_FILE"].endswith("session-jwks.json")
    assert "d" not in public
    assert {**public, "d": private["d"]} == private


def test_identity_knows_client_secrets_only_as_hashes(layout, servers):
    told = servers.service_environment(ServiceName.IDENTITY)
    hashes = json.loads(Path(told["TALLY_CLIENTS_FILE"]).read_bytes())
    for name in ServiceName:
        secret = (layout.secrets / f"client-{name}").read_bytes()
        assert hashes[name] == hashlib.sha256(secret).hexdigest()


def test_the_ledgers_public_key_is_32_raw_bytes(servers):
    assert (
        len(base64.b64decode(servers.service_environment(ServiceName.LEDGER)["TALLY_LEDGER_KEY"], validate=True)) == 32
    )


def test_a_servers_certificate_is_for_the_loopback_address_and_from_the_local_authority(layout, servers):
    told = servers.service_environment(ServiceName.LEDGER)
    certificate = x509.load_pem_x509_certificate(Path(told["TALLY_TLS_CERT_FILE"]).read_bytes())
    issuer = x509.load_pem_x509_certificate(layout.ca_file.read_bytes())
    certificate.verify_directly_issued_by(issuer)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    ssl.create_default_context(cafile=str(layout.ca_file))


def test_a_certificate_about_to_expire_is_renewed_with_the_same_key(layout, servers, monkeypatch):
    assert servers
    before, key_file = authority.ensure_server(layout, "ledger")
    old, old_key = before.read_bytes(), key_file.read_bytes()
    monkeypatch.setattr(authority, "_RENEW_BEFORE", dt.timedelta(days=398))
    authority.ensure_server(layout, "ledger")
    assert before.read_bytes() != old
    assert key_file.read_bytes() == old_key
