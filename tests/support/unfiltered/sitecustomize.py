"""Put on a service's ``PYTHONPATH``, this makes a test build of it that no longer names tenants in its statements.

Python imports a module of this name before anything else. Each comparison of a ``tenant_id`` with a value, or with
another table's ``tenant_id``, becomes one that is true, in every statement of the runtime role, which row-level
security binds. Statements of the duty roles keep theirs: their policies let them see all tenants, so there a filter is
no second line but the first. Statements also say which job sends them, for the witness (``sweep.witness``).
"""

import os
import re
from contextvars import ContextVar
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine
from tallystick_chassis import worker

_COLUMN = r'(?:"?\w+"?\.){0,2}"?tenant_id"?'
_VALUE = r"(?:\$\d+(?:::\w+)?|CAST\(\$\d+(?:::\w+)? AS UUID\))"
_WITH_VALUE = re.compile(rf"{_COLUMN} = ({_VALUE})")
_WITH_OTHER = re.compile(rf"{_COLUMN} = {_COLUMN}(?![\w.])")
_LEFT = re.compile(rf"(?i){_COLUMN}\s*(?:=|<|>|\bin\b)")
_REPORT = os.environ.get("UNFILTERED_REPORT")
_said: set[str] = set()


def _strip(statement: str) -> str:
    # The parameter stays, so that the others keep their numbers.
    return _WITH_OTHER.sub("true", _WITH_VALUE.sub(r"(\1::uuid is not null)", statement))


async def _repeat_by_name(job, stop):
    _job.set(job.name)  # also for the tasks that the job starts
    await _repeat(job, stop)


_job: ContextVar[str] = ContextVar("job", default="")
_repeat, worker._repeat = worker._repeat, _repeat_by_name


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _rewrite(connection, cursor, statement, parameters, context, executemany):  # noqa: PLR0917 - SQLAlchemy's signature
    del cursor, context, executemany
    if str(connection.engine.url.username).endswith("_app"):
        stripped = _strip(statement)
        if stripped != statement:
            _say("stripped", statement)
        if _LEFT.search(stripped):
            _say("left", stripped)
        statement = stripped
    job = _job.get()
    return (f"/* job {job} */ {statement}" if job else statement), parameters


def _say(what: str, statement: str) -> None:
    line = f"{what} {' '.join(statement.split())}\n"
    if _REPORT and line not in _said:
        _said.add(line)
        with (Path(_REPORT) / f"{os.getpid()}.txt").open("a", encoding="utf-8") as file:
            file.write(line)
