"""Values that cannot work are refused with a sentence that says what to set."""

from pathlib import Path

import pytest
from chart.reference import CHARTS_OWN, OWN_SETTINGS
from chart.render import RefusedError, at, merged, processes, render, scenarios
from tallystick_contracts.topology import SERVICE_FOLDERS

SCENARIOS = scenarios()
EXTERNAL, TRIAL = SCENARIOS["external"], SCENARIOS["embedded"]

SENTENCES = {
    "no public address": (TRIAL, at("publicUrl", ""), "publicUrl is missing: set it to the https address"),
    "no origin": (TRIAL, at("ledgerOrigin", ""), "ledgerOrigin is missing: set it to a name of your own"),
    "no sender": (TRIAL, at("mail.from", ""), "mail.from is missing"),
    "no database": (TRIAL, at("postgres.embedded.enabled", value=False), "there is no Postgres: set postgres.host"),
    "two databases": (TRIAL, at("postgres.host", "pg"), "postgres.host and postgres.embedded.enabled exclude"),
    "no NATS": (TRIAL, at("nats.embedded.enabled", value=False), "there is no NATS: set nats.url"),
    "two NATS": (TRIAL, at("nats.url", "tls://n:4222"), "nats.url and nats.embedded.enabled exclude"),
    "three copies on one server": (TRIAL, at("nats.streams.replicas", 3), "nats.streams.replicas must be 1"),
    "no mail": (TRIAL, at("mail.embedded.enabled", value=False), "nobody can sign in without mail: set mail.host"),
    "two mail servers": (TRIAL, at("mail.host", "m"), "mail.host and mail.embedded.enabled exclude"),
    "nobody makes secrets": (TRIAL, at("credentials.generate", value=False), "set credentials.generate to true"),
    "no issuer": (EXTERNAL, at("certificates.source", "certManager"), "certificates.certManager.issuer is missing"),
    "an unknown authority": (EXTERNAL, at("trust.certificates", ""), "set trust.certificates to its authority's"),
    "unread authorities": (
        SCENARIOS["existing"],
        at("trust.existingSecrets", [{"name": "a", "key": "b"}]),
        "trust.existingSecrets are read by the credentials Job",
    ),
    "all visitors in one": (EXTERNAL, at("trustedProxies", []), "trustedProxies is missing: set it to the networks"),
    "no certificate outside": (EXTERNAL, at("ingress.tlsSecret", ""), "ingress.tlsSecret is missing"),
    "no certificate for the other host": (
        EXTERNAL,
        at("ingress.verificationTlsSecret", ""),
        "ingress.verificationTlsSecret is missing",
    ),
    "two edges": (
        EXTERNAL,
        {"gateway": {"enabled": True, "parentRefs": [{"name": "x"}]}},
        "ingress.enabled and gateway.enabled exclude",
    ),
    "no gateway": (SCENARIOS["everything"], at("gateway.parentRefs", []), "gateway.parentRefs is missing"),
    "a closed door": (EXTERNAL, at("networkPolicy.ingressFrom", []), "networkPolicy.ingressFrom is missing"),
    "no way to Postgres": (EXTERNAL, at("networkPolicy.egress.postgres", []), "say where postgres.host is"),
    "no way to NATS": (EXTERNAL, at("networkPolicy.egress.nats", []), "say where nats.url is"),
    "no way to mail": (EXTERNAL, at("networkPolicy.egress.mail", []), "say where mail.host is"),
    "no way to the collector": (EXTERNAL, at("telemetry.otlpEndpoint", "http://c"), "networkPolicy.egress.otlp"),
    "no way to the marks": (
        SCENARIOS["existing"],
        at("networkPolicy.egress.objectStore", []),
        "networkPolicy.egress.objectStore is missing",
    ),
    "marks in two places": (
        SCENARIOS["existing"],
        at("services.ledger.highWater.existingClaim", "marks"),
        "services.ledger.highWater.url and services.ledger.highWater.existingClaim exclude",
    ),
    "a key to no store": (
        EXTERNAL,
        at("services.ledger.highWater.existingSecret", "marks"),
        "services.ledger.highWater.url is missing",
    ),
    "replicas beside a scaler": (
        EXTERNAL,
        {"api": {"replicas": 3, "autoscaling": {"enabled": True}}},
        "- api has replicas and a scaler, which would fight: unset replicas, or the scaler (or services.<name>.api)\n",
    ),
    "replicas of one beside a scaler": (
        EXTERNAL,
        {
            "worker": {"keda": {"enabled": True, "monitoringEndpoint": "n:8222"}},
            "services": {"ledger": {"worker": {"replicas": 2}}},
        },
        "- services.ledger.worker has replicas and a scaler, which would fight: unset replicas, or the scaler (or work",
    ),
    "two scalers": (
        EXTERNAL,
        {"worker": {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "monitoringEndpoint": "n:8222"}}},
        "- worker has two scalers",
    ),
    "a blind scaler": (EXTERNAL, at("worker.keda.enabled", value=True), "keda.monitoringEndpoint is missing"),
    "fewest above most": (
        EXTERNAL,
        {"api": {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}},
        "autoscaling.minReplicas is above maxReplicas",
    ),
    "both bounds": (
        EXTERNAL,
        {"api": {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}},
        "- api.podDisruptionBudget has both bounds, Kubernetes takes one: unset minAvailable or maxUnavailable",
    ),
    "a bound of one beside another of all": (
        EXTERNAL,
        {
            "worker": {"podDisruptionBudget": {"minAvailable": 1}},
            "services": {"ledger": {"worker": {"podDisruptionBudget": {"maxUnavailable": 1}}}},
        },
        (
            "- services.ledger.worker.podDisruptionBudget has both bounds, Kubernetes takes one: unset minAvailable or "
            "maxUnavailable (or worker's)"
        ),
    ),
    "a password in a variable": (
        EXTERNAL,
        at("extraEnv", [{"name": "TALLY_DSN", "value": "postgresql://u:p@h/d"}]),
        "extraEnv must not hold TALLY_DSN: put settings into settings, and secrets into a Secret",
    ),
    "plain HTTP outside": (
        EXTERNAL,
        at("publicUrl", "http://tally.example.org"),
        "publicUrl must begin with https:// and have no path, for there is no plain HTTP: set it to the address",
    ),
    "plain HTTP for verifying": (
        EXTERNAL,
        at("verificationUrl", "http://verify.example.org"),
        "verificationUrl must begin with https://",
    ),
    "a path in the address": (EXTERNAL, at("publicUrl", "https://example.org/tally"), "publicUrl must begin with"),
    "plain text to NATS": (
        EXTERNAL,
        at("nats.url", "nats://n:4222"),
        "nats.url must begin with tls://, for NATS is not spoken to in plain text: set it to such as tls://",
    ),
    "mail in plain text": (EXTERNAL, at("mail.tls", "none"), "mail.tls must be starttls or implicit"),
    "a collector without a scheme": (
        EXTERNAL,
        at("telemetry.otlpEndpoint", "c:4318"),
        "telemetry.otlpEndpoint must begin with http:// or https://",
    ),
    "marks without TLS": (
        SCENARIOS["existing"],
        at("services.ledger.highWater.endpoint", "http://minio:9000"),
        "services.ledger.highWater.endpoint must begin with https://",
    ),
    "a setting that the chart sets": (
        EXTERNAL,
        at("settings.TALLY_SMTP_TLS", "none"),
        "settings.TALLY_SMTP_TLS is set by the chart: set mail.tls instead",
    ),
    "another ledger": (
        EXTERNAL,
        at("services.identity.settings.TALLY_URL_LEDGER", "https://l"),
        "services.identity.settings.TALLY_URL_LEDGER is set by the chart: unset it",
    ),
}

