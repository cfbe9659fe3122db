"""`helm test` does the main job in small: `tally cluster check --tenant`, with real services, mail and TLS."""

import base64
import secrets
import ssl

import pytest
from tallystick_cli.cluster.main_job import ADMINISTRATOR, MAIL_DOMAIN, address_of
from tallystick_cli.main import app
from tallystick_cli.operator.actions import create_tenant
from tallystick_cli.stack import authority, secret_files
from tallystick_cli.stack.mail_window import Shown, open_window
from tallystick_cli.stack.services import LEDGER_ORIGIN
from typer.testing import CliRunner

pytestmark = pytest.mark.xdist_group("system")

STEPS = 9
LEFT_OUT = "mails go to mail.example.org, where nobody can read them"


@pytest.fixture
def window(layout):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.ensure_server(layout, "mail"))
    with open_window("127.0.0.1", 0, Shown(layout.mail, MAIL_DOMAIN), context) as port:
        yield f"https://127.0.0.1:{port}"


@pytest.fixture
def tenant(layout):
    slug = f"run-{secrets.token_hex(8)}"
    administrator = address_of(slug, ADMINISTRATOR)
    assert create_tenant(layout.root, command="add-tenant", slug=slug, name="Helm test", admin=administrator) == 0
    return slug


def key_in_force(layout):
    """Return the ledger's public key after whatever rotations other tests have had."""
    later = sorted(layout.checkpoint_keys.glob("[!.]*"), key=lambda file: file.stat().st_mtime_ns)
    if not later:
        return secret_files.checkpoint_public_key(layout)
    return secret_files.public_key_of(base64.b64decode(later[-1].read_bytes()))


@pytest.fixture
def check(system, layout, tmp_path):
    """`tally cluster check` of the running system, which pins its ledger's key, or another."""

    def run(*options, key="", **urls):
        (tmp_path / "ledger-key").write_text(key or key_in_force(layout))
        named = [f"--url={name}={url}" for name, url in {**system.urls, **urls}.items()]
        keys = (f"--session-keys={layout.authority / 'session-jwks.json'}", f"--ledger-key={tmp_path / 'ledger-key'}")
        trust = (f"--ca-file={layout.ca_file}", f"--ledger-origin={LEDGER_ORIGIN}", *keys)
        return CliRunner().invoke(app, ["cluster", "check", "--timeout-s=1", *trust, *named, *options])

    return run


def test_the_main_job_is_done_in_small(check, tenant, window):
    done = check(f"--tenant={tenant}", f"--mails={window}")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("held: ") == STEPS
    assert done.stdout.endswith("the main job in small is done\n")


def test_a_ledger_that_signs_with_another_key_than_the_pinned_one_is_found(check, tenant, window):
    another = secret_files.public_key_of(secrets.token_bytes(32))
    done = check(f"--tenant={tenant}", f"--mails={window}", key=another)
    assert done.exit_code == 1
    assert "the main job failed: its proof holds offline under the pinned ledger key: " in done.stderr


def test_a_tenant_that_is_not_there_gets_no_mail_and_that_is_said_of_the_first_step(check, window, monkeypatch):
    monkeypatch.setattr("tallystick_cli.cluster.person._PATIENCE_S", 2.0)
    monkeypatch.setattr("tallystick_cli.cluster.person._LINK_PATIENCE_S", 1.0)
    done = check("--tenant=run-nowhere", f"--mails={window}")
    assert done.exit_code == 1
    assert "the main job failed: the administrator signs in by a mailed link" in done.stderr


def test_a_service_that_is_not_there_is_named_before_the_main_job_begins(check, tenant, window):
    done = check(f"--tenant={tenant}", f"--mails={window}", assessment="https://127.0.0.1:1")
    assert done.exit_code == 1
    assert "assessment does not answer" in done.stderr
    assert "held:" not in done.stdout


def test_where_mails_go_elsewhere_the_main_job_is_left_out_with_a_reason(check):
    done = check(f"--left-out={LEFT_OUT}")
    assert done.exit_code == 0
    assert done.stdout.endswith(f"the main job was left out: {LEFT_OUT}\n")
