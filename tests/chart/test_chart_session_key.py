"""The Jobs that rotate session keys: what they may write, and that they run when they are told to and not before."""

import msgspec
import pytest
from chart.render import render, scenarios
from tallystick_cli.cluster.plan import Plan

SCENARIOS = scenarios()


@pytest.mark.control("IR-02")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_session_keys_are_rotated_by_a_job_that_may_write_two_objects_and_runs_when_told(releases, scenario):
    release = releases[scenario]
    jobs = release.of("CronJob")
    if scenario == "existing":  # its credentials come from elsewhere
        assert not jobs
        assert not [each for each in release.manifests if each["metadata"]["name"].endswith("-session-key")]
        return
    routine, leaked = (release.one("CronJob", name) for name in ("-session-key", "-distrust-key"))
    assert len(jobs) == 2
    role = release.one("Role", "-session-key")
    plan = msgspec.json.decode(release.one("ConfigMap", "-session-key")["data"]["plan.json"], type=Plan)
    assert role["rules"] == [
        {"apiGroups": [""], "resources": [kind], "verbs": ["get", "update"], "resourceNames": [plan.name(part)]}
        for kind, part in (("secrets", "identity"), ("configmaps", "trust"))
    ]
    (worker,) = release.one("Deployment", "-identity-worker")["spec"]["template"]["spec"]["containers"]
    for each, options in ((routine, []), (leaked, ["--distrust-old"])):
        assert len(each["metadata"]["name"]) <= 52, "what a CronJob's name may have"
        assert each["spec"]["suspend"] is True
        spec = each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert spec["serviceAccountName"] == release.one("ServiceAccount", "-session-key")["metadata"]["name"]
        (container,) = spec["containers"]
        command = ["tally", "cluster", "rotate-session-key", "--plan=/etc/tallystick/plan/plan.json", *options]
        assert container["command"] == command
        assert container["env"] == worker["env"], "identity writes it down there"
        assert worker["volumeMounts"] == container["volumeMounts"][:-1]
        assert {volume["name"] for volume in spec["volumes"]} == {mount["name"] for mount in container["volumeMounts"]}


def test_the_longest_names_are_not_too_long_for_what_is_run_when_told():
    release = render({**SCENARIOS["embedded"], "fullnameOverride": "x" * 60})
    assert max(len(each["metadata"]["name"]) for each in release.of("CronJob")) <= 52
