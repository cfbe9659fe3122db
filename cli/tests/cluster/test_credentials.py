"""What an installation is given: made once, never changed, and nobody's but ours."""

import base64
import json

import msgspec
import nkeys
import pytest
from cryptography import x509
from tallystick_chassis.configuration_reference import services_settings
from tallystick_chassis.settings import PREFIX, load_settings
from tallystick_cli.cluster import certificates, database, manifests
from tallystick_cli.cluster.credentials import Held, fill
from tallystick_cli.cluster.errors import ClusterError
from tallystick_cli.cluster.kubernetes import bring_up_to_date
from tallystick_cli.cluster.plan import Database, Plan
from tallystick_cli.main import app
from typer.testing import CliRunner

pytestmark = pytest.mark.control("X-07")

PLAN = Plan("tally", "exams", Database("pg.example.org", 5432, "tally", "tally_keys"), labels={"a": "b"})
TRIAL = Plan("tally", "exams", Database("", embedded=True), nats_embedded=True, mail_embedded=True)


class Cluster:
    """As much of the Kubernetes API as credentials need, with optimistic locking."""

    def __init__(self):
        self.objects: dict[str, dict] = {}
        self.version = 0
        self.written: list[str] = []
        self.before_write = lambda _path: None

    def ask(self, method, path, body):
        if method == "GET":
            found = self.objects.get(path)
            return (200, json.dumps(found).encode()) if found else (404, b"{}")
        self.before_write(path)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return 409, b"{}"
        elif self.objects[path]["metadata"]["resourceVersion"] != body["metadata"].get("resourceVersion"):
            return 409, b"{}"
        self.version += 1
        kept = json.loads(msgspec.json.encode(body))
        kept.pop("kind")  # the API leaves it out in answers to some clients
        kept["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = kept
        self.written.append(path.rpartition("/")[2])
        return 201, b"{}"


def secret(cluster, name, kind="secrets"):
    data = cluster.objects[f"/api/v1/namespaces/exams/{kind}/{name}"]["data"]
    return data if kind == "configmaps" else {key: base64.b64decode(value) for key, value in data.items()}


def test_an_empty_namespace_gets_everything_and_a_second_run_changes_nothing():
    cluster = Cluster()
    written = bring_up_to_date(TRIAL, cluster.ask)
    servers = {"tally-nats-tls", "tally-mail-tls", "tally-postgres-tls"}
    assert {"tally-identity", "tally-ledger-migrate", "tally-postgres", "tally-trust", *servers} <= set(written)
    assert written[-2:] == ["tally-nats-users", "tally-trust"]  # what is public follows what it belongs to
    assert bring_up_to_date(TRIAL, cluster.ask) == []


def test_services_take_what_is_made(tmp_path):
    made = fill(PLAN, {})
    for service, kind in services_settings().items():
        environment = {}
        for source in (f"tally-{service}", f"tally-{service}-tls", "tally-trust"):
            folder = tmp_path / source
            folder.mkdir(exist_ok=True)
            for name, value in made[source].data.items():
                (folder / name).write_bytes(value)
        own, tls, trust = tmp_path / f"tally-{service}", tmp_path / f"tally-{service}-tls", tmp_path / "tally-trust"
        for name in ("dsn", "duty-dsn", "keys-dsn", "nats-seed", "client-secret", "csrf-key", "blind-index-key"):
            if (own / name).exists():
                environment[f"{PREFIX}{name.upper().replace('-', '_')}_FILE"] = str(own / name)
        for name, file in {"KEK": "kek.json", "SESSION_KEY": "session-keys.json", "CLIENTS": "clients.json"}.items():
            if (own / file).exists():
                environment[f"{PREFIX}{name}_FILE"] = str(own / file)
        if service == "ledger":
            environment |= {"TALLY_CHECKPOINT_KEY_FILE": str(own / "checkpoint-key")}
            environment |= {"TALLY_HIGH_WATER": str(tmp_path)}
        environment |= {
            "TALLY_CA_FILE": str(trust / "ca.crt"),
            "TALLY_SESSION_JWKS_FILE": str(trust / "session-jwks.json"),
            "TALLY_LEDGER_KEY_FILE": str(trust / "ledger-key"),
            "TALLY_TLS_CERT_FILE": str(tls / "tls.crt"),
            "TALLY_TLS_KEY_FILE": str(tls / "tls.key"),
            "TALLY_NATS_URL": "tls://nats:4222",
            "TALLY_PORT": "8443",
            "TALLY_PUBLIC_URL": "https://tally.example.org",
            "TALLY_LEDGER_ORIGIN": "ledger.example.org",
            "TALLY_SMTP_HOST": "mail",
            "TALLY_SMTP_PORT": "25",
            "TALLY_MAIL_FROM": "a@b.c",
            **{
                f"TALLY_URL_{one}": "https://x"
                for one in ("IDENTITY", "ASSESSMENT", "LEDGER", "VERIFICATION", "PRIVACY")
            },
        }
        assert load_settings(kind, environment).dsn.startswith("postgresql://tally_")


def test_a_key_is_never_rewritten_and_an_address_follows_the_plan():
    before = fill(PLAN, {})
    moved = msgspec.structs.replace(PLAN, postgres=Database("other.example.org", 6432, "t2", "k2"))
    after = fill(moved, before)
    derived = {"dsn", "duty-dsn", "keys-dsn", "purge-dsn", "migrate-dsn", "keys-migrate-dsn"}
    for name, held in before.items():
        for key, value in held.data.items():
            assert (after[name].data[key] == value) == (key not in derived), (name, key)
    password = before["tally-ledger"].data["duty-password"].decode()
    assert after["tally-ledger"].data["duty-dsn"].decode() == (
        f"postgresql://tally_ledger_duty:{password}@other.example.org:6432/t2"
    )


def test_a_foreign_secret_is_read_and_never_written():
    whole = fill(PLAN, {})["tally-identity"].data
    cluster = Cluster()
    path = "/api/v1/namespaces/exams/secrets/tally-identity"
    foreign = manifests.manifest(PLAN, "tally-identity", Held(whole))
    foreign["metadata"] |= {"labels": {}, "resourceVersion": "7"}
    cluster.objects[path] = foreign
    assert "tally-identity" not in bring_up_to_date(PLAN, cluster.ask)
    assert cluster.objects[path] is foreign
    keys = json.loads(secret(cluster, "tally-trust", "configmaps")["session-jwks.json"])["keys"]
    private = json.loads(whole["session-keys.json"])["keys"]
    assert [key["kid"] for key in keys] == [key["kid"] for key in private]
    assert "d" not in keys[0]

    del foreign["data"]["csrf-key"]
    with pytest.raises(ClusterError, match="the Secret tally-identity was not made here and lacks csrf-key"):
        bring_up_to_date(PLAN, cluster.ask)


def test_labels_that_an_earlier_version_did_not_give_are_added_and_no_key_is_rewritten():
    cluster = Cluster()
    bring_up_to_date(PLAN, cluster.ask)
    before = json.loads(json.dumps(cluster.objects))
    for each in cluster.objects.values():
        each["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "tallystick-credentials", "of": "somebody"}
        each["metadata"]["annotations"] = {"of": "somebody"}
    labelled = msgspec.structs.replace(PLAN, labels={"app.kubernetes.io/instance": "exams"})
    assert len(bring_up_to_date(labelled, cluster.ask)) == len(before)
    for path, each in cluster.objects.items():
        assert each["data"] == before[path]["data"]
        assert each.get("type") == before[path].get("type")
        assert each["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "tallystick-credentials",
            "app.kubernetes.io/instance": "exams",
            "of": "somebody",
        }
        assert each["metadata"]["annotations"] == {**manifests.ANNOTATIONS, "of": "somebody"}
    assert bring_up_to_date(labelled, cluster.ask) == []


def test_an_object_that_the_plan_names_may_be_another_releases_and_keeps_its_labels():
    cluster = Cluster()
    bring_up_to_date(PLAN, cluster.ask)
    other = msgspec.structs.replace(
        PLAN, prefix="other", names={"nats-admin": "tally-nats-admin"}, labels={"app.kubernetes.io/instance": "other"}
    )
    written = bring_up_to_date(other, cluster.ask)
    assert "other-ledger" in written
    assert "tally-nats-admin" not in written


def test_two_jobs_at_once_agree_on_one_key():
    cluster, other = Cluster(), []

    def meanwhile(path):
        if not other:
            other.append(path)
            bring_up_to_date(PLAN, cluster.ask)

    cluster.before_write = meanwhile
    bring_up_to_date(PLAN, cluster.ask)
    assert len(cluster.written) == len(set(cluster.written))  # nothing was written twice
    clients = json.loads(secret(cluster, "tally-identity")["clients.json"])
    assert len(clients) == 5


def test_a_job_that_is_killed_goes_on_where_it_was():
    cluster = Cluster()

    def die(path):
        if len(cluster.written) == 4:
            raise KeyboardInterrupt(path)

    cluster.before_write = die
    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(PLAN, cluster.ask)
    kept = {path: found["data"] for path, found in cluster.objects.items()}
    cluster.before_write = lambda _path: None
    bring_up_to_date(PLAN, cluster.ask)
    assert all(cluster.objects[path]["data"] == data for path, data in kept.items())
    assert bring_up_to_date(PLAN, cluster.ask) == []


def test_a_refusal_names_the_object_and_no_value():
    with pytest.raises(ClusterError, match=r"does not let us read or write tally-\S+ \(HTTP 403\)"):
        bring_up_to_date(PLAN, lambda *_: (403, b"secret"))


def test_public_keys_are_those_of_the_seeds():
    made = fill(PLAN, {})
    for user, name, key in (("ADMIN", "tally-nats-admin", "seed"), ("PRIVACY", "tally-privacy-worker", "nats-seed")):
        public = nkeys.from_seed(bytearray(made[name].data[key])).public_key
        assert made["tally-nats-users"].data[f"NKEY_{user}"] == public


def test_certificates_name_their_service_and_are_renewed_in_time(monkeypatch):
    made = fill(TRIAL, {})
    certificate = x509.load_pem_x509_certificate(made["tally-postgres-tls"].data["tls.crt"])
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "tally-postgres.exams.svc" in named.get_values_for_type(x509.DNSName)
    assert "@tally-postgres.exams.svc:5432/tally" in made["tally-ledger"].data["dsn"].decode()
    assert fill(TRIAL, made)["tally-ledger-tls"].data == made["tally-ledger-tls"].data
    monkeypatch.setattr(certificates, "_RENEW_BEFORE", certificates._RENEW_BEFORE * 10)
    renewed = fill(TRIAL, made)["tally-ledger-tls"].data
    assert renewed["tls.crt"] != made["tally-ledger-tls"].data["tls.crt"]
    assert renewed["tls.key"] == made["tally-ledger-tls"].data["tls.key"]
    assert renewed["ca.crt"] == made["tally-ledger-tls"].data["ca.crt"]


def test_the_administrators_sql_has_the_passwords_of_the_secrets():
    made = fill(PLAN, {})
    again = manifests.from_list(manifests.to_list(PLAN, made))
    passwords = database.passwords_from_objects(again)
    sql = database.script(passwords, database="tally", keys_database="tally_keys")
    assert f"password '{made['tally-ledger'].data['purge-password'].decode()}'" in sql
    assert made["tally-authority"].data["tls.key"] == again["tally-authority"].data["tls.key"]
    del again["tally-ledger"].data["purge-dsn"]
    with pytest.raises(ClusterError, match="no Secret holds purge-dsn of ledger"):
        database.passwords_from_objects(again)


def test_without_secrets_passwords_are_variables_of_psql():
    sql = database.with_variables(
        database.script(database.psql_variables(), database="tally", keys_database="tally_keys")
    )
    assert "password :'tally_privacy_app'" in sql
    assert "variable of psql" not in sql


def test_what_is_printed_for_a_release_bears_the_labels_that_its_pages_select_by():
    done = CliRunner().invoke(
        app, ["cluster", "secrets", "--release=exams-tallystick", "--postgres-host=pg.example.org"]
    )
    items = json.loads(done.stdout)["items"]
    assert {each["metadata"]["name"] for each in items} >= {"exams-tallystick-nats-keeper", "exams-tallystick-ledger"}
    for each in items:
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "exams"
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "tallystick-credentials"


def test_a_copy_as_kubectl_prints_it_is_completed_for_another_cluster(tmp_path):
    cluster = Cluster()
    bring_up_to_date(PLAN, cluster.ask)
    items = [{**each, "kind": "Secret"} for path, each in cluster.objects.items() if "/secrets/" in path]
    lost = items.pop()["metadata"]["name"]
    (tmp_path / "credentials.json").write_text(json.dumps({"kind": "List", "items": items}))
    arguments = ["--release=tally", "--namespace=exams", "--postgres-host=pg.example.org"]
    done = CliRunner().invoke(app, ["cluster", "secrets", *arguments, f"--existing={tmp_path / 'credentials.json'}"])
    printed = {each["metadata"]["name"]: each for each in json.loads(done.stdout)["items"]}
    assert {lost, "tally-trust", "tally-nats-users"} <= set(printed)
    assert all(printed[one["metadata"]["name"]]["data"] == one["data"] for one in items)
    assert all(set(each["metadata"]) == {"name", "namespace", "labels", "annotations"} for each in printed.values())


def test_the_releases_name_can_be_told_where_the_objects_names_do_not_tell_it():
    arguments = ["--release=my-tallystick", "--instance=my-tallystick", "--postgres-host=pg.example.org"]
    items = json.loads(CliRunner().invoke(app, ["cluster", "secrets", *arguments]).stdout)["items"]
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in items} == {"my-tallystick"}
    assert all(each["metadata"]["annotations"] == manifests.ANNOTATIONS for each in items)
