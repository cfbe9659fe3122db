"""The revisions that a service's code knows, and the one that its schema has, without Alembic: only migrating needs it.

A process that serves asks at each readiness check. Alembic would load every migration each time, and costs 11 MB.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection

VERSION_TABLE = "alembic_version"
MIGRATIONS = "migrations"


class MigrationError(RuntimeError):
    """The migrations of a package are missing or cannot be run."""


def migrations_folder(package: str, folder: str = MIGRATIONS) -> Path:
    """Return where a package keeps its migrations.

    Raises:
        MigrationError: if there is no such package.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        msg = f"package {package} has no migrations"
        raise MigrationError(msg)
    return Path(spec.submodule_search_locations[0]) / folder


def head_revision(package: str, folder: str = MIGRATIONS) -> str | None:
    """Return the newest revision that the code knows, or ``None`` where there is none.

    Raises:
        MigrationError: if the migrations are no single line.
    """
    line = _line(migrations_folder(package, folder))
    heads = line.keys() - set(line.values())
    if len(heads) > 1:
        msg = f"package {package} has more than one newest migration: {', '.join(sorted(heads))}"
        raise MigrationError(msg)
    return next(iter(heads), None)


def known_revisions(package: str, folder: str = MIGRATIONS) -> frozenset[str]:
    """Return every revision that the code knows. A schema at one it does not know is newer than the code."""
    return frozenset(_line(migrations_folder(package, folder)))


async def current_revision(connection: AsyncConnection, service: str) -> str | None:
    """Return the revision that the service's schema has, or ``None`` before the first migration."""
    row = (await connection.execute(text(f"select version_num from {service}.{VERSION_TABLE}"))).first()  # noqa: S608 - the service's own name, a constant
    return None if row is None else str(row[0])


@cache
def _line(folder: Path) -> dict[str, str | None]:
    """Return each revision with the one before it. The code of a process does not change, so this is read once."""
    found: dict[str, str | None] = {}
    for path in sorted((folder / "versions").glob("*.py")):
        names = dict(_constants(ast.parse(path.read_bytes())))
        if "revision" in names:
            found[str(names["revision"])] = names.get("down_revision")
    return found


def _constants(module: ast.Module) -> Iterator[tuple[str, str | None]]:
    """Yield ``revision`` and ``down_revision`` as a migration's module gives them, one by one or both at once."""
    for statement in module.body:
        if not isinstance(statement, ast.Assign):
            continue
        for target in statement.targets:
            several = isinstance(target, ast.Tuple)
            names = [ast.unparse(name) for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
            if set(names) <= {"revision", "down_revision"}:
                value = ast.literal_eval(statement.value)
                yield from zip(names, value if several else (value,), strict=True)
