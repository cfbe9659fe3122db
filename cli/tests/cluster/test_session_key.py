"""A new session key in a cluster: known before it signs, written down, and no other object is touched."""

import base64
import json

import msgspec
import pytest
from tallystick_cli.cluster import kubernetes, session_key
from tallystick_cli.cluster.errors import ClusterError
from tallystick_cli.cluster.kubernetes import bring_up_to_date
from tallystick_cli.cluster.manifests import MANAGED_BY_LABEL
from tallystick_cli.cluster.plan import Database, Plan
from tallystick_cli.main import app
from typer.testing import CliRunner

from .test_credentials import Cluster, secret

pytestmark = [pytest.mark.control("IR-02"), pytest.mark.control("EV-24e")]

PLAN = Plan("tally", "exams", Database("pg.example.org"))
IDENTITY, TRUST = "tally-identity", "tally-trust"


class Installation:
    """A cluster with credentials, and what happened to it since: `known`, `waited`, `recorded`, …"""

    def __init__(self):
        self.cluster = Cluster()
        bring_up_to_date(PLAN, self.cluster.ask)
        self.cluster.written.clear()
        self.recorded: list[tuple[str, str, bool]] = []
        self.when_settling = lambda: None
        self.when_recording = lambda: None

    @property
    def private(self):
        return [key["kid"] for key in json.loads(secret(self.cluster, IDENTITY)["session-keys.json"])["keys"]]

    @property
    def public(self):
        return [
            key["kid"] for key in json.loads(secret(self.cluster, TRUST, "configmaps")["session-jwks.json"])["keys"]
        ]

    def record(self, key, previous, *, distrusted):
        self.when_recording()
        self.recorded.append((key, previous, distrusted))

    def rotate(self, *, distrust_old=False):
        return session_key.rotate(PLAN, self.cluster.ask, self.record, self.when_settling, distrust_old=distrust_old)

    def path(self, name, kind="secrets"):
        return f"/api/v1/namespaces/exams/{kind}/{name}"


@pytest.fixture
def made():
    return Installation()


def test_a_key_is_known_everywhere_before_it_is_written_down_and_only_then_signs(made):
    (old,) = made.private
    seen = []
    made.when_settling = lambda: seen.append(("settling", made.private, made.public, list(made.recorded)))
    made.when_recording = lambda: seen.append(("recording", made.private, made.public, list(made.recorded)))
    others = {name: data for name, data in secret(made.cluster, IDENTITY).items() if name != "session-keys.json"}
    new = made.rotate()
    assert seen == [(step, [old, new], [old, new], []) for step in ("settling", "recording")]
    assert made.recorded == [(new, old, False)]
    assert made.private == made.public == [new, old]
    assert set(made.cluster.written) == {IDENTITY, TRUST}
    after = secret(made.cluster, IDENTITY)
    assert {name: data for name, data in after.items() if name != "session-keys.json"} == others
    assert '"d"' not in secret(made.cluster, TRUST, "configmaps")["session-jwks.json"]
    assert bring_up_to_date(PLAN, made.cluster.ask) == [], "the next upgrade keeps it"
    newer = made.rotate()
    assert made.private == [newer, new]


def test_a_key_that_leaked_is_replaced_at_once_and_written_down_first(made):
    (old,) = made.private
    made.when_settling = lambda: pytest.fail("nothing is waited for")
    made.when_recording = lambda: assert_old_signs(made, old)
    new = made.rotate(distrust_old=True)
    assert made.private == made.public == [new]
    assert made.recorded == [(new, old, True)]
    assert bring_up_to_date(PLAN, made.cluster.ask) == []


def assert_old_signs(made, old):
    assert made.private[0] == old


