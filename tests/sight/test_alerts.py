"""Alerts fire when they should and not before, their runbooks exist, and what they ask for is measured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sight.__main__ import ROOT, files
from sight.alerts import ALERTS, RUNBOOKS
from sight.dashboards import DASHBOARDS, render
from tallystick_chassis.metric_catalogue import METRICS, Kind
from tallystick_chassis.telemetry_reference import prometheus_name
from tallystick_contracts.registry import REGISTRY

PROMTOOL = shutil.which("promtool", path=f"{ROOT / '.venv/promtool/usr/bin'}{os.pathsep}{os.environ['PATH']}")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None and os.environ.get("TALLY_PROMTOOL") != "required", reason="no promtool: `make promtool`"
)
NS = 'service_namespace="tallystick"'
WELL = {"service_namespace": "tallystick"}


def recorded(event_type: str, values: str) -> dict[str, str]:
    return {
        "series": f'tallystick_ledger_recorded_total{{{NS}, tallystick_event_type="{event_type}"}}',
        "values": values,
    }


def gauge(metric: str, values: str, **labels: str) -> dict[str, str]:
    named = "".join(f', {name}="{value}"' for name, value in labels.items())
    return {"series": f"{metric}{{{NS}{named}}}", "values": values}


def requests(status: str, values: str) -> dict[str, str]:
    return gauge("http_server_request_duration_seconds_count", values, http_response_status_code=status)


def event(event_type: str) -> tuple[list[dict[str, str]], str, dict[str, str]]:
    """The first of a rare event, a quarter of an hour after the writer began to count from 0."""
    return [recorded(event_type, "0x15 1x5")], "17m", {"tallystick_event_type": event_type}


JUMP = "0x15 {0}x5"
FIRES: dict[str, tuple[list[dict[str, str]], str, dict[str, str]]] = {
    "TallystickSpray": ([recorded("identity.login.failed", JUMP.format(200))], "17m", {}),
    "TallystickSuccessAfterFailures": (
        [recorded("identity.login.failed", "0x5 300x30"), recorded("identity.login.succeeded", "0x24 1x5")],
        "26m",
        {},
    ),
    "TallystickAccountsLocked": (
        [recorded("identity.account.locked", JUMP.format(30))],
        "17m",
        {"tallystick_event_type": "identity.account.locked"},
    ),
    "TallystickFactorRemoved": event("identity.mfa.removed"),
    "TallystickPrivilegedChange": event("identity.role.assigned"),
    "TallystickCrossTenantAttempt": event("authz.cross_tenant.attempted"),
    "TallystickMassRemediation": (
        [recorded("assessment.remediation.applied", JUMP.format(60))],
        "17m",
        {"tallystick_event_type": "assessment.remediation.applied"},
    ),
    "TallystickMassExport": (
        [recorded("ledger.export.downloaded", JUMP.format(120))],
        "17m",
        {"tallystick_event_type": "ledger.export.downloaded"},
    ),
    "TallystickMassErasure": (
        [recorded("privacy.erasure.ordered", JUMP.format(120))],
        "17m",
        {"tallystick_event_type": "privacy.erasure.ordered"},
    ),
    "TallystickBreakGlass": event("identity.token_version.bumped"),
    "TallystickRateLimits": (
        [gauge("tallystick_rate_limit_exceeded_total", JUMP.format(1000), tallystick_budget="login.address")],
        "17m",
        {"tallystick_budget": "login.address"},
    ),
    "TallystickLogFrozen": ([gauge("tallystick_ledger_frozen", "0 1x5")], "2m", {}),
    "TallystickLogSucceeded": event("ledger.log.succeeded"),
    "TallystickQuarantine": ([gauge("tallystick_ledger_quarantined", "0 1x5")], "2m", {}),
    "TallystickReceiptRefused": (
        [gauge("tallystick_receipts_refused_total", "0x15 1x5", service_name="tallystick-identity")],
        "17m",
        {"service_name": "tallystick-identity"},
    ),
    "TallystickCheckpointStale": (
        [gauge("tallystick_ledger_checkpoint_age_seconds", "301x9"), gauge("tallystick_outbox_age_seconds", "301x9")],
        "3m",
        {},
    ),
    "TallystickVerificationStale": ([gauge("tallystick_ledger_verification_age_seconds", "301x9")], "3m", {}),
    "TallystickSelfTest": (
        [
            gauge(
                "tallystick_readiness_failing",
                "0 1x5",
                tallystick_check="row_level_security",
                service_name="tallystick-ledger",
            )
        ],
        "2m",
        {"service_name": "tallystick-ledger"},
    ),
    "TallystickProofsPending": ([gauge("tallystick_proofs_pending", "3x40")], "31m", {}),
    "TallystickOutboxStuck": (
        [gauge("tallystick_outbox_age_seconds", "301x9", service_name="tallystick-identity")],
        "3m",
        {"service_name": "tallystick-identity"},
    ),
    "TallystickConsumerLags": (
        [gauge("tallystick_consumer_lag", "1001x20", messaging_consumer_group_name="privacy")],
        "11m",
        {"messaging_consumer_group_name": "privacy"},
    ),
    "TallystickDeadLetters": (
        [gauge("tallystick_dead_letters", "1x9", messaging_consumer_group_name="privacy")],
        "2m",
        {"messaging_consumer_group_name": "privacy"},
    ),
    "TallystickSiemBehind": ([gauge("tallystick_siem_waiting", "1001x40")], "31m", {}),
    "TallystickJobStuck": (
        [gauge("tallystick_job_age_seconds", "601x9", service_name="tallystick-ledger", tallystick_job="writer")],
        "2m",
        {"service_name": "tallystick-ledger", "tallystick_job": "writer"},
    ),
    "TallystickRevocationStale": (
        [gauge("tallystick_session_epoch_age_seconds", "11x9", service_name="tallystick-ledger")],
        "3m",
        {"service_name": "tallystick-ledger"},
    ),
    "TallystickErasureLate": ([gauge("tallystick_erasure_age_seconds", "604801x9")], "1m", {}),
    "TallystickMailRefused": (
        [gauge("tallystick_mail_sent_total", JUMP.format(12), tallystick_outcome="refused")],
        "17m",
        {},
    ),
    "TallystickErrorBudgetBurnsFast": ([requests("200", "0+98x120"), requests("500", "0+2x120")], "70m", {}),
    "TallystickErrorBudgetBurns": ([requests("200", "0+99x500"), requests("500", "0+1x500")], "400m", {}),
    "TallystickSlow": (
        [
            gauge(
                "http_server_request_duration_seconds_bucket", "0+1x40", le="2.5", service_name="tallystick-identity"
            ),
            gauge("http_server_request_duration_seconds_bucket", "0+5x40", le="5", service_name="tallystick-identity"),
            gauge(
                "http_server_request_duration_seconds_bucket", "0+5x40", le="+Inf", service_name="tallystick-identity"
            ),
        ],
        "30m",
        {"service_name": "tallystick-identity"},
    ),
    "TallystickPoolSaturated": (
        [
            gauge(
                "db_client_connection_count",
                "10x20",
                service_name="tallystick-identity",
                db_client_connection_pool_name="runtime",
                db_client_connection_state="used",
            ),
            gauge(
                "db_client_connection_max",
                "10x20",
                service_name="tallystick-identity",
                db_client_connection_pool_name="runtime",
            ),
        ],
        "6m",
        {"service_name": "tallystick-identity", "db_client_connection_pool_name": "runtime"},
    ),
    "TallystickNotReady": (
        [
            gauge(
                "tallystick_readiness_failing",
                "1x20",
                service_name="tallystick-ledger",
                tallystick_process="api",
                tallystick_check="database",
            )
        ],
        "6m",
        {"service_name": "tallystick-ledger", "tallystick_process": "api", "tallystick_check": "database"},
    ),
    "TallystickSilent": ([], "11m", {"service_name": "tallystick-ledger", "tallystick_process": "worker"}),
}
"""For each alert the series that make it fire, when it must have, and its labels."""

QUIET = [
    *(recorded(one, "5+1x600") for one in ("identity.login.succeeded", "assessment.score.recorded")),
    *(recorded(one, "0x600") for one in ("identity.mfa.removed", "authz.cross_tenant.attempted")),
    recorded("identity.login.failed", "0+1x600"),
    requests("200", "0+1000x600"),
    requests("500", "0x600"),
    gauge("tallystick_ledger_frozen", "0x600"),
    gauge("tallystick_ledger_quarantined", "0x600"),
    # Nothing happens at night: no new checkpoint for hours is right where nothing waits.
    gauge("tallystick_ledger_checkpoint_age_seconds", "9000+60x600"),
    gauge("tallystick_ledger_verification_age_seconds", "30x600"),
    gauge("tallystick_outbox_age_seconds", "2x600", service_name="tallystick-identity"),
    gauge("tallystick_consumer_lag", "900x600", messaging_consumer_group_name="privacy"),
    gauge("tallystick_job_age_seconds", "1x600", service_name="tallystick-ledger", tallystick_job="writer"),
    gauge(
        "tallystick_job_age_seconds", "3000x600", service_name="tallystick-ledger", tallystick_job="compact-high-water"
    ),
    gauge("tallystick_session_epoch_age_seconds", "0.4x600", service_name="tallystick-ledger"),
    gauge("tallystick_erasure_age_seconds", "3600x600"),
    gauge("tallystick_readiness_failing", "0x600", service_name="tallystick-ledger", tallystick_check="database"),
    gauge("process_memory_usage_bytes", "1e8x600", service_name="tallystick-ledger", tallystick_process="worker"),
    # One failure for a moment is no outage.
    gauge("tallystick_proofs_pending", "_x5 3 0x594"),
]


def promtool(*arguments: str) -> str:
    assert PROMTOOL is not None, "promtool is required here: `make promtool`"
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(tmp_path: Path, tests: list[dict[str, Any]]) -> None:
    document = {
        "rule_files": [str(ROOT / "deploy/prometheus/alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": tests,
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    promtool("test", "rules", str(tmp_path / "test.yaml"))


def test_what_is_on_disk_is_what_the_code_says():
    stale = [file for file, content in files().items() if not file.exists() or file.read_text() != content]
    assert not stale, "run `cd tests/support && python -m sight`"


def test_every_alert_has_a_test():
    assert set(FIRES) == {alert.name for alert in ALERTS}


@pytest.mark.control("IR-01")
@needs_promtool
@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_fires(alert, tmp_path):
    series, when, labels = FIRES[alert.name]
    expected_labels = {"severity": alert.severity, **({} if alert.name == "TallystickSilent" else WELL), **labels}
    annotations = {"summary": alert.summary, "runbook_url": alert.runbook}
    expected = [{"exp_labels": expected_labels, "exp_annotations": annotations}]
    rule = [{"eval_time": when, "alertname": alert.name, "exp_alerts": expected}]
    check(tmp_path, [{"interval": "1m", "input_series": series, "alert_rule_test": rule}])


@pytest.mark.control("IR-01")
@needs_promtool
def test_none_fires_on_a_quiet_day(tmp_path):
    rules = [
        {"eval_time": when, "alertname": alert.name, "exp_alerts": []} for alert in ALERTS for when in ("70m", "10h")
    ]
    check(tmp_path, [{"interval": "1m", "input_series": QUIET, "alert_rule_test": rules}])


@needs_promtool
@pytest.mark.parametrize("alert", [one for one in ALERTS if one.for_ != "0m"], ids=lambda alert: alert.name)
def test_an_alert_with_patience_waits(alert, tmp_path):
    series, when, _ = FIRES[alert.name]
    if alert.name in {"TallystickErrorBudgetBurnsFast", "TallystickErrorBudgetBurns", "TallystickSlow"}:
        when = "3m"  # they have no patience to speak of once their windows are full
    patience = int(alert.for_.removesuffix("m"))
    early = f"{max(min(patience, int(when.removesuffix('m')) - 1) - 1, 0)}m"
    rule = [{"eval_time": early, "alertname": alert.name, "exp_alerts": []}]
    check(tmp_path, [{"interval": "1m", "input_series": series, "alert_rule_test": rule}])


@pytest.mark.control("IR-05")
def test_every_alert_has_its_part_of_the_runbook_and_the_runbook_has_no_other():
    page = (ROOT / "docs/runbooks/alerts.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert headings == [alert.name for alert in ALERTS]
    assert all(alert.runbook == f"{RUNBOOKS}#{alert.name.lower()}" for alert in ALERTS)
    for part in re.split(r"^### \w+$", page, flags=re.MULTILINE)[1:]:
        assert len(part.split()) > 20, f"too little to go by: {part}"


def queries() -> dict[str, list[str]]:
    """Return every PromQL expression, of alerts and dashboards, by where it stands."""
    found = {alert.name: [alert.expr] for alert in ALERTS}
    for name in DASHBOARDS:
        expressions = re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', render(name))
        found[name] = [one.encode().decode("unicode_escape") for one in expressions if not one.startswith("{")]
    return found


def known_names() -> set[str]:
    names = set()
    for metric in METRICS.values():
        name = prometheus_name(metric)
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {f"{name}{suffix}" for suffix in suffixes}
    return names


def test_every_metric_that_a_query_names_is_in_the_catalogue_which_the_running_system_sends():
    """``tests/e2e/test_telemetry.py`` holds the catalogue against what the running system sends."""
    for where, expressions in queries().items():
        assert expressions or where == "correlation"
        for expression in expressions:
            bare = re.sub(r'"[^"]*"', "", expression)
            names = set(re.findall(r"\b(?:http|messaging|db_client|process|tallystick)_[a-z_]+", bare))
            labels = {label.replace(".", "_") for metric in METRICS.values() for label in metric.attributes}
            unknown = names - known_names() - labels - {"tallystick_process"}
            assert not unknown, f"{where}: {unknown}"


def test_every_event_type_that_a_query_names_exists():
    types = {kind.type for kind in REGISTRY}
    for where, expressions in queries().items():
        for expression in expressions:
            for selector in re.findall(r'tallystick_event_type=~?"([^"]*)"', expression):
                assert set(selector.replace("\\", "").split("|")) <= types, where


@needs_promtool
def test_promtool_reads_every_query_of_every_dashboard(tmp_path):
    rules = [
        {"record": f"q:{name}:{number}", "expr": one.replace("$__rate_interval", "5m").replace("$installation", "x")}
        for name, expressions in queries().items()
        for number, one in enumerate(expressions)
    ]
    assert len(rules) > 70
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", "--lint=none", str(file))


@needs_promtool
def test_promtool_reads_the_rules():
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(ROOT / "deploy/prometheus/alerts.yaml"))
