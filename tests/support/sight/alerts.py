"""The alerts: expression, patience, severity, and what the runbook says first.

Expressions are over all tenants of an installation (`service_namespace`). `docs/runbooks/alerts.md` has a heading for
each, which a test compares. Severity: `critical` wakes somebody, `warning` is for today, `info` is to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RUNBOOKS: Final = "https://tallystick.dev/runbooks/alerts"


@dataclass(frozen=True)
class Alert:
    """One alert. ``for_`` is Prometheus' duration."""

    name: str
    expr: str
    for_: str
    severity: str
    summary: str

    @property
    def runbook(self) -> str:
        """Where the runbook's part on it is."""
        return f"{RUNBOOKS}#{self.name.lower()}"


def _recorded(*types: str, window: str) -> str:
    names = "|".join(one.replace(".", r"\\.") for one in types)
    series = f'tallystick_ledger_recorded_total{{tallystick_event_type=~"{names}"}}'
    return f"sum by (service_namespace, tallystick_event_type) (increase({series}[{window}]))"


def _worst(metric: str, *by: str, where: str = "") -> str:
    # Replicas measure the same tables, so the greatest of them counts and not the sum.
    return f"max by ({', '.join(('service_namespace', *by))}) ({metric}{where})"


_FAILED: Final = 'increase(tallystick_ledger_recorded_total{tallystick_event_type="identity.login.failed"}'
_COUNT: Final = "http_server_request_duration_seconds_count"
_ERRORS: Final = (
    f'sum by (service_namespace) (rate({_COUNT}{{{{http_response_status_code=~"5.."}}}}[{{0}}]))'
    f" / sum by (service_namespace) (rate({_COUNT}[{{0}}]))"
)
BUDGET: Final = 0.001
"""Of a thousand requests one may fail: the objective is 99.9 % over 30 days."""


def _burn(factor: float, long: str, short: str) -> str:
    bound = round(factor * BUDGET, 6)
    return f"({_ERRORS.format(long)}) > {bound} and ({_ERRORS.format(short)}) > {bound}"


