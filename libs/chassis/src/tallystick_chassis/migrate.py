"""Migrations: Alembic for each service, run as the schema's owner, which nobody can log in as but only become.

Each service keeps its revisions in ``migrations/versions`` (main database) and, where it has a key store, in
``key_migrations/versions``. The version table stands in the service's own schema, so services migrate without knowing
of each other. A revision calls ``op`` and the functions of ``schema.py`` and ``policies.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tallystick_chassis.database import connection_arguments
from tallystick_chassis.revisions import VERSION_TABLE, migrations_folder
from tallystick_chassis.telemetry import get_log

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection


def _scripts(package: str, folder: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder(package, folder)))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def _upgrade(connection: Connection, scripts: ScriptDirectory, service: str) -> None:
    config = Config()

    def to_head(revision: object, _context: object) -> object:
        return scripts._upgrade_revs("head", revision)  # type: ignore[arg-type] # noqa: SLF001 - Alembic's own env.py does the same through `command.upgrade`

    with EnvironmentContext(config, scripts, fn=to_head, destination_rev="head") as environment:
        environment.configure(
            connection=connection, version_table=VERSION_TABLE, version_table_schema=service, transactional_ddl=True
        )
        with environment.begin_transaction():
            # One migrator at a time; the lock ends with the transaction, so that it also holds behind a pooler.
            connection.execute(text("select pg_advisory_xact_lock(hashtext(:name))"), {"name": f"tallystick-{service}"})
            connection.execute(text(f"set local role tally_{service}_owner"))
            if _is_newer(connection, scripts, service):
                get_log().warning("schema_is_newer")
                return
            environment.run_migrations()
            connection.execute(
                text(f"grant select on {service}.{VERSION_TABLE} to tally_{service}_app, tally_{service}_duty")
            )


def _is_newer(connection: Connection, scripts: ScriptDirectory, service: str) -> bool:
    """Say whether the schema stands at a revision that this release does not know."""
    if connection.execute(text("select to_regclass(:name)"), {"name": f"{service}.{VERSION_TABLE}"}).scalar() is None:
        return False
    revision = connection.execute(text(f"select version_num from {service}.{VERSION_TABLE}")).scalar()  # noqa: S608 - the service's own name, a constant
    return revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}


async def migrate(
    dsn: str, *, service: str, package: str, folder: str = "migrations", ca_file: Path | None = None
) -> None:
    """Bring the service's schema to the newest revision, in one transaction.

    ``dsn`` is that of the service's migrator. Running it again changes nothing, and so does running it on a schema of
    a newer release: a release that was rolled back lives on with it.

    Raises:
        MigrationError: if the package has no migrations.
    """
    scripts = _scripts(package, folder)
    url, arguments = connection_arguments(dsn, application_name=f"{service}-migrate", ca_file=ca_file)
    engine = create_async_engine(url, connect_args=arguments, pool_size=1)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade, scripts, service)
            await connection.commit()
    finally:
        await engine.dispose()
