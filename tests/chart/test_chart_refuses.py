"""Values that cannot work are refused with a sentence that says what to set."""

import pytest
from chart.render import RefusedError, at, merged, render, scenarios

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
        "services.identity.api has replicas and a scaler, which would fight: unset replicas",
    ),
    "replicas of one beside a scaler": (
        EXTERNAL,
        {
            "worker": {"keda": {"enabled": True, "monitoringEndpoint": "n:8222"}},
            "services": {"ledger": {"worker": {"replicas": 2}}},
        },
        "services.ledger.worker has replicas and a scaler",
    ),
    "two scalers": (
        EXTERNAL,
        {"worker": {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "monitoringEndpoint": "n:8222"}}},
        "services.identity.worker has two scalers",
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
        "podDisruptionBudget has both bounds, Kubernetes takes one",
    ),
    "a password in a variable": (
        EXTERNAL,
        at("extraEnv", [{"name": "TALLY_DSN", "value": "postgresql://u:p@h/d"}]),
        "extraEnv must not hold TALLY_DSN: put settings into settings, and secrets into a Secret",
    ),
}

SHAPES = {
    "a typing error": at("postgres.hots", "pg"),
    "a typing error in a service": at("services.ledger.highwater", {}),
    "a service that is not there": at("services.billing", {}),
    "plain HTTP outside": at("publicUrl", "http://tally.example.org"),
    "plain text to NATS": at("nats.url", "nats://n:4222"),
    "a password in the values": at("postgres.password", "secret"),
    "a secret as a setting": at("settings.TALLY_DSN", "postgresql://u:p@h/d"),
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
    "marks without TLS": at("services.ledger.highWater.endpoint", "http://minio:9000"),
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