@pytest.mark.parametrize("distrusting", [False, True])
def test_killed_at_any_write_it_leaves_a_key_that_all_believe_and_is_run_again(made, distrusting):
    for survived in range(5):
        left = [survived]

        def die(_path, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1

        made.cluster.before_write = die
        try:
            made.rotate(distrust_old=distrusting)
        except KeyboardInterrupt:
            assert made.private[0] in made.public, "what signs is believed"
            continue
        break
    else:
        pytest.fail("it never came to its end")
    assert survived == 4
    assert made.private[0] == made.recorded[-1][0]
    assert made.private == made.public
    assert len(made.private) == (1 if distrusting else 2)


def test_while_the_ledger_cannot_be_told_the_old_key_goes_on_signing(made):
    (old,) = made.private

    def fail():
        message = "the ledger could not be told"
        raise ClusterError(message)

    made.when_recording = fail
    for distrusting in (False, True):
        with pytest.raises(ClusterError, match="could not be told"):
            made.rotate(distrust_old=distrusting)
        assert made.private[0] == old
        assert set(made.private) == set(made.public)


def test_of_two_rotations_at_once_one_signs_and_the_other_says_that_it_does_not(made):
    (old,) = made.private
    inner = []
    other = Installation()
    other.cluster = made.cluster
    made.when_settling = lambda: inner.append(other.rotate())
    with pytest.raises(ClusterError, match="has another rotation begun"):
        made.rotate()
    assert made.private == made.public == [inner[0], old]


def test_two_writers_at_once_lose_nothing_of_each_other(made):
    path = made.path(IDENTITY)

    def meanwhile(_path):
        made.cluster.before_write = lambda _path: None
        found = made.cluster.objects[path]
        found["data"]["kek.json"] = base64.b64encode(b"newer").decode()
        found["metadata"]["resourceVersion"] = "another"

    made.cluster.before_write = meanwhile
    new = made.rotate()
    assert secret(made.cluster, IDENTITY)["kek.json"] == b"newer"
    assert made.private[0] == new


@pytest.mark.parametrize(("name", "kind"), [(IDENTITY, "secrets"), (TRUST, "configmaps")])
def test_what_is_not_ours_is_not_touched_nor_is_the_other(made, name, kind):
    (old,) = made.private
    made.cluster.objects[made.path(name, kind)]["metadata"]["labels"].pop(MANAGED_BY_LABEL)
    with pytest.raises(ClusterError, match=f"{name} was not made here"):
        made.rotate()
    del made.cluster.objects[made.path(name, kind)]
    with pytest.raises(ClusterError, match=f"{name} was not made here"):
        made.rotate()
    assert not made.cluster.written
    assert not made.recorded
    if name == TRUST:
        assert made.private == [old]


def test_identity_writes_it_down_in_a_process_of_its_own(monkeypatch):
    asked = []

    class Done:
        returncode = 0

    def run(command, *, check):
        asked.append((command[1:], check))
        return Done

    monkeypatch.setattr(session_key.subprocess, "run", run)
    session_key.record_by_identity("new", "old", distrusted=False)
    session_key.record_by_identity("new", "old", distrusted=True)
    command = ["-m", "tallystick_identity", "record-key-rotation", "--key=new", "--previous=old"]
    assert asked == [(command, False), ([*command, "--distrusted"], False)]
    Done.returncode = 1
    with pytest.raises(ClusterError, match="the old key goes on signing"):
        session_key.record_by_identity("new", "old", distrusted=False)


@pytest.mark.parametrize("options", [(), ("--distrust-old",)])
def test_the_jobs_command_prints_the_new_keys_id(made, monkeypatch, tmp_path, options):
    plan = tmp_path / "plan.json"
    plan.write_bytes(msgspec.json.encode(PLAN))
    monkeypatch.setattr(kubernetes, "in_cluster", lambda: made.cluster.ask)
    monkeypatch.setattr(session_key, "record_by_identity", made.record)
    command = ["cluster", "rotate-session-key", f"--plan={plan}", "--settle-s=0", *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == made.private[:1]
    assert made.recorded[0][2] == bool(options)
    made.cluster.objects.clear()
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 1
    assert "tally-identity was not made here" in refused.output
