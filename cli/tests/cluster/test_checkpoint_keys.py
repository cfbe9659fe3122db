"""After a rotation of the checkpoint key in a cluster: what the credentials Job keeps, and what the page says."""

import base64
import json
import re
import secrets
import subprocess
from pathlib import Path

import msgspec
import pytest
from tallystick_cli.cluster.kubernetes import bring_up_to_date
from tallystick_cli.cluster.manifests import MANAGED_BY_LABEL
from tallystick_cli.cluster.plan import Database, Plan
from tallystick_cli.main import app
from tallystick_cli.stack.secret_files import public_key_of
from tallystick_tlog import VerifierKey
from typer.testing import CliRunner

from .test_credentials import Cluster, secret

pytestmark = pytest.mark.control("IR-02")

INSTANCE = {"app.kubernetes.io/instance": "exams", "app.kubernetes.io/part-of": "tallystick"}
PLAN = Plan("exams-tallystick", "exams", Database("pg.example.org"), labels=INSTANCE)
LEDGER, LATER, TRUST = (f"exams-tallystick-{part}" for part in ("ledger", "ledger-checkpoint-keys", "trust"))
PAGE = Path(__file__).parents[3] / "docs/howto/rotate-keys.md"


class Installation:
    """A cluster with credentials, and what an operator does to it."""

    def __init__(self):
        self.cluster = Cluster()
        self.upgrade()
        self.first = self.pinned

    def upgrade(self):
        return bring_up_to_date(PLAN, self.cluster.ask)

    def path(self, name, kind="secrets"):
        return f"/api/v1/namespaces/exams/{kind}/{name}"

    @property
    def pinned(self):
        return secret(self.cluster, TRUST, "configmaps")["ledger-key"]

    def pin(self, key):
        self.cluster.objects[self.path(TRUST, "configmaps")]["data"]["ledger-key"] = key

    def put_first(self, seed):
        data = self.cluster.objects[self.path(LEDGER)]["data"]
        data["checkpoint-key"] = base64.b64encode(base64.b64encode(seed)).decode()

    def add(self, *seeds, labels=None):
        """Make the Secret of later keys as `kubectl create secret --from-file` does; end of line and all."""
        data = {
            str(2027 + n): base64.b64encode(base64.b64encode(seed) + b"\n").decode() for n, seed in enumerate(seeds)
        }
        metadata = {"name": LATER, "namespace": "exams", "resourceVersion": "9", "labels": labels or {}}
        self.cluster.objects[self.path(LATER)] = {
            "apiVersion": "v1",
            "type": "Opaque",
            "metadata": metadata,
            "data": data,
        }


@pytest.fixture
def made():
    return Installation()


@pytest.mark.parametrize("labels", [None, {**INSTANCE, MANAGED_BY_LABEL: "tallystick-credentials"}])
def test_an_upgrade_keeps_the_new_key_pinned_while_the_ledger_has_its_seed(made, labels):
    seed = secrets.token_bytes(32)
    made.add(seed, labels=labels)
    made.upgrade()
    assert made.pinned == made.first  # it is pinned by whoever rotates, not by itself
    made.pin(public_key_of(seed))
    assert made.upgrade() == []
    assert made.pinned == public_key_of(seed)
    # The window is over: the new seed takes the first one's place, and the old is nowhere.
    made.put_first(seed)
    del made.cluster.objects[made.path(LATER)]
    assert made.upgrade() == []
    assert made.pinned == public_key_of(seed)


def test_a_key_whose_seed_the_ledger_lacks_gives_way_to_the_first(made):
    # The seed was replaced and the old public key forgotten; or credentials came back from a copy after new were made.
    seed = secrets.token_bytes(32)
    made.put_first(seed)
    assert made.upgrade() == [TRUST]
    assert made.pinned == public_key_of(seed)
    for nonsense in ("", "AAAA", base64.b64encode(secrets.token_bytes(32)).decode()):
        made.add(b"no seed")
        made.pin(nonsense)
        assert made.upgrade() == [TRUST]
        assert made.pinned == public_key_of(seed)


def test_the_secret_of_later_keys_is_in_the_copy_and_comes_back_and_loses_nothing(made, tmp_path):
    (labels,) = re.findall(r"label secret exams-tallystick-ledger-checkpoint-keys ([^`]+?)\n *```", PAGE.read_text())
    named = dict(one.strip().split("=") for one in labels.replace("\\", " ").split())
    seed = secrets.token_bytes(32)
    made.add(seed, labels=named)
    before = dict(made.cluster.objects[made.path(LATER)]["data"])
    assert set(made.upgrade()) <= {LATER}  # annotations that keep Argo CD's hands off
    assert made.upgrade() == []
    kept = made.cluster.objects[made.path(LATER)]
    assert kept["data"] == before
    assert kept["metadata"]["labels"] == {**INSTANCE, MANAGED_BY_LABEL: "tallystick-credentials"}

    secrets_only = [{**each, "kind": "Secret"} for path, each in made.cluster.objects.items() if "/secrets/" in path]
    (tmp_path / "credentials.json").write_text(json.dumps({"kind": "List", "items": secrets_only}))
    arguments = ["--release=exams-tallystick", "--namespace=exams", "--postgres-host=pg.example.org"]
    done = CliRunner().invoke(app, ["cluster", "secrets", *arguments, f"--existing={tmp_path / 'credentials.json'}"])
    printed = {each["metadata"]["name"]: each for each in msgspec.json.decode(done.stdout)["items"]}
    assert printed[LATER]["data"] == before
    assert printed[LATER]["metadata"]["labels"].items() >= named.items()
    assert printed[TRUST]["data"]["ledger-key"] == made.first  # from it services follow the rotations in the log


def test_an_unlabelled_secret_of_later_keys_is_read_and_never_written(made):
    made.add(secrets.token_bytes(32))
    before = json.dumps(made.cluster.objects[made.path(LATER)])
    assert made.upgrade() == []
    assert json.dumps(made.cluster.objects[made.path(LATER)]) == before


def test_the_page_turns_a_printed_key_into_the_setting():
    (command,) = re.findall(r"^ *key=\$\((echo .*)\)$", PAGE.read_text(), re.MULTILINE)
    for seed in (secrets.token_bytes(32) for _ in range(20)):  # some have a + in their base64
        raw = public_key_of(seed)
        printed = str(VerifierKey.ed25519("ledger.example.org", base64.b64decode(raw)))
        script = re.sub(r"'[^']*'", lambda _, line=printed: f"'{line}'", command, count=1)
        assert (
            subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True, text=True).stdout.strip() == raw
        )