CANARY = "geheim-canary"
PLAIN_SECRETS = {
    "in the address of browsers": (
        at("publicUrl", f"https://u:{CANARY}@tally.example.org"),
        "publicUrl must not hold a user or a password: set it to the address alone",
    ),
    "in the database's host": (
        at("postgres.host", f"postgresql://u:{CANARY}@pg"),
        (
            "postgres.host must not hold a user or a password, nor anything but a host's name: set it to such as "
            "pg.example.org, and put each service's addresses of the database into the Secrets named in existingSecrets"
        ),
    ),
    "before the database's host": (at("postgres.host", f"u:{CANARY}@pg"), "postgres.host must not hold a user"),
    "as the database's password": (
        at("postgres.password", CANARY),
        "postgres.password is none of the chart's values: unset it, and put each service's addresses of the database",
    ),
    "in NATS' address": (
        at("nats.url", f"tls://u:{CANARY}@nats:4222"),
        (
            "nats.url must not hold a user or a password: set it to such as tls://nats.nats.svc:4222, and put each "
            "service's nkey seed into the Secret named in existingSecrets.<service>, key nats-seed"
        ),
    ),
    "as NATS' password": (at("nats.password", CANARY), "nats.password is none of the chart's values: unset it"),
    "in the mail server's host": (
        at("mail.host", f"u:{CANARY}@smtp"),
        "mail.host must not hold a user or a password, nor anything but a host's name: set it to such as smtp.example",
    ),
    "as the mail server's password": (at("mail.password", CANARY), "mail.password is none of the chart's values"),
    "in the collector's address": (
        at("telemetry.otlpEndpoint", f"http://u:{CANARY}@h:4318"),
        "telemetry.otlpEndpoint must not hold a user or a password: set it to such as http://collector",
    ),
    "in the store's address": (
        at("services.ledger.highWater.url", f"s3://k:{CANARY}@bucket"),
        "put the store's credentials into the Secret named in services.ledger.highWater.existingSecret",
    ),
    "in NATS' monitoring": (
        {"worker": {"keda": {"enabled": True, "monitoringEndpoint": f"u:{CANARY}@n:8222"}}},
        "- worker.keda.monitoringEndpoint must not hold a user or a password: set it to host:port alone",
    ),
    "as everybody's variable": (
        at("extraEnv", [{"name": "PGPASSWORD", "value": CANARY}]),
        "- extraEnv must not hold PGPASSWORD in plain text: unset value, and use valueFrom.secretKeyRef",
    ),
    "as a service's variable": (
        at("services.ledger.extraEnv", [{"name": "aws_secret_access_key", "value": CANARY}]),
        "- services.ledger.extraEnv must not hold aws_secret_access_key in plain text: unset value, and use valueFrom",
    ),
    "in a variable's address": (
        at("extraEnv", [{"name": "HTTPS_PROXY", "value": f"http://u:{CANARY}@proxy"}]),
        "extraEnv must not hold an address with a user or a password, as HTTPS_PROXY does",
    ),
    "as everybody's setting": (
        at("settings.TALLY_DSN", f"postgresql://u:{CANARY}@h/d"),
        (
            "- settings.TALLY_DSN is a secret, which values must not hold: put it into the Secret named in "
            "existingSecrets.<service>, key dsn"
        ),
    ),
    "as a service's setting": (
        at("services.identity.settings.TALLY_NATS_SEED", CANARY),
        (
            "- services.identity.settings.TALLY_NATS_SEED is a secret, which values must not hold: put it into the "
            "Secret named in existingSecrets.identity, key nats-seed"
        ),
    ),
}

