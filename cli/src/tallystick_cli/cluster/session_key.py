"""A new session-signing key while an installation runs: `tally keys rotate session`, where keys are mounted Secrets.

What is mounted arrives on its nodes at different times, so a key is made known first and signs when it is everywhere.
Killed anywhere, the old key goes on signing or the new one does, and everybody believes both; run again it makes
another.
"""

import subprocess
import sys
from collections.abc import Callable
from typing import Protocol

from tallystick_contracts.topology import SERVICE_PACKAGES, ServiceName

from tallystick_cli.cluster.errors import ClusterError
from tallystick_cli.cluster.kubernetes import Ask, change
from tallystick_cli.cluster.plan import FOLDERS, Plan
from tallystick_cli.stack.errors import StackError
from tallystick_cli.stack.secret_files import (
    public_session_keys,
    session_key_ids,
    with_new_session_key,
    with_session_key_first,
)

_IDENTITY, _TRUST = FOLDERS[ServiceName.IDENTITY], "trust"
_PRIVATE, _PUBLIC = "session-keys.json", "session-jwks.json"


class Record(Protocol):
    """Writes into the platform's log which key signs from now on, or raises `ClusterError`."""

    def __call__(self, key: str, previous: str, *, distrusted: bool) -> None:
        """Do it."""


def rotate(plan: Plan, ask: Ask, record: Record, settle: Callable[[], None], *, distrust_old: bool = False) -> str:
    """Have tokens signed with a new key and return its id. `settle` waits until files are mounted.

    No session ends. With `distrust_old` nothing is waited for, and what the other keys signed is refused as files are
    mounted; so is, in the same minutes, what the new one signs.

    Raises:
        ClusterError: the API refuses, the objects are not ours, the ledger could not be told, or another rotation ran.
    """
    for part in (_IDENTITY, _TRUST):
        change(plan, ask, part, dict)  # changes nothing, and refuses what is not ours before anything is changed
    old, new = session_key_ids(_put(plan, ask, with_new_session_key))
    if not distrust_old:
        settle()
    record(new, old, distrusted=distrust_old)
    _put(plan, ask, lambda keys: with_session_key_first(keys, new, alone=distrust_old))
    return new


def record_by_identity(key: str, previous: str, *, distrusted: bool) -> None:
    """Have identity write it down, in a process with the settings that this one was given.

    Raises:
        ClusterError: it could not.
    """
    command = [sys.executable, "-m", SERVICE_PACKAGES[ServiceName.IDENTITY], "record-key-rotation"]
    options = [f"--key={key}", f"--previous={previous}", *(["--distrusted"] if distrusted else [])]
    if subprocess.run([*command, *options], check=False).returncode:
        msg = "the ledger could not be told, so the old key goes on signing; try again"
        raise ClusterError(msg)


def _put(plan: Plan, ask: Ask, edit: Callable[[bytes], bytes]) -> bytes:
    """Change the private keys, then what everybody may know of them; return the private ones."""
    try:
        private = change(plan, ask, _IDENTITY, lambda data: {**data, _PRIVATE: edit(data[_PRIVATE])})[_PRIVATE]
    except StackError as error:
        raise ClusterError(str(error)) from None
    change(plan, ask, _TRUST, lambda data: {**data, _PUBLIC: public_session_keys(private)})
    return private
