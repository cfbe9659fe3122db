"""Why a process does not start, in words: on standard error, and where the platform looks for last words.

Each reason has a name that does not change (``database_unreachable: …``), so that an alert or a runbook can hold on to
it. Kubernetes shows a container's last words from its termination message, a file (``TALLY_TERMINATION_LOG``).
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from tallystick_chassis.settings import PREFIX
from tallystick_chassis.telemetry import get_log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

TERMINATION_LOG: Final = f"{PREFIX}TERMINATION_LOG"
_MAX_LAST_WORDS_BYTES: Final = 4_000  # Kubernetes shows 4,096
_RETRY_S: Final = 0.2
_SAY_EVERY_S: Final = 10.0

_HOPELESS: Final = (
    (asyncpg.InvalidPasswordError, "database_password_refused", "the database refuses the role's password"),
    (asyncpg.InvalidAuthorizationSpecificationError, "database_role_refused", "the database refuses the role"),
    (asyncpg.InvalidCatalogNameError, "database_missing", "there is no database of that name"),
    (asyncpg.InsufficientPrivilegeError, "database_privilege_missing", "the role may not do that in the database"),
    (ssl.SSLCertVerificationError, "database_certificate_refused", "the database's certificate is not to be trusted"),
)
"""What waiting does not mend: error, name, words. The order counts: sub-classes first."""


class StartError(Exception):
    """The process cannot start; the message is one line for the operator."""


def complain(lines: Sequence[str], exit_code: int, environment: Mapping[str, str] | None = None) -> int:
    """Say why the process ends, one line a reason, and return ``exit_code``; no line may hold a secret."""
    said = [f"tallystick: {line}" for line in lines]
    sys.stderr.write("".join(f"{line}\n" for line in said))
    last_words = (os.environ if environment is None else environment).get(TERMINATION_LOG)
    if last_words:
        with suppress(OSError):  # it was said on standard error already
            Path(last_words).write_bytes("\n".join(said).encode()[:_MAX_LAST_WORDS_BYTES])
    return exit_code


async def wait_for_database(
    ping: Callable[[], Awaitable[None]], stop: asyncio.Event, *, setting: str, timeout_s: float
) -> None:
    """Wait until the database answers: it may be starting beside us. Return at once when told to stop.

    Raises:
        StartError: it did not answer in time, or it answers what waiting will not change; ``setting`` is named.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    say_at = loop.time() + _SAY_EVERY_S
    while not stop.is_set():
        try:
            await ping()
        except (OSError, TimeoutError, SQLAlchemyError, asyncpg.PostgresError) as error:
            refuse_hopeless(error, setting=setting)
            if loop.time() > deadline:
                message = f"database_unreachable: the database does not answer ({type(error).__name__}); see {setting}"
                raise StartError(message) from error
            if loop.time() > say_at:
                get_log().warning("waiting_for_database", error=type(error).__name__)
                say_at = loop.time() + _SAY_EVERY_S
            await asyncio.sleep(_RETRY_S)
        else:
            return


def refuse_hopeless(error: BaseException, *, setting: str) -> None:
    """Raise ``StartError`` for a database error that waiting will not mend; ``setting`` is named."""
    for cause in _causes(error):
        for kind, name, words in _HOPELESS:
            if isinstance(cause, kind):
                message = f"{name}: {words}; see {setting}"
                raise StartError(message) from error


def _causes(error: BaseException) -> list[BaseException]:
    # SQLAlchemy wraps twice: its own error, the dialect's, and asyncpg's below.
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.append(one)
            waiting += [below for below in (getattr(one, "orig", None), one.__cause__, one.__context__) if below]
    return found