SHAPES = {
    "a typing error": at("postgres.hots", "pg"),
    "a typing error in a service": at("services.ledger.highwater", {}),
    "a service that is not there": at("services.billing", {}),
    "a setting that no service has": at("settings.TALLY_COLOUR", "red"),
    "another service's setting": at("services.ledger.settings.TALLY_SESSION_IDLE_MINUTES", 5),
    "a Secret for nothing": at("existingSecrets.billing", "x"),
    "a tag for a digest": at("services.ledger.digest", "latest"),
    "a network without a width": at("trustedProxies", ["10.0.0.1"]),
    "no certificate in the certificates": at("trust.certificates", "hello"),
    "two copies of a stream": at("nats.streams.replicas", 2),
    "a keeper that never looks": at("nats.streams.keeper.everySeconds", 0),
    "a peer that is none": at("networkPolicy.egress.openid", [{"host": "login.example.org"}]),
    "a peer without a word": at("networkPolicy.egress.siem", [{}]),
    "an address without a width": at("networkPolicy.egress.siem", [{"ipBlock": {"cidr": "10.0.9.27"}}]),
    "a port that is none": at("networkPolicy.egress.siemPorts", [70000]),
    "every port": at("networkPolicy.egress.openidPorts", []),
    "marks in a web server": at("services.ledger.highWater.url", "https://example.org/marks"),
    "a size without a unit": at("services.ledger.highWater.size", "5"),
    "a port of the privileged": at("port", 443),
    "an unknown ingress controller": at("ingress.controller", "apache"),
    "text for a switch": at("ingress.enabled", "yes"),
}


