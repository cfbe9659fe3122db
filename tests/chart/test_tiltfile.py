"""The Tiltfile, without Tilt: its built-ins, the chart's values and objects, and every path that it names are there."""

import posixpath
import re
import tomllib

import pytest
import starlark
import yaml
from chart.render import CHART, RefusedError
from chart.tiltfile import TILTFILE, Tilt
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES

ROOT = CHART.parents[2]
TEXT = TILTFILE.read_text()
PACKAGES = {SERVICE_FOLDERS[each]: SERVICE_PACKAGES[each] for each in SERVICE_FOLDERS}
PROCESSES = {f"{service}-{process}" for service in PACKAGES for process in ("api", "worker")}


@pytest.fixture(scope="module")
def tilt():
    return Tilt().evaluate(TEXT)


def _beside_the_tiltfile(path):
    return (TILTFILE.parent / path).resolve()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("docker_built('a', '..')", "docker_built"),
        ("docker_build('a', '..', onyl = ['libs'])", "onyl"),
        ("def f(:", "Parse error"),
    ],
)
def test_what_tilt_does_not_know_is_found(wrong, said):
    with pytest.raises(starlark.StarlarkError, match=said):
        Tilt().evaluate(f"{TEXT}\n{wrong}\n")


def test_a_value_that_the_chart_has_not_is_found():
    with pytest.raises(RefusedError, match="postgress"):
        Tilt("values: {postgress: {port: 1}}").evaluate(TEXT)


def test_every_resource_is_a_workload_of_the_chart_and_every_workload_a_resource(tilt):
    workloads = [
        each["metadata"]["name"] for each in tilt.objects if each["kind"] in {"Deployment", "StatefulSet", "Job"}
    ]
    assert sorted(each["workload"] for each in tilt.calls["k8s_resource"]) == sorted(workloads)
    assert not [each for each in tilt.objects if each["kind"] == "CronJob"]


def test_a_resource_waits_for_resources_that_there_are_and_for_no_ring_of_them(tilt):
    resources = tilt.resources()
    started = set()
    while waiting := [name for name in resources if name not in started]:
        free = [name for name in waiting if set(resources[name]["resource_deps"]) <= started]
        assert free, f"{waiting} wait for one another, or for what there is not"
        started.update(free)
    assert set(resources) >= PROCESSES
    assert {"migrations", "streams"} <= set(resources["identity-api"]["resource_deps"])


def test_every_image_of_ours_is_built_from_what_it_needs_and_no_more(tilt):
    built = {each["ref"]: each for each in tilt.calls["docker_build"]}
    assert built.keys() == {f"docker.io/tallystick/{service}" for service in PACKAGES}
    used = set(re.findall(r"docker\.io/tallystick/[\w-]+", str(tilt.objects)))
    assert used == set(built)
    for service in PACKAGES:
        image = built[f"docker.io/tallystick/{service}"]
        assert image["build_args"] == {"SERVICE": service}
        assert _beside_the_tiltfile(image["context"]) == ROOT
        assert [path for path in image["only"] if not (ROOT / path).exists()] == []
        assert [path for path in image["only"] if path.endswith("/src") and path.startswith("services/")] == [
            f"services/{service}/src"
        ]
        members = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
        assert {f"{member}/pyproject.toml" for member in members} <= set(image["only"])
        assert image["dockerfile_contents"].startswith((ROOT / "deploy/docker/Dockerfile").read_text())


def test_what_docker_may_see_has_all_that_is_copied(tilt):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for image in tilt.calls["docker_build"]:
        seen = [path for path in image["only"] if not any(_matches(path, pattern) for pattern in allowed)]
        assert seen == []
        for line in image["dockerfile_contents"].splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for path in line.split()[1:-1]:
                    assert any(each == path or each.startswith(f"{path}/") for each in image["only"]), path


def _matches(path, pattern):
    assert "*" not in pattern  # see the file's first line
    return path == pattern or path.startswith(f"{pattern}/")


def test_a_live_update_puts_each_package_where_the_image_has_it_and_falls_back_first(tilt):
    for image in tilt.calls["docker_build"]:
        service = image["ref"].rsplit("/", 1)[1]
        first, *rest = image["live_update"]
        assert first["built-in"] == "fall_back_on"
        assert {"../pyproject.toml", "../uv.lock", f"../services/{service}/pyproject.toml"} <= set(first["files"])
        assert all(_beside_the_tiltfile(path).is_file() for path in first["files"])
        assert {each["built-in"] for each in rest} == {"sync"}
        synced = {each["remote_path"]: _beside_the_tiltfile(each["local_path"]) for each in rest}
        packages = {
            "tallystick_tlog",
            "tallystick_contracts",
            "tallystick_chassis",
            "tallystick_cli",
            PACKAGES[service],
        }
        assert synced.keys() == {f"/app/lib/python3.11/site-packages/{package}" for package in packages}
        for remote, local in synced.items():
            assert (local / "__init__.py").is_file()
            assert local.name == posixpath.basename(remote)
            assert any(local.is_relative_to(ROOT / path) for path in image["only"])


