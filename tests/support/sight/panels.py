"""The panels that all dashboards are made of, and what their queries share."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import logs, stat, table, timeseries
from grafana_foundation_sdk.builders.loki import Dataquery as LokiQuery
from grafana_foundation_sdk.builders.prometheus import Dataquery as PrometheusQuery
from grafana_foundation_sdk.builders.tempo import TempoQuery
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
NS: Final = 'service_namespace="$installation"'
REQUESTS: Final = "http_server_request_duration_seconds"
CONSUMER: Final = "{{messaging_consumer_group_name}}"
HANDLED: Final = "messaging_process_duration_seconds_count"
FULL, HALF, THIRD, QUARTER = 24, 12, 8, 6


def new_board(uid: str, title: str, *, since: str = "now-6h") -> board.Dashboard:
    """An empty dashboard with the data sources and the installation to choose."""
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


def measured(expr: str, legend: str = "", *, exemplars: bool = False) -> PrometheusQuery:
    """A PromQL query over time."""
    return PrometheusQuery().datasource(PROMETHEUS).expr(expr).legend_format(legend).exemplar(exemplars).range()


def graph(
    title: str, *queries: PrometheusQuery, unit: str = "short", says: str = "", span: int = HALF
) -> timeseries.Panel:
    """Queries as lines over time."""
    panel = timeseries.Panel().title(title).description(says).datasource(PROMETHEUS).unit(unit).min(0).height(8)
    panel = panel.span(span)
    for query in queries:
        panel = panel.with_target(query)
    return panel


def number(
    title: str, expr: str, *, unit: str = "short", warning: float | None = None, critical: float | None = None
) -> stat.Panel:
    """A PromQL query's present value, coloured from ``warning`` and ``critical`` on."""
    steps = [Threshold(value=None, color="green")]
    steps += [Threshold(value=warning, color="orange")] if warning is not None else []
    steps += [Threshold(value=critical, color="red")] if critical is not None else []
    return (
        stat.Panel()
        .title(title)
        .datasource(PROMETHEUS)
        .unit(unit)
        .height(4)
        .span(QUARTER)
        .thresholds(board.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(PrometheusQuery().datasource(PROMETHEUS).expr(expr).instant())
    )


def recorded(title: str, *types: str, span: int = HALF, says: str = "") -> timeseries.Panel:
    """How many events of these types the ledger recorded."""
    names = "|".join(one.replace(".", r"\\.") for one in types)
    expr = (
        "sum by (tallystick_event_type) (increase(tallystick_ledger_recorded_total"
        f'{{{NS}, tallystick_event_type=~"{names}"}}[$__rate_interval]))'
    )
    return graph(title, measured(expr, "{{tallystick_event_type}}"), span=span, says=says)


def worst(metric: str, by: str = "", where: str = "") -> str:
    """The PromQL of the greatest value, for each ``by``."""
    selector = f"{{{NS}{', ' if where else ''}{where}}}"
    return f"max by ({by}) ({metric}{selector})" if by else f"max({metric}{selector})"


def traces(title: str, query: str, kind: str, *, span: int = FULL) -> table.Panel:
    """A TraceQL query as a table."""
    target = TempoQuery().datasource(TEMPO).query_type("traceql").query(query).limit(100).table_type(kind)
    return table.Panel().title(title).datasource(TEMPO).height(9).span(span).with_target(target)


def log_lines(title: str, query: str, *, span: int = FULL) -> logs.Panel:
    """A LogQL query, oldest first."""
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
