"""What the manifests say of one another holds: variables, files, ports, labels, arrows, hooks, credentials."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from chart.render import CHART, processes, render, scenarios
from tallystick_chassis.configuration_reference import services_settings
from tallystick_chassis.settings import MigrateSettings, setting_names
from tallystick_cli.cluster.credentials import LATER_CHECKPOINT_KEYS, fill
from tallystick_cli.cluster.plan import Plan
from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

SCENARIOS = scenarios()
SETTINGS = services_settings()
ROOT = CHART.parents[2]

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS)


@every_scenario
def test_every_variable_is_a_setting_and_every_setting_is_given(releases, scenario):
    seen = set()
    for service, process, container, _, _ in processes(releases[scenario]):
        known = setting_names(MigrateSettings if process == "migrate" else SETTINGS[service])
        given = [one["name"] for one in container["env"] if one["name"].startswith("TALLY_")]
        assert len(given) == len(set(given))
        bare = {name if name in known else name.removesuffix("_FILE") for name in given}
        assert bare <= set(known), f"{service} {process} reads no {bare - set(known)}"
        assert {name for name, needed in known.items() if needed} <= bare
        seen.add((service, process))
    assert {one for one in seen if one[1] != "wait"} == {
        (service, process) for service in SETTINGS for process in ("api", "worker", "migrate")
    }


def test_a_process_has_no_secret_that_is_not_its_own(releases):
    for service, process, container, spec, _ in processes(releases["external"]):
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        files = {
            item["key"]
            for volume in spec["volumes"]
            if volume["name"] in mounted and "secret" in volume
            for item in volume["secret"].get("items", ())
        }
        assert ("purge-dsn" in files) == ((service, process) == ("ledger", "worker"))
        assert ("migrate-dsn" in files) == (process == "migrate")
        assert ("checkpoint-key" in files) == (service == "ledger" and process != "migrate")
        assert ("session-keys.json" in files) == (service == "identity" and process != "migrate")
        assert not any("value" in one and "postgresql://" in one["value"] for one in container["env"])


@every_scenario
def test_every_file_that_a_variable_names_is_mounted(releases, scenario):
    for service, process, container, spec, name in processes(releases[scenario]):
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        for variable in container["env"]:
            value = variable.get("value", "")
            if not value.startswith("/etc/tallystick/"):
                continue
            folder, _, file = value.rpartition("/")
            volume = mounts.get(folder) or mounts[value]
            items = volume.get("secret", {}).get("items")
            if items is not None and folder in mounts:
                assert file in {item["path"] for item in items}, f"{name}: {value} ({service} {process})"


@pytest.mark.parametrize("scenario", ["embedded", "external", "traefik", "cloudnativepg"])
def test_the_credentials_job_makes_every_object_and_key_that_pods_mount(releases, scenario):
    release = releases[scenario]
    plan = msgspec.json.decode(release.one("ConfigMap", "-credentials")["data"]["plan.json"], type=Plan)
    made = fill(plan, {})
    brought = {"pg-admin", "tally-pg-superuser", "tally-pg-ca", "nats-tls", "tally-tallystick-ledger-checkpoint-keys"}
    rendered = {m["metadata"]["name"] for m in release.of("ConfigMap")}
    wanted = set()
    for _, pod in release.pods():
        for volume in pod["spec"].get("volumes", ()):
            sources = [volume, *volume.get("projected", {}).get("sources", ())]
            for source in sources:
                if "secret" in source:
                    name = source["secret"].get("secretName") or source["secret"]["name"]
                    wanted |= {(name, item["key"]) for item in source["secret"].get("items", [{"key": None}])}
                if "configMap" in source and source["configMap"]["name"] not in rendered:
                    wanted.add((source["configMap"]["name"], None))
        for container in pod["spec"]["containers"]:
            wanted |= {(one["configMapRef"]["name"], None) for one in container.get("envFrom", ())}
    assert len(wanted) > 40
    for name, key in wanted:
        if name not in brought:
            assert name in made
            assert key is None or made[name].data.get(key)


@every_scenario
def test_the_credentials_job_may_read_and_write_what_it_makes_or_heeds_and_nothing_else(releases, scenario):
    release = releases[scenario]
    roles = [each for each in release.of("Role") if each["metadata"]["name"].endswith("-credentials")]
    assert bool(roles) == (scenario != "existing")
    for role in roles:
        plan = msgspec.json.decode(release.one("ConfigMap", "-credentials")["data"]["plan.json"], type=Plan)
        made = fill(plan, {})
        create, secrets, public = role["rules"]
        assert (create["verbs"], create["resources"], set(create)) == (
            ["create"],
            ["secrets", "configmaps"],
            {"apiGroups", "resources", "verbs"},
        )
        for rule, resource in ((secrets, "secrets"), (public, "configmaps")):
            assert (rule["resources"], rule["verbs"]) == ([resource], ["get", "update"])
            wanted = {name for name, held in made.items() if held.public == (resource == "configmaps")}
            if resource == "secrets":  # an operator makes it; whether its keys are pinned is to be seen
                wanted.add(plan.name(LATER_CHECKPOINT_KEYS))
            assert set(rule["resourceNames"]) == wanted


def test_hooks_depend_on_nothing_that_is_no_hook(releases):
    for release in releases.values():
        hooks, rest = [], set()
        for manifest in release.manifests:
            if "pre-install" in manifest["metadata"].get("annotations", {}).get("helm.sh/hook", ""):
                hooks.append(manifest)
            elif manifest["kind"] in {"ConfigMap", "ServiceAccount", "PersistentVolumeClaim"}:
                rest.add(manifest["metadata"]["name"])
        weights = {}
        for hook in hooks:
            weights[f"{hook['kind']}/{hook['metadata']['name']}"] = int(
                hook["metadata"]["annotations"]["helm.sh/hook-weight"]
            )
            assert hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == (
                "before-hook-creation,hook-succeeded"
            )
            spec = hook.get("spec", {}).get("template", {}).get("spec", {})
            named = {spec.get("serviceAccountName")} | {
                volume.get("configMap", {}).get("name") or volume.get("persistentVolumeClaim", {}).get("claimName")
                for volume in spec.get("volumes", ())
            }
            assert named & rest == set(), hook["metadata"]["name"]
        job = [weight for name, weight in weights.items() if name.startswith("Job/") and "credentials" in name]
        before = [w for name, w in weights.items() if "credentials" in name and not name.startswith("Job/")]
        after = [w for name, w in weights.items() if "credentials" not in name]
        assert all(one < job[0] for one in before)
        assert not job or all(one > job[0] for one in after)


def test_an_external_database_is_migrated_before_services_start_and_an_embedded_one_is_waited_for(releases):
    for name, release in releases.items():
        (job,) = [m for m in release.of("Job") if "-database" in m["metadata"]["name"]]
        embedded = "StatefulSet" in {
            m["kind"] for m in release.manifests if m["metadata"]["name"].endswith("-postgres")
        }
        assert ("helm.sh/hook" in job["metadata"]["annotations"]) != embedded, name
        waits = [one for one in processes(release) if one[1] == "wait"]
        assert len([one for one in waits if not one[4].endswith("-test/wait")]) == (10 if embedded else 0)


@every_scenario
def test_every_pod_is_restricted(releases, scenario):
    for name, pod in releases[scenario].pods():
        spec = pod["spec"]
        with_token = ("-credentials", "-session-key", "-distrust-key")
        assert spec["automountServiceAccountToken"] == name.endswith(with_token), name
        assert spec["enableServiceLinks"] is False
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["fsGroup"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all(
            set(volume) - {"name"} <= {"secret", "configMap", "emptyDir", "projected", "persistentVolumeClaim"}
            for volume in spec.get("volumes", ())
        )
    for name, _, container in releases[scenario].containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"]["cpu"], name
        assert container["terminationMessagePath"] == "/dev/termination-log"


@every_scenario
def test_selectors_and_ports_meet(releases, scenario):
    release = releases[scenario]
    pods = [(name, pod["metadata"]["labels"], pod["spec"]) for name, pod in release.pods()]

    def selected(labels):
        return [spec for _, own, spec in pods if labels.items() <= own.items()]

    for service in release.of("Service"):
        found = selected(service["spec"]["selector"])
        assert len(found) == 1, service["metadata"]["name"]
        names = {port["name"] for container in found[0]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for budget in release.of("PodDisruptionBudget"):
        assert len(selected(budget["spec"]["selector"]["matchLabels"])) == 1
    for policy in release.of("NetworkPolicy"):
        assert selected(policy["spec"]["podSelector"]["matchLabels"]), policy["metadata"]["name"]
    for name, _, container in release.containers():
        ports = {port["name"] for port in container.get("ports", ())}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container.get(probe, {})
            port = asked.get("httpGet", asked.get("tcpSocket", {})).get("port")
            assert port is None or port in ports, name
    deployments = {m["metadata"]["name"] for m in release.of("Deployment")}
    for scaler in release.of("HorizontalPodAutoscaler", "ScaledObject"):
        assert scaler["spec"]["scaleTargetRef"]["name"] in deployments
        target = next(m for m in release.of("Deployment") if m["metadata"]["name"] == scaler["metadata"]["name"])
        assert "replicas" not in target["spec"]


@pytest.mark.control("X-10")
def test_what_nats_loses_is_put_back_by_a_pod_that_can_do_nothing_else(releases):
    for scenario, port in (("embedded", 4222), ("external", 4222), ("everything", 4222)):
        release = releases[scenario]
        keeper = release.one("Deployment", "-stream-keeper")
        (container,) = keeper["spec"]["template"]["spec"]["containers"]
        job = next(job for job in release.of("Job") if "-streams" in job["metadata"]["name"])
        (once,) = job["spec"]["template"]["spec"]["containers"]
        assert container["command"][:3] == ["tally", "cluster", "keep-streams"]
        assert container["command"][3] == once["command"][3]  # as many replicas
        assert keeper["spec"]["template"]["spec"]["restartPolicy"] == "Always"
        secrets = {
            volume["secret"]["secretName"]
            for volume in keeper["spec"]["template"]["spec"]["volumes"]
            if "secret" in volume
        }
        assert secrets == {f"{keeper['metadata']['name'].removesuffix('-stream-keeper')}-nats-keeper"}
        (way,) = release.one("NetworkPolicy", "-stream-keeper")["spec"]["egress"]
        assert [one["port"] for one in way["ports"]] == [port]
    accounts = (CHART / "files/nats-accounts.conf").read_text()
    assert "$NKEY_KEEPER" in accounts
    for scenario in ("existing", "off"):
        assert not [each for each in releases[scenario].manifests if "stream-keeper" in each["metadata"]["name"]]


def test_every_route_lies_on_one_path(releases):
    paths = {}
    for ingress in releases["external"].of("Ingress"):
        service = ingress["metadata"]["labels"]["app.kubernetes.io/component"]
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            assert path["backend"]["service"]["name"].endswith(f"-{service}")
            assert path["path"] not in paths
            paths[path["path"]] = service
    text = Path(ROOT / "docs/reference/routes.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    found = set()
    for section in sections:
        service = SERVICE_FOLDERS[ServiceName(section.split()[0])]
        for route in re.findall(r"\| `[A-Z]+ (/\S*)`", section):
            if route in {"/ready", "/api/v1/health"}:
                continue  # for kubelets
            owners = {owner for path, owner in paths.items() if (route + "/").startswith(path + "/")}
            assert owners == {service}, route
            found.add(service)
    assert found == set(SETTINGS)
    gateway = {
        match["path"]["value"]: route["metadata"]["labels"]["app.kubernetes.io/component"]
        for route in releases["everything"].of("HTTPRoute")
        for match in route["spec"]["rules"][0]["matches"]
    }
    assert gateway == paths


@pytest.mark.control("EN-01")
def test_the_edge_speaks_tls_and_says_so(releases):
    for ingress in (*releases["external"].of("Ingress"), *releases["traefik"].of("Ingress")):
        hosts = {rule["host"] for rule in ingress["spec"]["rules"]}
        assert {host for entry in ingress["spec"]["tls"] for host in entry["hosts"]} == hosts
        assert all(entry["secretName"] for entry in ingress["spec"]["tls"])
    for ingress in releases["external"].of("Ingress"):
        notes = ingress["metadata"]["annotations"]
        assert notes["nginx.ingress.kubernetes.io/force-ssl-redirect"] == "true"
        assert notes["nginx.ingress.kubernetes.io/backend-protocol"] == "HTTPS"
        assert notes["nginx.ingress.kubernetes.io/proxy-ssl-verify"] == "on"
        service = ingress["metadata"]["labels"]["app.kubernetes.io/component"]
        assert notes["nginx.ingress.kubernetes.io/proxy-ssl-name"] == f"tally-tallystick-{service}.exams.svc"
    (options,) = releases["traefik"].of("TLSOption")
    assert options["spec"]["minVersion"] == "VersionTLS13"
    (header,) = releases["traefik"].of("Middleware")
    assert header["spec"]["headers"]["stsSeconds"] >= 31_536_000
    for route in releases["everything"].of("HTTPRoute"):
        (rule,) = route["spec"]["rules"]
        assert "Strict-Transport-Security" in json.dumps(rule["filters"])
    assert len(releases["everything"].of("BackendTLSPolicy")) == 5


@pytest.mark.control("EN-01")
def test_nothing_inside_speaks_plain_text(releases):
    for release in releases.values():
        for _, process, container, _, _ in processes(release):
            values = {one["name"]: one.get("value", "") for one in container["env"]}
            assert values.get("TALLY_NATS_URL", "tls://").startswith("tls://")
            assert all(value.startswith("https://") for name, value in values.items() if name.startswith("TALLY_URL_"))
            if process == "api":
                assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    data = releases["embedded"].one("ConfigMap", "-postgres")["data"]["pg_hba.conf"]
    assert [line.split()[0] for line in data.splitlines() if line and line[0] != "#"] == ["local", "hostssl"]


def test_a_pod_has_time_to_drain(releases):
    for release in releases.values():
        for service, process, container, spec, _ in processes(release):
            if process in {"api", "worker"}:
                drain = next(float(one["value"]) for one in container["env"] if one["name"] == "TALLY_DRAIN_S")
                assert spec["terminationGracePeriodSeconds"] >= drain + 15, service


def test_the_ledgers_pods_share_the_node_of_their_volume(releases):
    trial = [
        m["spec"]["template"]["spec"]
        for m in releases["embedded"].of("Deployment")
        if "-ledger-" in m["metadata"]["name"]
    ]
    assert len(trial) == 2
    assert all("podAffinity" in spec["affinity"] for spec in trial)
    shared = releases["everything"].one("Deployment", "-ledger-api")["spec"]["template"]["spec"]
    assert "affinity" not in shared
    stored = releases["existing"].one("Deployment", "-ledger-api")["spec"]["template"]["spec"]
    assert "affinity" not in stored
    claim = releases["embedded"].one("PersistentVolumeClaim", "-high-water")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_marks_in_an_object_store_need_no_volume_and_only_the_ledger_has_the_key(releases):
    release = releases["existing"]
    assert [m for m in release.of("PersistentVolumeClaim") if "high-water" in m["metadata"]["name"]] == []
    with_key = set()
    for service, process, container, spec, _ in processes(release):
        assert "high-water" not in {volume["name"] for volume in spec.get("volumes", [])}
        assert "high-water" not in {mount["name"] for mount in container.get("volumeMounts", [])}
        said = {one["name"]: one.get("value") for one in container.get("env", [])}
        if "envFrom" in container:
            with_key.add(service)
            assert container["envFrom"] == [{"secretRef": {"name": "ledger-marks"}}], process
            assert said["TALLY_HIGH_WATER"] == "s3://tally-marks/production"
            assert (said["AWS_ENDPOINT"], said["AWS_REGION"]) == ("https://minio.storage:9000", "eu-central-1")
        else:
            assert not any(name.startswith("AWS_") for name in said)
    assert with_key == {"ledger"}
    for process in ("api", "worker"):
        ways = release.one("NetworkPolicy", f"-ledger-{process}")["spec"]["egress"]
        assert [way["ports"][0]["port"] for way in ways].count(9000) == 1
    ways = release.one("NetworkPolicy", "-identity-api")["spec"]["egress"]
    assert 9000 not in [way["ports"][0]["port"] for way in ways]


def test_notes_say_what_next(releases):
    for release in releases.values():
        # Where helm test has made an organisation before, there is no first one to be made any more.
        command = "add-tenant" if "/mail/box/new" in release.notes else "init"
        assert f"python -m tallystick_identity {command} --tenant acme" in release.notes
    assert "/mail/box/new" in releases["embedded"].notes
    assert "There is no way in from outside" in releases["embedded"].notes
    assert "There is no way in from outside" not in releases["external"].notes


@pytest.mark.parametrize(
    ("url", "ports"), [("https://localhost:9443", "9443:8443"), ("https://tally.example.org", "8443:8443")]
)
def test_notes_forward_the_port_that_browsers_are_sent_to(url, ports):
    notes = render({**scenarios()["embedded"], "publicUrl": url}).notes
    assert re.search(r"port-forward service/tally-tallystick-identity (\S+)", notes)[1] == ports


def test_notes_tell_keys_that_were_made_from_those_that_were_brought():
    brought = "Secrets that you brought"
    own = {**scenarios()["embedded"], "existingSecrets": {"identity": "vault-identity"}}
    assert brought in render(own).notes
    assert brought not in render(scenarios()["embedded"]).notes


def test_an_upgrade_renders_like_an_install():
    for values in SCENARIOS.values():
        assert render(values, is_upgrade=True).manifests == render(values).manifests
