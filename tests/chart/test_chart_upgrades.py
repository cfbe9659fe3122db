"""What the last version installed takes this one: nothing is changed that Kubernetes lets nobody change."""

import copy
import shutil

import pytest
import yaml
from chart import upgrade
from chart.render import CHART, Rendered, render, scenarios

pytestmark = pytest.mark.control("PK-06")

SCENARIOS = scenarios()
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)


@pytest.mark.parametrize("scenario", upgrade.RECORDED)
def test_the_last_versions_installation_takes_this_one(releases, scenario):
    assert upgrade.problems(upgrade.recorded()[scenario], upgrade.fixed(releases[scenario])) == []


def test_the_record_is_of_this_version_or_an_earlier_one():
    now = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    before = yaml.safe_load(upgrade.RECORD.read_text())["version"]
    assert [int(part) for part in before.split(".")] <= [int(part) for part in now.split(".")]


@pytest.fixture(scope="module")
def next_version(tmp_path_factory):
    """The same chart, as if the next version were this one with another number."""
    chart = tmp_path_factory.mktemp("next") / "tallystick"
    shutil.copytree(CHART, chart)
    metadata = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump(metadata | {"version": "0.2.0", "appVersion": "0.2.0"}))
    return chart


@every_scenario
def test_another_number_alone_stops_no_upgrade_and_runs_every_job_again(releases, next_version, scenario):
    after = render(SCENARIOS[scenario], chart=next_version, is_upgrade=True)
    before, now = upgrade.fixed(releases[scenario]), upgrade.fixed(after)
    assert upgrade.problems(before, now) == []
    jobs = [{name for name in each if name.startswith("Job/")} for each in (before, now)]
    assert jobs[0] & jobs[1] == set()
    assert len(jobs[0]) == len(jobs[1])


@every_scenario
def test_a_workloads_selector_is_its_own_pods(releases, scenario):
    for each in releases[scenario].of("Deployment", "StatefulSet"):
        wanted = each["spec"]["selector"]["matchLabels"].items()
        assert wanted <= each["spec"]["template"]["metadata"]["labels"].items(), each["metadata"]["name"]
        assert "helm.sh/chart" not in dict(wanted)


def _selector(one):
    one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/version"] = "0.1.0"


def _storage(one):
    one["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = "9Gi"


def _label_of_a_claim(one):
    one["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"] = {"helm.sh/chart": "tallystick-0.2.0"}


def _headless(one):
    one["spec"]["clusterIP"] = "None"


def _image(one):
    one["spec"]["template"]["spec"]["containers"][0]["image"] = "other"


def _class(one):
    one["spec"]["storageClassName"] = "other"


def _name(one):
    one["metadata"]["name"] += "-0"


@pytest.mark.parametrize(
    ("kind", "name", "change", "said"),
    [
        ("Deployment", "-identity-api", _selector, "selector cannot be changed"),
        ("StatefulSet", "-postgres", _selector, "selector cannot be changed"),
        ("StatefulSet", "-nats", _storage, "volumeClaimTemplates cannot be changed"),
        ("StatefulSet", "-nats", _label_of_a_claim, "volumeClaimTemplates cannot be changed"),
        ("StatefulSet", "-postgres", _name, "is gone, and what it stored is out of reach"),
        ("Service", "-nats", _headless, "clusterIP cannot be changed"),
        ("PersistentVolumeClaim", "-ledger-high-water", _class, "storageClassName cannot be changed"),
        ("PersistentVolumeClaim", "-ledger-high-water", _name, "is gone, and what it stored is out of reach"),
    ],
)
def test_what_would_stop_an_upgrade_is_found(releases, kind, name, change, said):
    before = releases["embedded"]
    after = Rendered(copy.deepcopy(before.manifests), before.notes)
    change(after.one(kind, name))
    (found,) = upgrade.problems(upgrade.fixed(before), upgrade.fixed(after))
    assert found.startswith(f"{kind}/tally-tallystick{name}")
    assert said in found


def test_a_job_that_is_another_under_the_same_name_is_found_and_a_hook_may_be(releases):
    for scenario, is_found in (("embedded", True), ("external", False)):
        before = releases[scenario]
        after = Rendered(copy.deepcopy(before.manifests), before.notes)
        (job,) = [each for each in after.of("Job") if "-database" in each["metadata"]["name"]]
        _image(job)
        found = upgrade.problems(upgrade.fixed(before), upgrade.fixed(after))
        assert bool(found) == is_found, found


def test_replicas_images_and_sizes_of_claims_may_change(releases):
    before = releases["embedded"]
    after = Rendered(copy.deepcopy(before.manifests), before.notes)
    for each in after.of("Deployment", "StatefulSet"):
        each["spec"]["replicas"] = 5
        _image(each)
    after.one("PersistentVolumeClaim", "-ledger-high-water")["spec"]["resources"]["requests"]["storage"] = "9Gi"
    assert upgrade.problems(upgrade.fixed(before), upgrade.fixed(after)) == []
