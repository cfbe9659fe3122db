"""Grafana's dashboards, from code: `cd tests/support && ../../.venv/bin/python -m sight`."""

from __future__ import annotations

import json
from typing import Final

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import logs, stat, table, text, timeseries
from grafana_foundation_sdk.builders.loki import Dataquery as LokiQuery
from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.builders.tempo import TempoQuery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LogsSortOrder
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${metrics}")
LOKI: Final = DataSourceRef(type_val="loki", uid="${logs}")
TEMPO: Final = DataSourceRef(type_val="tempo", uid="${traces}")
_NS: Final = 'service_namespace="$installation"'
_REQUESTS: Final = "http_server_request_duration_seconds"
_CONSUMER: Final = "{{messaging_consumer_group_name}}"
_HANDLED: Final = "messaging_process_duration_seconds_count"
_FULL, _HALF, _THIRD, _QUARTER = 24, 12, 8, 6


def _board(uid: str, title: str, *, since: str = "now-6h") -> board.Dashboard:
    made = (
        board.Dashboard(f"Tallystick: {title}")
        .uid(f"tallystick-{uid}")
        .tags(["tallystick", "generated"])
        .readonly()
        .refresh("30s")
        .time(since, "now")
        .timezone("utc")
        .link(
            board.DashboardLink("Tallystick")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["tallystick"])
            .as_dropdown(True)  # noqa: FBT003 - its only parameter
            .keep_time(True)  # noqa: FBT003 - likewise
            .include_vars(True)  # noqa: FBT003 - likewise
        )
    )
    for name, kind in (("metrics", "prometheus"), ("logs", "loki"), ("traces", "tempo")):
        made = made.with_variable(board.DatasourceVariable(name).label(name.title()).type(kind))
    return made.with_variable(
        board.QueryVariable("installation")
        .label("Installation")
        .datasource(PROMETHEUS)
        .query("label_values(process_memory_usage_bytes, service_namespace)")
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _query(expr: str, legend: str = "", *, exemplars: bool = False) -> PrometheusQuery:
    return PrometheusQuery().datasource(PROMETHEUS).expr(expr).legend_format(legend).exemplar(exemplars).range()


def _graph(
    title: str, *queries: PrometheusQuery, unit: str = "short", says: str = "", span: int = _HALF
) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(says).datasource(PROMETHEUS).unit(unit).min(0).height(8)
    panel = panel.span(span)
    for query in queries:
        panel = panel.with_target(query)
    return panel


def _number(
    title: str, expr: str, *, unit: str = "short", warning: float | None = None, critical: float | None = None
) -> stat.Panel:
    steps = [Threshold(value=None, color="green")]
    steps += [Threshold(value=warning, color="orange")] if warning is not None else []
    steps += [Threshold(value=critical, color="red")] if critical is not None else []
    return (
        stat.Panel()
        .title(title)
        .datasource(PROMETHEUS)
        .unit(unit)
        .height(4)
        .span(_QUARTER)
        .thresholds(board.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(PrometheusQuery().datasource(PROMETHEUS).expr(expr).instant())
    )


def _recorded(title: str, *types: str, span: int = _HALF, says: str = "") -> timeseries.Panel:
    names = "|".join(one.replace(".", r"\\.") for one in types)
    expr = (
        "sum by (tallystick_event_type) (increase(tallystick_ledger_recorded_total"
        f'{{{_NS}, tallystick_event_type=~"{names}"}}[$__rate_interval]))'
    )
    return _graph(title, _query(expr, "{{tallystick_event_type}}"), span=span, says=says)


def _worst(metric: str, by: str = "", where: str = "") -> str:
    selector = f"{{{_NS}{', ' if where else ''}{where}}}"
    return f"max by ({by}) ({metric}{selector})" if by else f"max({metric}{selector})"


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
        _board("correlation", "one correlation id", since="now-24h")
        .with_variable(board.TextBoxVariable("correlation").label("Correlation id").default_value(""))
        .with_panel(
            text.Panel()
            .title("How to read this")
            .height(4)
            .span(_FULL)
            .content(
                "The id is in every answer (`X-Correlation-ID`), problem, sign-in mail, log line, span, event and "
                "ledger entry. Choose a trace for its waterfall; from a span its log lines open, from a line its "
                "trace. Traces may be sampled, and are kept for a while: `tally trace <id>` and the ledger's own "
                "search have what is not here."
            )
        )
        .with_panel(_traces("Traces: every service that had to do with it", spans, "traces"))
        .with_panel(_traces("Hops: outbox, NATS, inbox, ledger", hops, "spans"))
        .with_panel(_traces("Recorded in the ledger", entries, "spans", span=_HALF))
        .with_panel(_lines("Requests whose caller named this id", asked, span=_HALF))
        .with_panel(_lines("Log lines", lines))
    )


def _traces(title: str, query: str, kind: str, *, span: int = _FULL) -> table.Panel:
    target = TempoQuery().datasource(TEMPO).query_type("traceql").query(query).limit(100).table_type(kind)
    return table.Panel().title(title).datasource(TEMPO).height(9).span(span).with_target(target)


def _lines(title: str, query: str, *, span: int = _FULL) -> logs.Panel:
    return (
        logs.Panel()
        .title(title)
        .datasource(LOKI)
        .height(9)
        .span(span)
        .show_time(True)  # noqa: FBT003 - its only parameter
        .enable_log_details(True)  # noqa: FBT003 - likewise
        .sort_order(LogsSortOrder.ASCENDING)
        .with_target(LokiQuery().datasource(LOKI).expr(query).max_lines(1000))
    )


def authentication() -> board.Dashboard:
    """Sign-ins, factors, locks, limits, and how fresh revocations are."""
    limited = f"sum by (tallystick_budget) (increase(tallystick_rate_limit_exceeded_total{{{_NS}}}[$__rate_interval]))"
    route = f'{_NS}, http_route=~"/api/v1/auth/.*|/sign-in/.*|/session/.*"'
    return (
        _board("authentication", "authentication")
        .with_panel(_recorded("Sign-ins", "identity.login.succeeded", "identity.login.failed"))
        .with_panel(
            _recorded("Links", *(f"identity.magic_link.{one}" for one in ("requested", "consumed", "rejected")))
        )
        .with_panel(_recorded("Locks", "identity.account.locked", "identity.account.unlocked", span=_THIRD))
        .with_panel(_recorded("Second factors", "identity.mfa.enrolled", "identity.mfa.removed", span=_THIRD))
        .with_panel(
            _recorded("Passwords", r"identity.password.reset_completed", "identity.password.changed", span=_THIRD)
        )
        .with_panel(_graph("Over a budget", _query(limited, "{{tallystick_budget}}"), says="Requests answered 429."))
        .with_panel(
            _graph(
                "Answers of sign-in routes",
                _query(
                    f"sum by (http_response_status_code) (rate({_REQUESTS}_count{{{route}}}[$__rate_interval]))",
                    "{{http_response_status_code}}",
                ),
                unit="reqps",
            )
        )
        .with_panel(
            _graph(
                "How long nothing was heard of revoked sessions",
                _query(_worst("tallystick_session_epoch_age_seconds", "service_name"), "{{service_name}}"),
                unit="s",
                says="Beyond 2 s a service asks identity for each request.",
            )
        )
        .with_panel(
            _graph(
                "Mails",
                _query(
                    f"sum by (tallystick_outcome) (increase(tallystick_mail_sent_total{{{_NS}}}[$__rate_interval]))",
                    "{{tallystick_outcome}}",
                ),
            )
        )
    )


def isolation() -> board.Dashboard:
    """Attempts across tenants, refusals, the self-test."""
    failing = _worst("tallystick_readiness_failing", "service_name", 'tallystick_check="row_level_security"')
    refused = f'{_NS}, http_response_status_code=~"401|403|404"'
    return (
        _board("isolation", "tenant isolation", since="now-7d")
        .with_panel(
            _number(
                "Attempts at another tenant's data, 24 h",
                "sum(increase(tallystick_ledger_recorded_total"
                f'{{{_NS}, tallystick_event_type="authz.cross_tenant.attempted"}}[24h]))',
                critical=1,
            )
        )
        .with_panel(_number("Services whose self-test fails", f"sum({failing})", critical=1))
        .with_panel(_recorded("Attempts across tenants", "authz.cross_tenant.attempted", span=_FULL))
        .with_panel(_recorded("Refused for want of a capability", "authz.access.denied"))
        .with_panel(
            _graph(
                "Answers 401, 403 and 404, by service",
                _query(
                    "sum by (service_name, http_response_status_code) "
                    f"(rate({_REQUESTS}_count{{{refused}}}[$__rate_interval]))",
                    "{{service_name}} {{http_response_status_code}}",
                ),
                unit="reqps",
            )
        )
        .with_panel(_graph("Self-test of row-level security", _query(failing, "{{service_name}}"), says="1: it fails."))
        .with_panel(
            _recorded(
                "Who may do what",
                "identity.role.changed",
                "identity.role.assigned",
                "identity.role.revoked",
                "identity.service_key.created",
            )
        )
    )


def ledger() -> board.Dashboard:
    """Height, signatures, what waits, what does not hold."""
    return (
        _board("ledger", "ledger health")
        .with_panel(_number("Logs that stand still", _worst("tallystick_ledger_frozen"), critical=1))
        .with_panel(_number("Events in quarantine", _worst("tallystick_ledger_quarantined"), critical=1))
        .with_panel(
            _number(
                "Since the newest checkpoint",
                f"min(tallystick_ledger_checkpoint_age_seconds{{{_NS}}})",
                unit="s",
                warning=3600,
            )
        )
        .with_panel(
            _number(
                "Since every log was checked",
                f"min(tallystick_ledger_verification_age_seconds{{{_NS}}})",
                unit="s",
                warning=120,
                critical=300,
            )
        )
        .with_panel(
            _graph(
                "Entries of open logs",
                _query(_worst("tallystick_ledger_size", "tallystick_log_kind"), "{{tallystick_log_kind}}"),
                says="The chains' height, all tenants together.",
            )
        )
        .with_panel(
            _graph(
                "Open logs", _query(_worst("tallystick_ledger_logs", "tallystick_log_kind"), "{{tallystick_log_kind}}")
            )
        )
        .with_panel(
            _graph(
                "Recorded",
                _query(f"sum(rate(tallystick_ledger_recorded_total{{{_NS}}}[$__rate_interval]))", "events"),
                unit="eps",
            )
        )
        .with_panel(
            _graph(
                "Age of the oldest event without a receipt",
                _query(_worst("tallystick_outbox_age_seconds", "service_name"), "{{service_name}}"),
                unit="s",
            )
        )
        .with_panel(
            _graph(
                "Not published, and without a receipt",
                _query(_worst("tallystick_outbox_unpublished", "service_name"), "{{service_name}} not published"),
                _query(_worst("tallystick_receipts_outstanding", "service_name"), "{{service_name}} no receipt"),
            )
        )
        .with_panel(
            _graph(
                "Receipts that do not hold",
                _query(
                    f"sum by (service_name) (increase(tallystick_receipts_refused_total{{{_NS}}}[$__rate_interval]))",
                    "{{service_name}}",
                ),
            )
        )
        .with_panel(_graph("Certificates without their proof", _query(_worst("tallystick_proofs_pending"), "pending")))
        .with_panel(
            _recorded(
                "What changes logs and keys",
                "ledger.audit_log.closed",
                "ledger.audit_log.dropped",
                "ledger.key.rotated",
                "ledger.log.succeeded",
                "ledger.export.created",
            )
        )
    )


def privacy() -> board.Dashboard:
    """Erasures under way, how old, and what privacy recorded."""
    return (
        _board("privacy", "privacy deadlines", since="now-30d")
        .with_panel(_number("Erasures under way", _worst("tallystick_erasure_open")))
        .with_panel(
            _number(
                "Age of the oldest",
                _worst("tallystick_erasure_age_seconds"),
                unit="s",
                warning=7 * 86_400,
                critical=25 * 86_400,
            )
        )
        .with_panel(
            _graph(
                "Age of the oldest erasure",
                _query(_worst("tallystick_erasure_age_seconds"), "oldest"),
                unit="s",
                says="The law gives a month; the alert comes after a week.",
                span=_FULL,
            )
        )
        .with_panel(_recorded("Erasures", "privacy.erasure.ordered", "privacy.user.anonymised"))
        .with_panel(
            _recorded(
                "Receipts of stores",
                *(
                    f"{one}.erasure_receipt.given"
                    for one in ("identity", "assessment", "ledger", "verification", "privacy")
                ),
            )
        )
        .with_panel(_recorded("Keys minted", "privacy.key.minted", "privacy.tenant_key.minted", span=_FULL))
    )


def objectives() -> board.Dashboard:
    """Rate, errors and duration by route, and how much of the error budget is left."""
    bad = f'sum(increase({_REQUESTS}_count{{{_NS}, http_response_status_code=~"5.."}}[30d]))'
    every = f"sum(increase({_REQUESTS}_count{{{_NS}}}[30d]))"
    by_route = "sum by (service_name, http_request_method, http_route)"
    named = "{{service_name}} {{http_request_method}} {{http_route}}"
    rates = f"rate({_REQUESTS}_bucket{{{{{_NS}}}}}[$__rate_interval])"
    quantile = f"histogram_quantile({{0}}, sum by (service_name, le) ({rates}))"
    return (
        _board("objectives", "objectives")
        .with_panel(_number("Availability, 30 days", f"1 - ({bad} or vector(0)) / {every}", unit="percentunit"))
        .with_panel(
            _number("Error budget left, of 0.1 %", f"1 - (({bad} or vector(0)) / {every}) / 0.001", unit="percentunit")
        )
        .with_panel(
            _graph(
                "Requests, by service and status",
                _query(
                    "sum by (service_name, http_response_status_code) "
                    f"(rate({_REQUESTS}_count{{{_NS}}}[$__rate_interval]))",
                    "{{service_name}} {{http_response_status_code}}",
                ),
                unit="reqps",
                span=_FULL,
            )
        )
        .with_panel(
            _graph(
                "Duration: half, 95 and 99 of a hundred",
                *(
                    _query(quantile.format(one), f"{{{{service_name}}}} p{round(one * 100)}", exemplars=True)
                    for one in (0.5, 0.95, 0.99)
                ),
                unit="s",
                says="A dot is one request: choose it for its trace.",
                span=_FULL,
            )
        )
        .with_panel(
            _graph(
                "Routes that fail",
                _query(
                    f'{by_route} (rate({_REQUESTS}_count{{{_NS}, error_type!=""}}[$__rate_interval])) > 0',
                    named,
                ),
                unit="reqps",
            )
        )
        .with_panel(
            _graph(
                "Slowest routes, mean",
                _query(
                    f"topk(10, {by_route} (rate({_REQUESTS}_sum{{{_NS}}}[$__rate_interval])) / {by_route} "
                    f"(rate({_REQUESTS}_count{{{_NS}}}[$__rate_interval])))",
                    named,
                ),
                unit="s",
            )
        )
        .with_panel(
            _graph(
                "Calls between services, 95 of a hundred",
                _query(
                    "histogram_quantile(0.95, sum by (service_name, tallystick_peer, le) "
                    f"(rate(http_client_request_duration_seconds_bucket{{{_NS}}}[$__rate_interval])))",
                    "{{service_name}} to {{tallystick_peer}}",
                ),
                unit="s",
                span=_FULL,
            )
        )
    )


def capacity() -> board.Dashboard:
    """Pools, lags, duties, memory and processors."""
    process = "{{service_name}} {{tallystick_process}}"
    used = f'db_client_connection_count{{{_NS}, db_client_connection_state="used"}}'
    return (
        _board("capacity", "capacity")
        .with_panel(
            _graph(
                "Connection pools in use",
                _query(
                    "max by (service_name, tallystick_process, db_client_connection_pool_name) "
                    f"({used} / ignoring (db_client_connection_state) group_left () db_client_connection_max)",
                    f"{process} {{{{db_client_connection_pool_name}}}}",
                ),
                unit="percentunit",
                says="A full pool makes requests wait: raise replicas, or look for slow statements.",
            )
        )
        .with_panel(
            _graph(
                "Requests under way",
                _query(f"sum by (service_name) (http_server_active_requests{{{_NS}}})", "{{service_name}}"),
            )
        )
        .with_panel(
            _graph(
                "Messages that a consumer has not been given",
                _query(
                    _worst("tallystick_consumer_lag", "messaging_consumer_group_name"),
                    _CONSUMER,
                ),
            )
        )
        .with_panel(
            _graph(
                "Dead letters",
                _query(
                    _worst("tallystick_dead_letters", "messaging_consumer_group_name"),
                    _CONSUMER,
                ),
            )
        )
        .with_panel(
            _graph(
                "Events handled, by service",
                _query(
                    f"sum by (service_name) (rate({_HANDLED}{{{_NS}}}[$__rate_interval]))",
                    "{{service_name}}",
                ),
                unit="eps",
            )
        )
        .with_panel(
            _graph(
                "Events published, by service",
                _query(
                    f"sum by (service_name) (rate(messaging_client_sent_messages_total{{{_NS}}}[$__rate_interval]))",
                    "{{service_name}}",
                ),
                unit="eps",
            )
        )
        .with_panel(
            _graph(
                "Memory",
                _query(_worst("process_memory_usage_bytes", "service_name, tallystick_process"), process),
                unit="bytes",
            )
        )
        .with_panel(
            _graph(
                "Processors",
                _query(
                    "sum by (service_name, tallystick_process) "
                    f"(rate(process_cpu_time_seconds_total{{{_NS}}}[$__rate_interval]))",
                    process,
                ),
                says="1 is one processor. A process uses one for its own work: beyond 0.8 add replicas.",
            )
        )
        .with_panel(
            _graph(
                "Duties that fail",
                _query(
                    "sum by (service_name, tallystick_job) "
                    f"(increase(tallystick_job_failures_total{{{_NS}}}[$__rate_interval])) > 0",
                    "{{service_name}} {{tallystick_job}}",
                ),
            )
        )
        .with_panel(
            _graph(
                "Since a duty last succeeded",
                _query(
                    f"min by (service_name, tallystick_job) (tallystick_job_age_seconds{{{_NS}}}) > 30",
                    "{{service_name}} {{tallystick_job}}",
                ),
                unit="s",
            )
        )
    )


DASHBOARDS: Final = {
    "correlation": correlation,
    "authentication": authentication,
    "isolation": isolation,
    "ledger": ledger,
    "privacy": privacy,
    "objectives": objectives,
    "capacity": capacity,
}


def render(name: str) -> str:
    """Return a dashboard's JSON."""
    return json.dumps(DASHBOARDS[name]().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
