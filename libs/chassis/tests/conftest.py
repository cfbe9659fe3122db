"""Databases with only the chassis' tables: the chassis is tested without any service."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from tallystick_chassis.database import connection_arguments
from tallystick_chassis.pruning import let_duty_prune
from tallystick_chassis.rate_limits import create_rate_counters
from tallystick_chassis.schema import create_chassis_tables
from tallystick_cli.stack import database_setup
from tallystick_cli.stack.temporary import Databases
from tallystick_contracts.topology import ServiceName

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from tallystick_cli.stack.temporary import RunningServers

CHASSIS_SERVICES = (ServiceName.IDENTITY, ServiceName.ASSESSMENT, ServiceName.PRIVACY)


def _create_tables(connection: Connection, service: str) -> None:
    with connection.begin():
        connection.execute(text(f"set local role tally_{service}_owner"))
        operations = Operations(MigrationContext.configure(connection))
        create_chassis_tables(operations, service)
        create_rate_counters(operations, service)
        let_duty_prune(operations, service)


async def _create_all(databases: Databases) -> None:
    for service in CHASSIS_SERVICES:
        url, arguments = connection_arguments(
            databases.dsn(service, "migrate"), application_name="test", ca_file=databases.servers.layout.ca_file
        )
        engine = create_async_engine(url, connect_args=arguments)
        async with engine.connect() as connection:
            await connection.run_sync(_create_tables, str(service))
        await engine.dispose()


@pytest.fixture(scope="session")
def chassis_template(stack: RunningServers) -> Databases:
    """A database with the chassis' tables of three services; copy it, do not use it."""
    template = stack.fresh_databases()
    asyncio.run(_create_all(template))
    return template


@pytest.fixture
def chassis_databases(chassis_template: Databases) -> Databases:
    """A new database with the chassis' tables of three services, empty."""
    name = f"t_{secrets.token_hex(6)}"
    database_setup.copy(chassis_template.servers, chassis_template.name, name)
    return Databases(chassis_template.servers, name, chassis_template.keys_name)
