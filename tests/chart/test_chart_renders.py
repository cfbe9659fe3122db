"""Every scenario lints, renders, and is what every supported Kubernetes takes."""

import shutil
from fnmatch import fnmatch

import pytest
import yaml
from chart import reference
from chart.kubernetes import VERSIONS, problem
from chart.render import CHART, RefusedError, at, lint_findings, merged, render, rendered_files, scenarios

SCENARIOS = scenarios()
pytestmark = pytest.mark.control("PK-06")


def leaves(values, path=""):
    for key, value in values.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value and not path.endswith("resources"):
            yield from leaves(value, here)
        else:
            yield here, value


def test_what_is_generated_is_up_to_date():
    stale = [name for name, text in reference.generated().items() if (CHART / name).read_text() != text]
    assert stale == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_lints(scenario):
    assert lint_findings(SCENARIOS[scenario]) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_every_kubernetes_takes_every_manifest(releases, version):
    found = {
        f"{name}: {manifest['kind']}/{manifest['metadata']['name']}: {wrong}"
        for name, release in releases.items()
        for manifest in release.manifests
        if (wrong := problem(manifest, version))
    }
    assert found == set()


def test_the_validator_finds_what_is_wrong(releases):
    service = releases["embedded"].one("Service", "-identity")
    assert "unknown" in problem(merged(service, {"spec": {"unknown": 1}}), "1.36")
    assert "not known" in problem({**service, "apiVersion": "v3"}, "1.36")
    assert "not known" in problem({**service, "kind": "Certificate"}, "1.36")


def test_an_older_kubernetes_is_refused():
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert metadata["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_no_value_is_unused():
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    # What has most on comes first: there a change shows soonest.
    ordered = {name: SCENARIOS[name] for name in ("everything", "embedded", "external", "traefik", "existing", "off")}
    before = {name: _text(values) for name, values in ordered.items()}
    unused = []
    for path, default in leaves(defaults):
        if not any(_matters(values, before[name], path, default) for name, values in ordered.items()):
            unused.append(path)
    assert unused == []


def _text(values):
    try:
        return str(rendered_files(values))
    except RefusedError as refused:
        return str(refused) if "cannot work" in str(refused) else None


def _matters(values, before, path, default):
    here = values
    for key in path.split("."):
        here = here.get(key) if isinstance(here, dict) else None
    for other in _others(path, default if here is None else here):
        text = _text(merged(values, at(path, other)))
        if text is not None and text != before:
            return True
    return False


_SPECIAL = {
    "existingSecrets": {"identity": "other"},
    "trustedProxies": ["192.168.0.0/16"],
    "image.pullPolicy": "Never",
    "certificates.source": "existing",
    "certificates.certManager.kind": "ClusterIssuer",
    "certificates.certManager.duration": "99h",
    "certificates.certManager.renewBefore": "9h",
    "trust.certificates": "-----BEGIN CERTIFICATE-----\nother",
    "trust.existingSecrets": [{"name": "other", "key": "k"}],
    "nats.url": "tls://other.example.org:4222",
    "nats.streams.replicas": 5,
    "networkPolicy.egress.openidPorts": [8443],
    "networkPolicy.egress.siemPorts": [8443],
    "mail.from": "other@example.org",
    "mail.tls": "implicit",
    "telemetry.otlpEndpoint": "https://other.example.org",
    "dnsPolicy": "Default",
    "services.ledger.highWater.url": "s3://other/marks",
    "services.ledger.highWater.endpoint": "https://other.example.org:9443",
    "services.ledger.highWater.accessMode": "ReadWriteMany",
    "ingress.controller": "none",
    "gateway.backendTlsPolicyVersion": "v1alpha3",
    "publicUrl": "https://other.example.org",
    "verificationUrl": "https://other.example.org",
    "settings": {"TALLY_LOG_LEVEL": "ERROR"},
    "extraEnv": [{"name": "OTHER", "value": "1"}],
    "global.imagePullSecrets": ["other"],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}],
}


_BY_NAME = {
    "replicas": 7,
    "minAvailable": 5,
    "maxUnavailable": 5,
    "resources": {"requests": {"memory": "7Mi"}},
    "size": "77Gi",
    "settings": {"TALLY_LOG_LEVEL": "ERROR"},
    "extraEnv": [{"name": "OTHER", "value": "1"}],
    "digest": "sha256:" + "1" * 64,
    "api": {"resources": {"requests": {"memory": "7Mi"}}},
    "worker": {"resources": {"requests": {"memory": "7Mi"}}},
}


def _others(path, now):
    """Other values than `now` that the schema takes."""
    last = path.rpartition(".")[2]
    match _SPECIAL.get(path, _BY_NAME.get(last)), now:
        case None, bool():
            return [not now]
        case None, int():
            return [now + 1, now + 1000]
        case None, str():
            return [f"other-{now}" if now else "other"]
        case None, dict():
            return [{**now, "other": "value"}]
        case None, _:
            return [[*now, {"ipBlock": {"cidr": "10.99.0.0/16"}}], [{"other": "value"}]]
        case chosen, _:
            return [chosen]


def test_a_subchart_renders_under_its_parents_values(tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "tallystick")
    (parent / "templates").mkdir()
    (parent / "Chart.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v2",
                "name": "parent",
                "version": "1.0.0",
                "dependencies": [{"name": "tallystick", "version": "0.1.0", "condition": "tallystick.enabled"}],
            }
        )
    )
    values = {
        "global": {"imageRegistry": "mirror.example.org", "somethingElse": {"of": "the parent"}},
        "tallystick": {"enabled": True, **SCENARIOS["embedded"]},
    }
    release = render(values, chart=parent)
    alone = render(merged(SCENARIOS["embedded"], at("global.imageRegistry", "mirror.example.org")))
    assert {m["metadata"]["name"] for m in release.manifests} == {m["metadata"]["name"] for m in alone.manifests}
    images = {container["image"] for _, _, container in release.containers()}
    assert all(image.startswith("mirror.example.org/") for image in images)
    assert "mirror.example.org/library/postgres:17.6-bookworm" in images


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != "off"])  # it has a fixed name
def test_two_releases_in_one_namespace_share_nothing(scenario):
    one, other = (render(SCENARIOS[scenario], release=name) for name in ("blue", "green"))
    names = [{(m["kind"], m["metadata"]["name"]) for m in release.manifests} for release in (one, other)]
    assert names[0] & names[1] == set()
    for manifest in one.of("Deployment", "StatefulSet"):
        wanted = manifest["spec"]["selector"]["matchLabels"].items()
        assert not any(wanted <= pod["metadata"]["labels"].items() for _, pod in other.pods())


def test_names_fit_where_kubernetes_is_narrow():
    release = render(SCENARIOS["embedded"], release="a-name-of-a-release-that-is-fifty-three-characters-xx")
    for manifest in release.manifests:
        name = manifest["metadata"]["name"]
        assert len(name) <= (52 if manifest["kind"] == "CronJob" else 63), name
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())


def test_a_change_of_the_chart_runs_the_databases_job_again():
    def job(values):
        (found,) = [m for m in render(values).of("Job") if "-database-" in m["metadata"]["name"]]
        return found["metadata"]["name"]

    trial = SCENARIOS["embedded"]
    assert job(trial) == job(merged(trial, {"podAnnotations": {}}))
    assert job(trial) != job(merged(trial, {"image": {"tag": "0.2.0"}}))
    assert fnmatch(job(trial), "tally-tallystick-database-????????")
