"""The chart ships the alerts and the dashboards that the code makes, and tells installations apart."""

import json

import pytest
from chart.render import render, scenarios
from sight.alerts import document
from sight.dashboards import DASHBOARDS

EVERYTHING = scenarios()["everything"]


@pytest.mark.control("IR-01")
def test_the_rules_are_those_of_the_code_as_soon_as_there_is_telemetry(releases):
    groups = {one["name"]: one for one in releases["everything"].one("PrometheusRule", "")["spec"]["groups"]}
    for group in document()["groups"]:
        assert groups[group["name"]] == group
    without = EVERYTHING["prometheusRule"] | {"services": False}
    for off in ({"telemetry": {"otlpEndpoint": ""}}, {"prometheusRule": without}):
        (rule,) = render(EVERYTHING | off).of("PrometheusRule")
        assert not [one["name"] for one in rule["spec"]["groups"] if one["name"].startswith("tallystick.")]


def test_every_dashboard_is_a_config_map_that_the_sidecar_finds(releases):
    maps = {
        one["metadata"]["name"].rpartition("-dashboard-")[2]: one
        for one in releases["everything"].of("ConfigMap")
        if "-dashboard-" in one["metadata"]["name"]
    }
    assert set(maps) == set(DASHBOARDS)
    for name, one in maps.items():
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "Tallystick"}
        ((file, content),) = one["data"].items()
        assert file == f"tallystick-{name}.json"
        assert json.loads(content)["uid"] == f"tallystick-{name}"
    assert not [one for one in releases["external"].of("ConfigMap") if "-dashboard-" in one["metadata"]["name"]]


def test_two_installations_are_told_apart_in_what_they_send(releases):
    names = set()
    for release in (releases["everything"], render(EVERYTHING, release="other")):
        for _, _, container in release.containers():
            for one in container.get("env", ()):
                if one["name"] == "OTEL_RESOURCE_ATTRIBUTES":
                    names.add(one["value"].split(",")[0])
    assert len(names) == 2
    assert all(name.startswith("service.namespace=") for name in names)