@pytest.mark.control("EN-01")
@pytest.mark.parametrize("case", SENTENCES)
def test_a_sentence_says_what_to_set(case):
    values, change, sentence = SENTENCES[case]
    render(values)
    with pytest.raises(RefusedError) as refused:
        render(merged(values, change))
    assert "These values cannot work:" in str(refused.value)
    assert sentence in str(refused.value)


@pytest.mark.control("EN-01")
@pytest.mark.parametrize("case", PLAIN_SECRETS)
def test_a_secret_in_plain_text_is_refused_with_where_it_belongs_and_not_repeated(case):
    change, sentence = PLAIN_SECRETS[case]
    with pytest.raises(RefusedError) as refused:
        render(merged(EXTERNAL, change))
    assert "These values cannot work:" in str(refused.value)
    assert sentence in str(refused.value)
    assert CANARY not in str(refused.value)


def test_a_secret_is_named_where_it_belongs_as_pods_read_it():
    files = {
        variable: Path(value)
        for _, process, container, _, _ in processes(render(EXTERNAL))
        if process in {"api", "worker"}
        for variable, value in ((each["name"], each.get("value", "")) for each in container["env"])
        if value.startswith("/etc/tallystick/secrets/") and variable.endswith("_FILE")
    }
    named = {f"{variable}_FILE": key for variable, key in OWN_SETTINGS["secrets"].items()}
    assert named == {variable: file.name for variable, file in files.items()}


@pytest.mark.parametrize("variable", sorted(CHARTS_OWN))
def test_what_the_chart_sets_itself_is_said_to_be_set_otherwise(variable):
    with pytest.raises(RefusedError) as refused:
        render(merged(EXTERNAL, at(f"services.verification.settings.{variable}", "x")))
    assert f"- services.verification.settings.{variable} is " in str(refused.value)


def test_variables_that_are_no_secrets_may_be_set():
    reference = {"secretKeyRef": {"name": "proxy", "key": "url"}}
    variables = [
        {"name": "TZ", "value": "UTC"},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/token"},
        {"name": "HTTPS_PROXY", "valueFrom": reference},
        {"name": "PGPASSWORD", "valueFrom": reference},
        {"name": "NO_PROXY", "value": "http://proxy/a@b"},
    ]
    found = processes(render(merged(EXTERNAL, at("extraEnv", variables))))
    environments = [container["env"] for _, process, container, _, _ in found if process in {"api", "worker"}]
    assert len(environments) == 10
    assert all(each in environment for environment in environments for each in variables)


def test_what_does_not_fit_in_everybodys_values_is_said_once():
    with pytest.raises(RefusedError) as refused:
        render(merged(EXTERNAL, {"api": {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}}))
    assert str(refused.value).count("podDisruptionBudget") == 1


def test_what_each_service_mends_for_itself_is_in_order():
    mended = {"api": {"podDisruptionBudget": {"enabled": False}}}
    values = {
        "api": {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}},
        "services": dict.fromkeys(SERVICE_FOLDERS.values(), mended),
    }
    render(merged(EXTERNAL, values))


@pytest.mark.parametrize("case", SHAPES)
def test_the_schema_refuses(case):
    with pytest.raises(RefusedError) as refused:
        render(merged(EXTERNAL, SHAPES[case]))
    assert "\n- at '/" in str(refused.value)  # it says where


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(RefusedError) as refused:
        render({})
    said = str(refused.value)
    assert all(word in said for word in ("publicUrl", "ledgerOrigin", "mail.from", "no Postgres", "no NATS"))
