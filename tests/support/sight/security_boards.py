"""Dashboards for the security team and the privacy officer."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import text

from sight.panels import (
    FULL,
    HALF,
    NS,
    REQUESTS,
    THIRD,
    graph,
    log_lines,
    measured,
    new_board,
    number,
    recorded,
    traces,
    worst,
)


def correlation() -> board.Dashboard:
    """One id: spans of every service, log lines, what was recorded, each hop over NATS."""
    spans = '{ span.tallystick.correlation_id = "$correlation" }'
    hops = (
        '{ span.tallystick.correlation_id = "$correlation" && (kind = producer || kind = consumer) } '
        "| select(span.tallystick.event.type, span.messaging.operation.name, span.messaging.batch.message_count)"
    )
    entries = (
        '{ span.tallystick.correlation_id = "$correlation" && name = "record" } | select(span.tallystick.log.kind)'
    )
    lines = '{service_namespace="$installation"} | tallystick_correlation_id = `$correlation`'
    asked = '{service_namespace="$installation"} | tallystick_client_correlation_id = `$correlation`'
    return (
        new_board("correlation", "one correlation id", since="now-24h")
        .with_variable(board.TextBoxVariable("correlation").label("Correlation id").default_value(""))
        .with_panel(
            text.Panel()
            .title("How to read this")
            .height(4)
            .span(FULL)
            .content(
                "The id is in every answer (`X-Correlation-ID`), problem, sign-in mail, log line, span, event and "
                "ledger entry. Choose a trace for its waterfall; from a span its log lines open, from a line its "
                "trace. Traces may be sampled, and are kept for a while: `tally trace <id>` and the ledger's own "
                "search have what is not here."
            )
        )
        .with_panel(traces("Traces: every service that had to do with it", spans, "traces"))
        .with_panel(traces("Hops: outbox, NATS, inbox, ledger", hops, "spans"))
        .with_panel(traces("Recorded in the ledger", entries, "spans", span=HALF))
        .with_panel(log_lines("Requests whose caller named this id", asked, span=HALF))
        .with_panel(log_lines("Log lines", lines))
    )


def authentication() -> board.Dashboard:
    """Sign-ins, factors, locks, limits, and how fresh revocations are."""
    limited = f"sum by (tallystick_budget) (increase(tallystick_rate_limit_exceeded_total{{{NS}}}[$__rate_interval]))"
    route = f'{NS}, http_route=~"/api/v1/auth/.*|/sign-in/.*|/session/.*"'
    return (
        new_board("authentication", "authentication")
        .with_panel(recorded("Sign-ins", "identity.login.succeeded", "identity.login.failed"))
        .with_panel(recorded("Links", *(f"identity.magic_link.{one}" for one in ("requested", "consumed", "rejected"))))
        .with_panel(recorded("Locks", "identity.account.locked", "identity.account.unlocked", span=THIRD))
        .with_panel(recorded("Second factors", "identity.mfa.enrolled", "identity.mfa.removed", span=THIRD))
        .with_panel(
            recorded("Passwords", r"identity.password.reset_completed", "identity.password.changed", span=THIRD)
        )
        .with_panel(graph("Over a budget", measured(limited, "{{tallystick_budget}}"), says="Requests answered 429."))
        .with_panel(
            graph(
                "Answers of sign-in routes",
                measured(
                    f"sum by (http_response_status_code) (rate({REQUESTS}_count{{{route}}}[$__rate_interval]))",
                    "{{http_response_status_code}}",
                ),
                unit="reqps",
            )
        )
        .with_panel(
            graph(
                "How long nothing was heard of revoked sessions",
                measured(worst("tallystick_session_epoch_age_seconds", "service_name"), "{{service_name}}"),
                unit="s",
                says="Beyond 2 s a service asks identity for each request.",
            )
        )
        .with_panel(
            graph(
                "Mails",
                measured(
                    f"sum by (tallystick_outcome) (increase(tallystick_mail_sent_total{{{NS}}}[$__rate_interval]))",
                    "{{tallystick_outcome}}",
                ),
            )
        )
    )


def isolation() -> board.Dashboard:
    """Attempts across tenants, refusals, the self-test."""
    failing = worst("tallystick_readiness_failing", "service_name", 'tallystick_check="row_level_security"')
    refused = f'{NS}, http_response_status_code=~"401|403|404"'
    return (
        new_board("isolation", "tenant isolation", since="now-7d")
        .with_panel(
            number(
                "Attempts at another tenant's data, 24 h",
                "sum(increase(tallystick_ledger_recorded_total"
                f'{{{NS}, tallystick_event_type="authz.cross_tenant.attempted"}}[24h]))',
                critical=1,
            )
        )
        .with_panel(number("Services whose self-test fails", f"sum({failing})", critical=1))
        .with_panel(recorded("Attempts across tenants", "authz.cross_tenant.attempted", span=FULL))
        .with_panel(recorded("Refused for want of a capability", "authz.access.denied"))
        .with_panel(
            graph(
                "Answers 401, 403 and 404, by service",
                measured(
                    "sum by (service_name, http_response_status_code) "
                    f"(rate({REQUESTS}_count{{{refused}}}[$__rate_interval]))",
                    "{{service_name}} {{http_response_status_code}}",
                ),
                unit="reqps",
            )
        )
        .with_panel(
            graph("Self-test of row-level security", measured(failing, "{{service_name}}"), says="1: it fails.")
        )
        .with_panel(
            recorded(
                "Who may do what",
                "identity.role.changed",
                "identity.role.assigned",
                "identity.role.revoked",
                "identity.service_key.created",
            )
        )
    )


def privacy() -> board.Dashboard:
    """Erasures under way, how old, and what privacy recorded."""
    return (
        new_board("privacy", "privacy deadlines", since="now-30d")
        .with_panel(number("Erasures under way", worst("tallystick_erasure_open")))
        .with_panel(
            number(
                "Age of the oldest",
                worst("tallystick_erasure_age_seconds"),
                unit="s",
                warning=7 * 86_400,
                critical=25 * 86_400,
            )
        )
        .with_panel(
            graph(
                "Age of the oldest erasure",
                measured(worst("tallystick_erasure_age_seconds"), "oldest"),
                unit="s",
                says="The law gives a month; the alert comes after a week.",
                span=FULL,
            )
        )
        .with_panel(recorded("Erasures", "privacy.erasure.ordered", "privacy.user.anonymised"))
        .with_panel(
            recorded(
                "Receipts of stores",
                *(
                    f"{one}.erasure_receipt.given"
                    for one in ("identity", "assessment", "ledger", "verification", "privacy")
                ),
            )
        )
        .with_panel(recorded("Keys minted", "privacy.key.minted", "privacy.tenant_key.minted", span=FULL))
    )
