"""The registry knows every event type, and an aggregate has one log."""

import ast
import dataclasses
from pathlib import Path

import pytest
import tallystick_contracts
from tallystick_contracts.errors import UnknownEventTypeError
from tallystick_contracts.generated import assessment, authz, identity
from tallystick_contracts.message import EventData, LogKind
from tallystick_contracts.registry import ERASURE_RECEIPTS, REGISTRY, Registry, log_of
from tallystick_contracts.topology import SERVICES


def test_a_type_is_found_by_name_and_by_struct() -> None:
    entry = REGISTRY.by_name("assessment.attempt.started", 1)
    assert entry is REGISTRY.by_struct(assessment.AttemptStarted)
    assert (entry.service, entry.aggregate, entry.verb) == ("assessment", "attempt", "started")
    assert REGISTRY.by_struct(authz.AccessDenied).service is None


def test_an_unknown_type_version_or_struct_is_refused() -> None:
    for name, version in (("assessment.attempt.paused", 1), ("assessment.attempt.started", 2)):
        with pytest.raises(UnknownEventTypeError):
            REGISTRY.by_name(name, version)
    with pytest.raises(UnknownEventTypeError):
        REGISTRY.by_struct(EventData)


def test_a_type_cannot_be_registered_twice() -> None:
    entry = REGISTRY.by_struct(assessment.AttemptStarted)
    with pytest.raises(ValueError, match="twice"):
        Registry([entry, entry])


@pytest.mark.parametrize(
    ("log", "source", "aggregates"),
    [
        (LogKind.COMPLIANCE, "identity", {
                "tenant",
                "org_unit",
                "user",
                "token_version",
                "role",
                "password",
                "mfa",
                "service_key",
                "sso_provider",
                "signing_key",
                "credential_key",
                "sign_in_policy",
                "erasure_receipt",
            }),
        (LogKind.AUDIT, "identity", {"magic_link", "login", "session", "account", "sso"}),
        (
            LogKind.COMPLIANCE,
            "assessment",
            {"question", "evaluation", "assignment", "submission", "score", "remediation", "certificate", "credential",
             "erasure_receipt", "content_key"},
        ),
        (LogKind.AUDIT, "assessment", {"attempt"}),
        (LogKind.COMPLIANCE, "ledger", {"audit_log", "export", "publication", "erasure_receipt", "hold", "key",
             "log", "siem_destination", "siem_key"}),
        (LogKind.AUDIT, "ledger", {"audit_key", "period"}),
        (LogKind.COMPLIANCE, "privacy", {"key", "tenant_key", "erasure", "user", "erasure_receipt", "opening_key"}),
        (LogKind.AUDIT, "verification", {"certificate"}),
        (LogKind.COMPLIANCE, "verification", {"erasure_receipt"}),
    ],
)  # fmt: skip
def test_each_aggregate_goes_to_the_log_the_taxonomy_says(log: LogKind, source: str, aggregates: set[str]) -> None:
    own = {entry.aggregate for entry in REGISTRY if entry.service == source}
    assert {aggregate for aggregate in own if log_of(source, aggregate) is log} == aggregates


def test_authz_and_ops_aggregates_exist_in_every_source() -> None:
    for source in SERVICES:
        assert log_of(source, "access") is LogKind.AUDIT
        assert log_of(source, "cross_tenant") is LogKind.COMPLIANCE
        assert log_of(source, "dead_letter") is LogKind.COMPLIANCE


def test_an_aggregate_goes_whole_to_the_compliance_log_when_one_of_its_types_does() -> None:
    audit = REGISTRY.by_struct(identity.LoginSucceeded)
    kept = dataclasses.replace(REGISTRY.by_struct(identity.LoginFailed), log=LogKind.COMPLIANCE)
    registry = Registry([audit, kept])
    assert audit.log is LogKind.AUDIT
    assert registry.log_of("identity", "login") is LogKind.COMPLIANCE


def test_an_aggregate_of_another_source_is_unknown() -> None:
    with pytest.raises(UnknownEventTypeError):
        log_of("ledger", "attempt")


def test_only_the_credential_events_are_public() -> None:
    public = {entry.type for entry in REGISTRY if entry.public}
    assert public == {"assessment.credential.published", "assessment.credential.withdrawn"}


def test_every_service_has_an_erasure_receipt_of_its_own_with_the_same_fields() -> None:
    assert set(ERASURE_RECEIPTS) == SERVICES
    for service, struct in ERASURE_RECEIPTS.items():
        entry = REGISTRY.by_struct(struct)
        assert entry.type == f"{service}.erasure_receipt.given"
        assert entry.must_record
        assert struct.__struct_fields__ == ("job_id", "person", "stores")


def test_nothing_needed_at_run_time_imports_protobuf_or_the_generator() -> None:
    package = Path(tallystick_contracts.__file__).parent
    tools = {package / "generate.py", *(package / "generator").glob("*.py")}
    for path in set(package.rglob("*.py")) - tools:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(("google", "grpc_tools", "tallystick_contracts.generator")), path