def test_a_services_containers_may_be_written_and_are_started_again_and_nothing_else_is_changed(tilt):
    containers = {
        each["metadata"]["name"].removeprefix("tally-tallystick-"): container
        for each in tilt.objects
        if each["kind"] == "Deployment"
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert containers.keys() == PROCESSES | {"mail"}
    for name in PROCESSES:
        service, process = name.rsplit("-", 1)
        assert containers[name]["command"] == ["python", "/tilt/reload.py", "python", "-m", PACKAGES[service], process]
        assert containers[name]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": False,
            "capabilities": {"drop": ["ALL"]},
        }
    assert "reload.py" not in str(containers["mail"])
    others = [each for each in tilt.objects if each["kind"] in {"Job", "StatefulSet"}]
    assert "'readOnlyRootFilesystem': False" not in str(others)


def test_each_service_has_a_port_and_the_chart_knows_the_two_that_stand_in_links(tilt):
    ports = {
        each["new_name"]: [(one["local_port"], one["container_port"]) for one in each["port_forwards"]]
        for each in tilt.calls["k8s_resource"]
        if each["port_forwards"]
    }
    assert ports.keys() == {f"{service}-api" for service in PACKAGES}
    assert len({port for forwarded in ports.values() for port in forwarded}) == len(PACKAGES)
    values = yaml.safe_load((TILTFILE.parent / "values.yaml").read_text())
    for url, service in (("publicUrl", "identity"), ("verificationUrl", "verification")):
        assert values[url] == f"https://localhost:{ports[f'{service}-api'][0][0]}"


def test_tests_lint_and_seed_wait_for_a_click_and_call_what_there_is(tilt):
    local = {each["name"]: each for each in tilt.calls["local_resource"]}
    assert {"lint", "seed", "check", "test-identity", "test-chassis", "test-security"} <= set(local)
    targets = set(re.findall(r"^([a-z0-9.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, each in local.items():
        assert (each["auto_init"], each["trigger_mode"]) == (False, "manual"), name
        if each["cmd"][0] == "make":
            assert each["cmd"][1] in targets
        elif each["cmd"][0] == ".venv/bin/pytest":
            assert (_beside_the_tiltfile(each["dir"]) / each["cmd"][-1]).is_dir()
        else:
            deployment = each["cmd"][each["cmd"].index("exec") + 1].removeprefix("deploy/")
            assert deployment in {found["metadata"]["name"] for found in tilt.objects if found["kind"] == "Deployment"}
    migrations = tilt.resources()["migrations"]
    assert (migrations["auto_init"], migrations["trigger_mode"]) == (True, "manual")


def test_in_ci_every_service_is_asked_and_a_first_organisation_made_and_nothing_else_runs():
    ci = {each["name"]: each["auto_init"] for each in Tilt().evaluate(TEXT, subcommand="ci").calls["local_resource"]}
    assert {name for name, runs in ci.items() if runs} == {"check", "seed"}


def test_the_example_has_every_setting_and_changes_nothing(tilt):
    example = (TILTFILE.parent / "settings.example.yaml").read_text()
    assert Tilt(example).evaluate(TEXT).calls == tilt.calls
    assert set(re.findall(r"SETTINGS\['(\w+)'\]", TEXT)) == set(yaml.safe_load(example))


def test_settings_reach_what_they_are_for():
    chosen = Tilt(
        "{namespace: mine, contexts: [far-away], registry: registry.example.org/dev, build: {BASE_IMAGE: base}, "
        "port: 9000, seed: true, "
        "values: {api: {replicas: 2}, prometheusRule: {enabled: true}, ledgerOrigin: mine.test}}"
    ).evaluate(TEXT)
    assert chosen.calls["allow_k8s_contexts"] == [{"contexts": ["far-away"]}]
    assert chosen.calls["default_registry"][0]["host"] == "registry.example.org/dev"
    assert chosen.calls["docker_build"][0]["build_args"] == {"BASE_IMAGE": "base", "SERVICE": "identity"}
    assert {each["metadata"].get("namespace", "mine") for each in chosen.objects} == {"mine"}
    (api,) = [
        each
        for each in chosen.objects
        if each["metadata"]["name"] == "tally-tallystick-identity-api" and each["kind"] == "Deployment"
    ]
    assert api["spec"]["replicas"] == 2
    assert any(each["kind"] == "PrometheusRule" for each in chosen.objects)
    assert chosen.resources()["identity-api"]["port_forwards"][0]["local_port"] == 9000
    assert chosen.resources()["seed"]["auto_init"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("nmaespace: mine", "there is no setting nmaespace"),
        ("values: {tolerations: [{key: a}]}", "values.tolerations is a list"),
        ("values: {mail: {from: 'a,b'}}", "values.mail.from has a ,"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(settings, said):
    with pytest.raises(RefusedError, match=re.escape(said)):
        Tilt(settings).evaluate(TEXT)
