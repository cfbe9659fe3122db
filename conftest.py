"""Servers for tests: real Postgres and NATS, started once for each pytest worker, a fresh database for who asks."""

import os
from collections.abc import Iterator

import pytest
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


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningServers]:
    """Postgres and NATS with every role, user, stream and durable; no service runs.

    `TALLY_STACK=external` takes those that already run in `$TALLY_DIR` (`tally up --servers-only`) and leaves them so.
    """
    with external_servers() if os.environ.get("TALLY_STACK") == "external" else running_servers() as running:
        yield running


@pytest.fixture
def databases(stack: RunningServers) -> Databases:
    """Return a new pair of databases with roles and empty schemas, for whoever runs migrations of their own."""
    return stack.fresh_databases()


@pytest.fixture
def migrated_databases(stack: RunningServers) -> Databases:
    """Return a new pair of databases with every service's tables, empty."""
    return stack.fresh_databases(migrated=True)


@pytest.fixture(scope="session")
def system() -> Iterator[Status]:
    """Everything: servers and all services as processes of their own, as `tally up` runs them.

    Put tests that use it into one group, `@pytest.mark.xdist_group("system")`, so that it starts once.
    """
    with temporary_folder() as layout, control.attached(layout) as ready:
        yield ready
