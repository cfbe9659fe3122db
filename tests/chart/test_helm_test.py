"""The test pod: the main job in a trial, with no more rights than it needs; elsewhere what it leaves out, and why."""

import pytest
from chart.render import at, merged, render, scenarios
from tallystick_cli.cluster.main_job import ADMINISTRATOR, MAIL_DOMAIN, address_of
from tallystick_identity.tenants.domain import is_slug

TRIAL = scenarios()["embedded"]
POD_UID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def pod_of(release):
    (pod,) = [m for m in release.of("Pod") if m["metadata"]["name"].endswith("-test")]
    return pod["spec"]


def command_of(release):
    return pod_of(release)["containers"][0]["command"]


def rules_of(release, component):
    """Yield the ports and the components of each rule for what comes into a component's pods."""
    for policy in release.of("NetworkPolicy"):
        if policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component") == component:
            for rule in policy["spec"].get("ingress", ()):
                peers = {each["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for each in rule["from"]}
                yield [each["port"] for each in rule["ports"]], peers


def test_a_trial_is_tested_in_an_organisation_of_the_runs_own(releases):
    pod = pod_of(releases["embedded"])
    wait, add = pod["initContainers"]
    assert (wait["command"][3], add["command"][3]) == ("wait", "add-tenant")
    told = [one.replace("$(POD_UID)", POD_UID) for one in (*add["command"], *pod["containers"][0]["command"])]
    slug = f"run-{POD_UID}"
    assert is_slug(slug)
    assert told.count(f"--tenant={slug}") == 2
    assert f"--admin-email={address_of(slug, ADMINISTRATOR)}" in told
    for container in (add, pod["containers"][0]):
        assert {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}} in container["env"]


def test_who_plays_the_people_has_no_credentials(releases):
    (container,) = pod_of(releases["embedded"])["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {"tmp", "trust"}
    assert {one["name"] for one in container["env"]} == {"POD_UID", "TALLY_TERMINATION_LOG"}


def test_the_window_is_for_the_test_pod_alone_and_shows_made_up_people_alone(releases):
    release = releases["embedded"]
    assert list(rules_of(release, "mail")) == [([2525], {"identity-worker"}), ([8443], {"test"})]
    (mail,) = release.one("Deployment", "-mail")["spec"]["template"]["spec"]["containers"]
    assert f"--window-domain={MAIL_DOMAIN}" in mail["command"]
    assert {"--window-port=8443", "--certificate=/etc/tallystick/tls/tls.crt"} <= set(mail["command"])


@pytest.mark.parametrize("switch", ["tests.mainJob", "tests.enabled"])
def test_without_the_main_job_there_is_no_window_and_no_way_to_postgres(switch):
    release = render(merged(TRIAL, at(switch, value=False)))
    assert [ports for ports, _ in rules_of(release, "mail")] == [[2525]]
    assert not any("test" in peers for _, peers in rules_of(release, "postgres"))
    (mail,) = release.one("Deployment", "-mail")["spec"]["template"]["spec"]["containers"]
    assert [port["name"] for port in mail["ports"]] == ["smtp"]
    assert "--window" not in " ".join(mail["command"])
    if switch == "tests.mainJob":
        assert "--left-out=tests.mainJob is not set" in command_of(release)
        assert "initContainers" not in pod_of(release)


@pytest.mark.parametrize("scenario", ["external", "existing", "cloudnativepg"])
def test_where_mails_go_elsewhere_the_main_job_is_left_out_and_the_test_pod_says_why(releases, scenario):
    release = releases[scenario]
    (left_out,) = [one for one in command_of(release) if one.startswith("--left-out=")]
    assert scenarios()[scenario]["mail"]["host"] in left_out
    assert not [one for one in command_of(release) if one.startswith("--tenant")]
    assert {volume["name"] for volume in pod_of(release)["volumes"]} == {"trust", "tmp"}
