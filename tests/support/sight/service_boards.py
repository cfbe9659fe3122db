"""Dashboards for the platform operator."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as board

from sight.panels import CONSUMER, FULL, HANDLED, NS, REQUESTS, graph, measured, new_board, number, recorded, worst


def ledger() -> board.Dashboard:
    """Height, signatures, what waits, what does not hold."""
    return (
        new_board("ledger", "ledger health")
        .with_panel(number("Logs that stand still", worst("tallystick_ledger_frozen"), critical=1))
        .with_panel(number("Events in quarantine", worst("tallystick_ledger_quarantined"), critical=1))
        .with_panel(
            number(
                "Since the newest checkpoint",
                f"min(tallystick_ledger_checkpoint_age_seconds{{{NS}}})",
                unit="s",
                warning=3600,
            )
        )
        .with_panel(
            number(
                "Since every log was checked",
                f"min(tallystick_ledger_verification_age_seconds{{{NS}}})",
                unit="s",
                warning=120,
                critical=300,
            )
        )
        .with_panel(
            graph(
                "Entries of open logs",
                measured(worst("tallystick_ledger_size", "tallystick_log_kind"), "{{tallystick_log_kind}}"),
                says="The chains' height, all tenants together.",
            )
        )
        .with_panel(
            graph(
                "Open logs", measured(worst("tallystick_ledger_logs", "tallystick_log_kind"), "{{tallystick_log_kind}}")
            )
        )
        .with_panel(
            graph(
                "Recorded",
                measured(f"sum(rate(tallystick_ledger_recorded_total{{{NS}}}[$__rate_interval]))", "events"),
                unit="eps",
            )
        )
        .with_panel(
            graph(
                "Age of the oldest event without a receipt",
                measured(worst("tallystick_outbox_age_seconds", "service_name"), "{{service_name}}"),
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Not published, and without a receipt",
                measured(worst("tallystick_outbox_unpublished", "service_name"), "{{service_name}} not published"),
                measured(worst("tallystick_receipts_outstanding", "service_name"), "{{service_name}} no receipt"),
            )
        )
        .with_panel(
            graph(
                "Receipts that do not hold",
                measured(
                    f"sum by (service_name) (increase(tallystick_receipts_refused_total{{{NS}}}[$__rate_interval]))",
                    "{{service_name}}",
                ),
            )
        )
        .with_panel(graph("Certificates without their proof", measured(worst("tallystick_proofs_pending"), "pending")))
        .with_panel(
            recorded(
                "What changes logs and keys",
                "ledger.audit_log.closed",
                "ledger.audit_log.dropped",
                "ledger.key.rotated",
                "ledger.log.succeeded",
                "ledger.export.created",
            )
        )
    )


def objectives() -> board.Dashboard:
    """Rate, errors and duration by route, and how much of the error budget is left."""
    bad = f'sum(increase({REQUESTS}_count{{{NS}, http_response_status_code=~"5.."}}[30d]))'
    every = f"sum(increase({REQUESTS}_count{{{NS}}}[30d]))"
    by_route = "sum by (service_name, http_request_method, http_route)"
    named = "{{service_name}} {{http_request_method}} {{http_route}}"
    rates = f"rate({REQUESTS}_bucket{{{{{NS}}}}}[$__rate_interval])"
    quantile = f"histogram_quantile({{0}}, sum by (service_name, le) ({rates}))"
    return (
        new_board("objectives", "objectives")
        .with_panel(number("Availability, 30 days", f"1 - ({bad} or vector(0)) / {every}", unit="percentunit"))
        .with_panel(
            number("Error budget left, of 0.1 %", f"1 - (({bad} or vector(0)) / {every}) / 0.001", unit="percentunit")
        )
        .with_panel(
            graph(
                "Requests, by service and status",
                measured(
                    "sum by (service_name, http_response_status_code) "
                    f"(rate({REQUESTS}_count{{{NS}}}[$__rate_interval]))",
                    "{{service_name}} {{http_response_status_code}}",
                ),
                unit="reqps",
                span=FULL,
            )
        )
        .with_panel(
            graph(
                "Duration: half, 95 and 99 of a hundred",
                *(
                    measured(quantile.format(one), f"{{{{service_name}}}} p{round(one * 100)}", exemplars=True)
                    for one in (0.5, 0.95, 0.99)
                ),
                unit="s",
                says="A dot is one request: choose it for its trace.",
                span=FULL,
            )
        )
        .with_panel(
            graph(
                "Routes that fail",
                measured(
                    f'{by_route} (rate({REQUESTS}_count{{{NS}, error_type!=""}}[$__rate_interval])) > 0',
                    named,
                ),
                unit="reqps",
            )
        )
        .with_panel(
            graph(
                "Slowest routes, mean",
                measured(
                    f"topk(10, {by_route} (rate({REQUESTS}_sum{{{NS}}}[$__rate_interval])) / {by_route} "
                    f"(rate({REQUESTS}_count{{{NS}}}[$__rate_interval])))",
                    named,
                ),
                unit="s",
            )
        )
        .with_panel(
            graph(
                "Calls between services, 95 of a hundred",
                measured(
                    "histogram_quantile(0.95, sum by (service_name, tallystick_peer, le) "
                    f"(rate(http_client_request_duration_seconds_bucket{{{NS}}}[$__rate_interval])))",
                    "{{service_name}} to {{tallystick_peer}}",
                ),
                unit="s",
                span=FULL,
            )
        )
    )


def capacity() -> board.Dashboard:
    """Pools, lags, duties, memory and processors."""
    process = "{{service_name}} {{tallystick_process}}"
    used = f'db_client_connection_count{{{NS}, db_client_connection_state="used"}}'
    return (
        new_board("capacity", "capacity")
        .with_panel(
            graph(
                "Connection pools in use",
                measured(
                    "max by (service_name, tallystick_process, db_client_connection_pool_name) "
                    f"({used} / ignoring (db_client_connection_state) group_left () db_client_connection_max)",
                    f"{process} {{{{db_client_connection_pool_name}}}}",
                ),
                unit="percentunit",
                says="A full pool makes requests wait: raise replicas, or look for slow statements.",
            )
        )
        .with_panel(
            graph(
                "Requests under way",
                measured(f"sum by (service_name) (http_server_active_requests{{{NS}}})", "{{service_name}}"),
            )
        )
        .with_panel(
            graph(
                "Messages that a consumer has not been given",
                measured(
                    worst("tallystick_consumer_lag", "messaging_consumer_group_name"),
                    CONSUMER,
                ),
            )
        )
        .with_panel(
            graph(
                "Dead letters",
                measured(
                    worst("tallystick_dead_letters", "messaging_consumer_group_name"),
                    CONSUMER,
                ),
            )
        )
        .with_panel(
            graph(
                "Events handled, by service",
                measured(
                    f"sum by (service_name) (rate({HANDLED}{{{NS}}}[$__rate_interval]))",
                    "{{service_name}}",
                ),
                unit="eps",
            )
        )
        .with_panel(
            graph(
                "Events published, by service",
                measured(
                    f"sum by (service_name) (rate(messaging_client_sent_messages_total{{{NS}}}[$__rate_interval]))",
                    "{{service_name}}",
                ),
                unit="eps",
            )
        )
        .with_panel(
            graph(
                "Memory",
                measured(worst("process_memory_usage_bytes", "service_name, tallystick_process"), process),
                unit="bytes",
            )
        )
        .with_panel(
            graph(
                "Processors",
                measured(
                    "sum by (service_name, tallystick_process) "
                    f"(rate(process_cpu_time_seconds_total{{{NS}}}[$__rate_interval]))",
                    process,
                ),
                says="1 is one processor. A process uses one for its own work: beyond 0.8 add replicas.",
            )
        )
        .with_panel(
            graph(
                "Duties that fail",
                measured(
                    "sum by (service_name, tallystick_job) "
                    f"(increase(tallystick_job_failures_total{{{NS}}}[$__rate_interval])) > 0",
                    "{{service_name}} {{tallystick_job}}",
                ),
            )
        )
        .with_panel(
            graph(
                "Since a duty last succeeded",
                measured(
                    f"min by (service_name, tallystick_job) (tallystick_job_age_seconds{{{NS}}}) > 30",
                    "{{service_name}} {{tallystick_job}}",
                ),
                unit="s",
            )
        )
    )
