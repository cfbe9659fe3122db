"""The chart ships the alerts and the dashboards that the code makes, and tells installations apart."""

import json
import re

import pytest
from chart.render import CHART, render, scenarios
from sight.alerts import document
from sight.dashboards import DASHBOARDS

EVERYTHING = scenarios()["everything"]
RUNBOOKS = CHART.parents[2] / "docs" / "runbooks"
ADDRESS = "https://tallystick.dev/runbooks/"


@pytest.mark.control("IR-01")
def test_the_rules_are_those_of_the_code_as_soon_as_there_is_telemetry(releases):
    groups = {one["name"]: one for one in releases["everything"].one("PrometheusRule", "")["spec"]["groups"]}
    for group in document()["groups"]:
        assert groups[group["name"]] == group
    without = EVERYTHING["prometheusRule"] | {"services": False}
    for off in ({"telemetry": {"otlpEndpoint": ""}}, {"prometheusRule": without}):
        (rule,) = render(EVERYTHING | off).of("PrometheusRule")
        assert not [one["name"] for one in rule["spec"]["groups"] if one["name"].startswith("tallystick.")]


@pytest.mark.control("IR-05")
def test_every_alert_that_the_chart_ships_leads_to_its_part_of_a_runbook(releases):
    led_to = set()
    for group in releases["everything"].one("PrometheusRule", "")["spec"]["groups"]:
        for rule in () if group["name"].endswith(".own") else group["rules"]:
            page, _, part = rule["annotations"]["runbook_url"].removeprefix(ADDRESS).partition("#")
            parts = re.split(r"^##+ (\w+)$", (RUNBOOKS / f"{page}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
            words = {heading.lower(): text.split() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}
            assert part == rule["alert"].lower()
            assert len(words[part]) > 20, f"too little to go by: {part}"
            led_to.add((page, part))
    assert sum(page == "kubernetes" for page, _ in led_to) == (RUNBOOKS / "kubernetes.md").read_text().count("\n## ")


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