SECURITY: Final = (
    Alert(
        "TallystickSpray",
        f"sum by (service_namespace) ({_FAILED}[15m])) > 100",
        "0m",
        "warning",
        "more than 100 sign-ins failed in a quarter of an hour",
    ),
    Alert(
        "TallystickSuccessAfterFailures",
        f"sum by (service_namespace) ({_FAILED}[30m] offset 5m)) > 100 and sum by (service_namespace) "
        '(increase(tallystick_ledger_recorded_total{tallystick_event_type="identity.login.succeeded"}[5m])) > 0',
        "0m",
        "warning",
        "somebody signed in right after a wave of failures",
    ),
    Alert(
        "TallystickAccountsLocked",
        _recorded("identity.account.locked", window="1h") + " > 10",
        "0m",
        "warning",
        "more than 10 accounts were locked in an hour",
    ),
    Alert(
        "TallystickFactorRemoved",
        _recorded("identity.mfa.removed", window="15m") + " > 0",
        "0m",
        "info",
        "a second factor was removed",
    ),
    Alert(
        "TallystickPrivilegedChange",
        _recorded(
            "identity.role.changed",
            "identity.role.assigned",
            "identity.service_key.created",
            "identity.sso_provider.changed",
            "identity.sign_in_policy.changed",
            window="15m",
        )
        + " > 0",
        "0m",
        "info",
        "who may do what, or how one signs in, was changed",
    ),
    Alert(
        "TallystickCrossTenantAttempt",
        _recorded("authz.cross_tenant.attempted", window="15m") + " > 0",
        "0m",
        "critical",
        "somebody asked for what belongs to another tenant",
    ),
    Alert(
        "TallystickMassRemediation",
        _recorded("assessment.remediation.applied", window="1h") + " > 20",
        "0m",
        "warning",
        "more than 20 remediations were applied in an hour",
    ),
    Alert(
        "TallystickMassExport",
        _recorded("ledger.export.created", "ledger.export.downloaded", window="1h") + " > 50",
        "0m",
        "warning",
        "more than 50 exports in an hour",
    ),
    Alert(
        "TallystickMassErasure",
        _recorded("privacy.erasure.ordered", window="1h") + " > 50",
        "0m",
        "warning",
        "more than 50 erasures were ordered in an hour",
    ),
    Alert(
        "TallystickBreakGlass",
        _recorded(
            "identity.token_version.bumped",
            "identity.signing_key.rotated",
            "identity.credential_key.rotated",
            "ledger.key.rotated",
            "ledger.siem_key.rotated",
            "assessment.content_key.rotated",
            "privacy.opening_key.rotated",
            "ops.dead_letter.discarded",
            window="15m",
        )
        + " > 0",
        "0m",
        "warning",
        "an operator used a command that ends sessions, changes keys or gives up an event",
    ),
    Alert(
        "TallystickRateLimits",
        "sum by (service_namespace, tallystick_budget) (increase(tallystick_rate_limit_exceeded_total[15m])) > 500",
        "0m",
        "warning",
        "more than 500 requests over one budget in a quarter of an hour",
    ),
)
INTEGRITY: Final = (
    Alert(
        "TallystickLogFrozen",
        _worst("tallystick_ledger_frozen") + " > 0",
        "0m",
        "critical",
        "a log does not continue what was signed, and stands still",
    ),
    Alert(
        "TallystickLogSucceeded",
        _recorded("ledger.log.succeeded", "ledger.period.succeeded", window="15m") + " > 0",
        "0m",
        "critical",
        "a broken log was closed and goes on as a successor",
    ),
    Alert(
        "TallystickQuarantine",
        _worst("tallystick_ledger_quarantined") + " > 0",
        "0m",
        "critical",
        "an event cannot be recorded",
    ),
    Alert(
        "TallystickReceiptRefused",
        "sum by (service_namespace, service_name) (increase(tallystick_receipts_refused_total[15m])) > 0",
        "0m",
        "critical",
        "a receipt of the ledger does not hold",
    ),
    Alert(
        "TallystickCheckpointStale",
        "min by (service_namespace) (tallystick_ledger_checkpoint_age_seconds) > 300 and on (service_namespace) "
        "max by (service_namespace) (tallystick_outbox_age_seconds) > 300",
        "2m",
        "critical",
        "nothing was signed for 5 minutes while events wait",
    ),
    Alert(
        "TallystickVerificationStale",
        "min by (service_namespace) (tallystick_ledger_verification_age_seconds) > 300",
        "2m",
        "warning",
        "no log has been held against its high-water mark for 5 minutes",
    ),
    Alert(
        "TallystickSelfTest",
        _worst("tallystick_readiness_failing", "service_name", where='{tallystick_check="row_level_security"}')
        + " > 0",
        "0m",
        "critical",
        "the database does not hold tenants apart as it must",
    ),
    Alert(
        "TallystickProofsPending",
        _worst("tallystick_proofs_pending") + " > 0",
        "30m",
        "warning",
        "public certificates have been without their proof for half an hour",
    ),
)
FLOW: Final = (
    Alert(
        "TallystickOutboxStuck",
        _worst("tallystick_outbox_age_seconds", "service_name") + " > 300",
        "2m",
        "critical",
        "an event has waited for the ledger's receipt for 5 minutes",
    ),
    Alert(
        "TallystickConsumerLags",
        _worst("tallystick_consumer_lag", "messaging_consumer_group_name") + " > 1000",
        "10m",
        "warning",
        "a consumer has been 1,000 messages behind for 10 minutes",
    ),
    Alert(
        "TallystickDeadLetters",
        _worst("tallystick_dead_letters", "messaging_consumer_group_name") + " > 0",
        "1m",
        "warning",
        "events that a service could not handle wait for an operator",
    ),
    Alert(
        "TallystickSiemBehind",
        _worst("tallystick_siem_waiting") + " > 1000",
        "30m",
        "warning",
        "a SIEM has been 1,000 entries behind for half an hour",
    ),
    Alert(
        "TallystickJobStuck",
        "min by (service_namespace, service_name, tallystick_job) "
        '(tallystick_job_age_seconds{tallystick_job!="compact-high-water"}) > 600',
        "1m",
        "warning",
        "a duty of a worker has not succeeded for 10 minutes",
    ),
    Alert(
        "TallystickRevocationStale",
        _worst("tallystick_session_epoch_age_seconds", "service_name") + " > 10",
        "2m",
        "warning",
        "a service hears nothing of revoked sessions and asks identity for each request",
    ),
    Alert(
        "TallystickErasureLate",
        _worst("tallystick_erasure_age_seconds") + " > 604800",
        "0m",
        "warning",
        "an erasure is not complete after a week; the law gives a month",
    ),
    Alert(
        "TallystickMailRefused",
        'sum by (service_namespace) (increase(tallystick_mail_sent_total{tallystick_outcome="refused"}[15m])) > 5',
        "0m",
        "warning",
        "the mail server refuses sign-in mails",
    ),
)
SERVICE: Final = (
    Alert(
        "TallystickErrorBudgetBurnsFast",
        _burn(14.4, "1h", "5m"),
        "2m",
        "critical",
        "at this rate the month's error budget is spent in two days",
    ),
    Alert(
        "TallystickErrorBudgetBurns",
        _burn(6, "6h", "30m"),
        "15m",
        "warning",
        "at this rate the month's error budget is spent in five days",
    ),
    Alert(
        "TallystickSlow",
        "histogram_quantile(0.99, sum by (service_namespace, service_name, le) "
        "(rate(http_server_request_duration_seconds_bucket[10m]))) > 2",
        "10m",
        "warning",
        "one request in a hundred takes more than 2 s",
    ),
    Alert(
        "TallystickPoolSaturated",
        "max by (service_namespace, service_name, db_client_connection_pool_name) "
        '(db_client_connection_count{db_client_connection_state="used"} '
        "/ ignoring (db_client_connection_state) group_left () db_client_connection_max) > 0.9",
        "5m",
        "warning",
        "a connection pool has been nearly full for 5 minutes",
    ),
    Alert(
        "TallystickNotReady",
        _worst("tallystick_readiness_failing", "service_name", "tallystick_process", "tallystick_check") + " > 0",
        "5m",
        "warning",
        "a readiness check has failed for 5 minutes",
    ),
    Alert(
        "TallystickSilent",
        'absent(process_memory_usage_bytes{service_name="tallystick-ledger", tallystick_process="worker"})',
        "10m",
        "warning",
        "the ledger's worker has sent no metrics for 10 minutes: nobody would see the other alerts",
    ),
)
GROUPS: Final = {"security": SECURITY, "integrity": INTEGRITY, "flow": FLOW, "service": SERVICE}
ALERTS: Final = tuple(alert for group in GROUPS.values() for alert in group)


def document() -> dict[str, object]:
    """Return the rules as Prometheus reads them."""
    return {
        "groups": [
            {
                "name": f"tallystick.{name}",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.expr,
                        "for": alert.for_,
                        "labels": {"severity": alert.severity},
                        "annotations": {"summary": alert.summary, "runbook_url": alert.runbook},
                    }
                    for alert in group
                ],
            }
            for name, group in GROUPS.items()
        ]
    }
