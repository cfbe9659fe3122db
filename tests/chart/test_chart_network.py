"""Who may talk to whom: each call has its policy, each policy its call, and an upgrade's first Job is not shut in."""

import json
import re

import pytest
from chart.render import processes, scenarios
from tallystick_chassis.configuration_reference import services_settings

SETTINGS = services_settings()


@pytest.mark.parametrize("scenario", ["embedded", "external", "everything"])
def test_every_call_has_an_arrow_and_every_arrow_a_call(releases, scenario):
    release = releases[scenario]
    policies = {}
    for policy in release.of("NetworkPolicy"):
        component = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
        policies[component] = policy["spec"]

    def peers(rules, key):
        return {
            peer["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
            for rule in rules
            for peer in rule[key]
            if "podSelector" in peer
        } - {None}

    called = set()
    for service, process, container, _, _ in processes(release):
        if process not in {"api", "worker"}:
            continue
        urls = [one["value"] for one in container["env"] if re.fullmatch(r"TALLY_URL_\w+", one["name"])]
        inside = {re.match(r"https://tally-(?:tallystick-)?([\w-]+)\.exams\.svc:", url) for url in urls} - {None}
        targets = {f"{match[1]}-api" for match in inside}
        allowed = peers(policies[f"{service}-{process}"]["egress"], "to")
        assert targets == {peer for peer in allowed if peer.endswith("-api")}
        called |= {(f"{service}-{process}", target) for target in targets}
    for service in SETTINGS:
        callers = peers(policies[f"{service}-api"]["ingress"], "from") - {"test"}
        assert callers == {caller for caller, target in called if target == f"{service}-api"}
        assert "ingress" not in policies[f"{service}-worker"]
    text = json.dumps(release.of("NetworkPolicy"))
    assert "0.0.0.0/0" not in text


def test_what_tenants_name_outside_is_closed_until_the_operator_opens_it(releases):
    def ways(scenario, process):
        return releases[scenario].one("NetworkPolicy", f"-{process}")["spec"]["egress"]

    providers = {
        "to": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.128/25"]}}],
        "ports": [{"protocol": "TCP", "port": 443}],
    }
    siems = {
        "to": [{"ipBlock": {"cidr": "10.0.9.27/32"}}],
        "ports": [{"protocol": "TCP", "port": 6514}, {"protocol": "TCP", "port": 8088}],
    }
    for service in SETTINGS:
        for process in (f"{service}-api", f"{service}-worker"):
            assert (providers in ways("everything", process)) == (process == "identity-api")
            assert (siems in ways("everything", process)) == (process == "ledger-worker")
    for way in (*ways("external", "identity-api"), *ways("external", "ledger-worker")):
        assert all("podSelector" in peer for peer in way["to"]) or way["ports"][0]["port"] in {5432, 4222, 25}, way


def selects(policy, labels):
    selector = policy["spec"]["podSelector"]
    for one in selector.get("matchExpressions", ()):
        assert one["operator"] == "NotIn"
        if labels.get(one["key"]) in one["values"]:
            return False
    return selector["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("scenario", scenarios())
def test_jobs_that_ask_kubernetes_reach_it_and_every_other_pod_is_restricted(releases, scenario):
    release = releases[scenario]
    policies = [each for each in release.of("NetworkPolicy") if "Egress" in each["spec"]["policyTypes"]]
    for name, pod in release.pods():
        labels = pod["metadata"]["labels"]
        mine = [each for each in policies if selects(each, labels)]
        if labels["app.kubernetes.io/component"] in {"credentials", "session-key"}:
            # One runs before an upgrade, when the policies stand already: one for DNS alone would shut it in.
            ways = [way for each in mine for way in each["spec"].get("egress", ())]
            assert not mine or any("ipBlock" in peer for way in ways for peer in way["to"]), name
            if mine and "session" in name:
                assert 5432 in {port["port"] for way in ways for port in way.get("ports", ())}, name
        elif policies:
            assert any(each["metadata"]["name"].endswith("-deny") for each in mine), name
