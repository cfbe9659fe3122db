"""Servers for tests: real Postgres and NATS, started once for each pytest worker, a fresh database for who asks."""

from collections.abc import Iterator

import pytest
from tallystick_cli.stack import control
from tallystick_cli.stack.status import Status
from tallystick_cli.stack.temporary import Databases, RunningServers, running_servers, temporary_folder


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningServers]:
    """Postgres and NATS with every role, user, stream and durable; no service runs."""
    with running_servers() as running:
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
    with temporary_folder() as layout:
        try:
            yield control.up(layout)
        finally:
            if control.is_running(layout):
                control.down(layout)
