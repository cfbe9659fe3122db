"""The objects, Secrets and keys that operators are told of exist, as a release `exams` has them."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml
from chart.render import CHART, render, scenarios
from tallystick_cli.cluster.credentials import fill
from tallystick_cli.cluster.manifests import to_list
from tallystick_cli.cluster.plan import Plan

ROOT = CHART.parents[2]
EXAMPLES = ROOT / "deploy/helm/examples"
PAGES = [
    path
    for path in (*(ROOT / "docs/howto").glob("*.md"), CHART / "UPGRADING.md", ROOT / "docs/runbooks/kubernetes.md")
    if "exams-tallystick" in path.read_text()
]
# The optional Secret of later checkpoint keys is the operator's to make; plans call it so.
BROUGHT = {"exams-tallystick-ledger-checkpoint-keys"}
KEYS_OF = re.compile(r"(?:secret|Secret) `?(exams-tallystick-[\w-]+)`?.*?\.data\.([\w\\.-]+)\}")


@pytest.fixture(scope="module")
def installations():
    return [render(scenarios()[name], release="exams", namespace="exams") for name in ("embedded", "external")]


@pytest.fixture(scope="module")
def made(installations):
    """What the credentials Jobs make, by name."""
    plans = [one.one("ConfigMap", "-credentials")["data"]["plan.json"] for one in installations]
    return {name: held for plan in plans for name, held in fill(msgspec.json.decode(plan, type=Plan), {}).items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_object_of_the_release_that_a_page_names_is_there(page: Path, installations, made):
    rendered = {each["metadata"]["name"] for one in installations for each in one.manifests}
    text = page.read_text()
    named = set(re.findall(r"\b(exams-tallystick-[a-z0-9-]+)\b", text))
    assert named - rendered - set(made) - BROUGHT == set()
    for workload in re.findall(r"\b(?:deploy|deployment)/(exams-tallystick-[\w-]+)", text):
        assert any(each["kind"] == "Deployment" and each["metadata"]["name"] == workload
                   for one in installations for each in one.manifests), workload  # fmt: skip
    for secret, key in KEYS_OF.findall(text):
        assert key.replace("\\", "") in made[secret].data, f"{secret}: {key}"


def test_the_pages_of_an_installation_name_some():
    assert {"install", "upgrade", "rotate-keys", "stream-to-a-siem"} <= {page.stem for page in PAGES}


def test_what_pages_delete_and_wait_for_by_label_is_all_of_a_release_and_nothing_of_another():
    text = "".join(page.read_text() for page in PAGES)
    release, made = "app.kubernetes.io/instance=exams", "app.kubernetes.io/managed-by=tallystick-credentials"
    selectors = set(re.findall(r"--selector ([^\s`]+)", text))
    assert selectors == {release, f"{release},{made}"}

    def selected(labels):
        return {each for each in selectors if set(each.split(",")) <= {f"{key}={value}" for key, value in labels}}

    names = []
    for name in ("exams", "trial"):  # both in one namespace
        one = render(scenarios()["embedded"], release=name, namespace="exams")
        ours = name == "exams"
        for each in one.of("Deployment", "PersistentVolumeClaim"):
            assert selected(each["metadata"]["labels"].items()) == ({release} if ours else set())
        for each in one.of("StatefulSet"):  # its claims bear its selector's labels
            assert selected(each["spec"]["selector"]["matchLabels"].items()) == ({release} if ours else set())
        plan = msgspec.json.decode(one.one("ConfigMap", "-credentials")["data"]["plan.json"], type=Plan)
        credentials = msgspec.json.decode(to_list(plan, fill(plan, {})))["items"]
        for each in credentials:
            assert selected(each["metadata"]["labels"].items()) == (selectors if ours else set())
        names.append({(each["kind"], each["metadata"]["name"]) for each in (*one.manifests, *credentials)})
    assert names[0] & names[1] == set()


def test_the_examples_fit_the_values_that_are_for_them():
    # NATS and Postgres by the examples, Tallystick by these values: the release `tally` in the namespace `tally`.
    values = scenarios()["cloudnativepg"]
    release = render(values, release="tally", namespace="tally")
    plan = msgspec.json.decode(release.one("ConfigMap", "-credentials")["data"]["plan.json"], type=Plan)
    cluster = yaml.safe_load((EXAMPLES / "cloudnativepg.yaml").read_text())
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    assert values["postgres"]["host"] == f"{name}-rw.{namespace}.svc"
    assert values["postgres"]["admin"] == {"existingSecret": f"{name}-superuser", "key": "uri"}
    assert cluster["spec"]["enableSuperuserAccess"]
    assert {"name": f"{name}-ca", "key": "ca.crt"} in values["trust"]["existingSecrets"]
    assert values["networkPolicy"]["egress"]["postgres"] == [
        {"podSelector": {"matchLabels": {"cnpg.io/cluster": name}}}
    ]
    nats = yaml.safe_load((EXAMPLES / "nats.yaml").read_text())
    (users,) = nats["container"]["merge"]["envFrom"]
    public = fill(plan, {})[users["configMapRef"]["name"]].data
    wanted = set(re.findall(r"\$(NKEY_\w+)", (CHART / "files/nats-accounts.conf").read_text()))
    assert wanted == set(public)
    config = nats["config"]
    assert config["jetstream"]["merge"]["sync_interval"] == "always"
    assert config["cluster"]["replicas"] == values["nats"]["streams"]["replicas"] == 3
    assert config["cluster"]["tls"]["enabled"]
    assert config["cluster"]["tls"]["merge"]["verify"]
    assert {"name": config["nats"]["tls"]["secretName"], "key": "ca.crt"} in values["trust"]["existingSecrets"]
    assert values["nats"]["url"] == f"tls://nats.{namespace}.svc:4222"  # of the release `nats`
