"""The auditor's pinned keys."""

from pathlib import Path
from typing import Final

from tallystick_tlog import KeyFormatError, VerifierKey

from tallystick_cli.audit.errors import AuditError
from tallystick_cli.audit.sources import read_small_file

_MAX_KEYS: Final = 1_000


def parse_keys(text: str) -> tuple[VerifierKey, ...]:
    """Read verifier keys, one a line; empty lines and lines that begin with ``#`` are passed over.

    Raises:
        KeyFormatError: there is none, or one is malformed.

    """
    lines = [line.strip() for line in text.splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    if not wanted or len(wanted) > _MAX_KEYS:
        message = "there is no key in it, or too many"
        raise KeyFormatError(message)
    return tuple(VerifierKey.parse(line) for line in wanted)


def load_keys(argument: str) -> tuple[VerifierKey, ...]:
    """Read ``--key``: a verifier key as text, or a file of them.

    Raises:
        AuditError: it is neither.

    """
    try:
        return (VerifierKey.parse(argument),)
    except KeyFormatError as error:
        reason = str(error)
    path = Path(argument)
    try:
        is_there = path.exists()
    except (OSError, ValueError):
        is_there = False
    if not is_there:
        message = f"--key {argument} is neither a file nor a verifier key: {reason}"
        raise AuditError(message)
    try:
        return parse_keys(read_small_file(path).decode("ascii"))
    except (KeyFormatError, UnicodeDecodeError) as error:
        message = f"--key {path} is not a file of verifier keys: {error}"
        raise AuditError(message) from error
