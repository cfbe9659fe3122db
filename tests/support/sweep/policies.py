"""Row-level security taken away for a moment, to see what then comes through."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tallystick_cli.stack import database_setup
from tallystick_cli.stack.services import DATABASE

from sweep.catalog import Catalog, read_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick_cli.stack.services import Servers


@contextmanager
def open_policies(servers: Servers, catalog: Catalog) -> Iterator[None]:
    """Let every policy of the runtime roles say ``true``, and put back what it said."""
    silos = [policy for policy in catalog.policies if policy.name == "silo"]
    assert len(silos) > 80
    try:
        for policy in silos:
            statement = f'alter policy silo on {policy.schema}."{policy.table}" using (true) with check (true)'
            database_setup.run_sql(servers, DATABASE, [statement])
        yield
    finally:
        closing = [
            f'alter policy silo on {policy.schema}."{policy.table}" using ({policy.using}) with check ({policy.check})'
            for policy in silos
        ]
        for statement in closing:
            database_setup.run_sql(servers, DATABASE, [statement])
        assert read_catalog(servers, DATABASE).policies == catalog.policies
