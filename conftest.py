"""Servers for tests: real Postgres and NATS, started once for each pytest worker, a fresh database for who asks."""

import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager

import pytest
from _pytest.nodeid import coerce_node_id
from otlp_sink import OtlpSink, open_sink
from tallystick_chassis.heap import importing
from tallystick_cli.stack import control
from tallystick_cli.stack.status import Status
from tallystick_cli.stack.temporary import (
    Databases,
    RunningServers,
    external_servers,
    running_servers,
    temporary_folder,
)

# In CI, every test that the ASVS map names must pass; without TALLY_ASVS the plugin does nothing.
pytest_plugins = ["asvs.gate"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of an `xdist_group` in one worker: pytest 9.2 no longer reads what xdist 3.8 writes for that."""
    if hasattr(config, "workerinput") and config.getvalue("loadgroup"):
        for item in items:
            group = item.get_closest_marker("xdist_group")
            if group is not None and not item.nodeid.endswith(f"@{group.args[0]}"):
                item._id = coerce_node_id(f"{item.nodeid}@{group.args[0]}")  # noqa: SLF001 - as xdist does


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector pass over thousands of collected tests: they stay to the end."""
    with importing():
        return (yield)


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningServers]:
    """Postgres and NATS with every role, user, stream and durable; no service runs.

    `TALLY_STACK=external` takes those that already run in `$TALLY_DIR` (`tally up --servers-only`) and leaves them so;
    `TALLY_STACK=containers` starts images by Docker.
    """
    with _servers(os.environ.get("TALLY_STACK") or "embedded") as running:
        yield running


def _servers(stack: str) -> AbstractContextManager[RunningServers]:
    match stack:
        case "embedded":
            return running_servers()
        case "external":
            return external_servers()
        case "containers":
            from containers.running import container_servers  # noqa: PLC0415 - Docker's client, for those who use it

            return container_servers()
    pytest.fail(f"TALLY_STACK={stack} is none of embedded, external and containers")


@pytest.fixture
def databases(stack: RunningServers) -> Databases:
    """Return a new pair of databases with roles and empty schemas, for whoever runs migrations of their own."""
    return stack.fresh_databases()


@pytest.fixture
def migrated_databases(stack: RunningServers) -> Databases:
    """Return a new pair of databases with every service's tables, empty."""
    return stack.fresh_databases(migrated=True)


@pytest.fixture(scope="session")
def otlp_sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtlpSink]:
    """Where the running system sends its traces, metrics and logs."""
    with open_sink(tmp_path_factory.mktemp("otlp")) as sink:
        yield sink


@pytest.fixture(scope="session")
def system(otlp_sink: OtlpSink) -> Iterator[Status]:
    """Everything: servers and all services as processes of their own, as `tally up` runs them, with telemetry on.

    Put tests that use it into one group, `@pytest.mark.xdist_group("system")`, so that it starts once.
    """
    with temporary_folder() as layout:
        layout.create()
        told = f"TALLY_OTLP_ENDPOINT={otlp_sink.endpoint}\nTALLY_OTLP_INTERVAL_S=2\n"
        (layout.root / "service.env").write_text(told, encoding="utf-8")
        with control.attached(layout) as ready:
            yield ready
